"""One scenario, from its first round (or the one after its checkpoint) to its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environment import git_state
from bench.results.leftovers import remove_litter, remove_state
from bench.results.ownership import owned
from bench.results.rounds import RoundLog
from bench.results.run import (
    CLIENTS_FOLDER,
    ROUNDS_FILE,
    RUN_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    Run,
    load_run,
)
from bench.results.targets import rounds_to_target
from bench.runs import checkpoint
from bench.runs.assembly import Assembly
from bench.runs.pace import Pace
from bench.runs.plan import phases, total_rounds
from bench.suites.scenario import SEMANTICS

if TYPE_CHECKING:
    from bench.runs.hardware import Hardware
    from bench.runs.material import Material
    from bench.runs.reporting import Reporter
    from bench.suites.suite import Planned


def run_scenario(
    planned: Planned,
    *,
    suite: str,
    material: Material,
    folder: Path,
    hardware: Hardware,
    reporter: Reporter,
    number: int,
) -> Run:
    """Trains and scores one scenario in ``folder``, resuming what is there, and returns its run.

    Raises ScenarioFailed where training stops by itself (the run is marked ``failed``) and
    ResultsError where another process owns the folder. An interrupt leaves it ``interrupted``.
    A run that another process has finished in the meantime is returned as it is.
    """
    with owned(folder) as owner:
        remove_litter(folder)
        earlier = _finished(folder)
        if earlier is not None:
            return earlier
        started = checkpoint.load(folder / STATE_FILE)
        first = 1 if started is None else started.round + 1
        reporter.scenario(number, planned.name, first, total_rounds(planned.scenario))
        assembly = Assembly(planned.scenario, material, hardware, folder / CLIENTS_FOLDER, started)
        run = _open(planned, suite, material, folder, hardware, owner, assembly)
        run.write()
        work = _Work(run, assembly, material, reporter)
        try:
            return work.finish(first)
        except KeyboardInterrupt:
            replace(work.run, status="interrupted").write()
            raise
        except Exception as error:
            failure = {"type": type(error).__name__, "message": str(error)}
            replace(work.run, status="failed", error=failure).write()
            raise


def _finished(folder: Path) -> Run | None:
    """The folder's run where it is done; raises ResultsError where what is there is damaged."""
    if not (folder / RUN_FILE).is_file():
        return None
    run = load_run(folder)
    run.rounds()
    return run if run.status == "done" else None


def _open(
    planned: Planned,
    suite: str,
    material: Material,
    folder: Path,
    hardware: Hardware,
    owner: Mapping[str, Any],
    assembly: Assembly,
) -> Run:
    """The record of a run that is about to train; an interrupted run keeps its first start."""
    now = _now()
    started = now
    if (folder / RUN_FILE).is_file() and (folder / STATE_FILE).is_file():
        started = load_run(folder).timestamps.get("started", now)
    return Run(
        folder=folder,
        suite=suite,
        name=planned.name,
        hash=planned.scenario.identity(material.digest),
        semantics=SEMANTICS,
        status="running",
        owner={**owner, "started": now},
        scenario=planned.scenario.row(),
        origin=dict(planned.origin),
        environment={**hardware.record(planned.scenario), **assembly.step_record()},
        git=git_state(),
        data={**material.record(), "partition": assembly.partition_record()},
        timestamps={"started": started},
    )


class _Work:
    """The rounds that are left, and what follows them."""

    def __init__(
        self, run: Run, assembly: Assembly, material: Material, reporter: Reporter
    ) -> None:
        self.run = run
        self.assembly = assembly
        self.judge = material.judge(assembly.scenario)
        self.reporter = reporter
        self.scenario = assembly.scenario
        self.pace = Pace(assembly.hardware.device, assembly.precision)

    def finish(self, first: int) -> Run:
        """Trains rounds ``first`` … last, scores the result and marks the run done.

        The last round is the scenario's, or the one that reaches what it is to stop at.
        """
        log = RoundLog(self.run.folder / ROUNDS_FILE, keep=first - 1)
        last = total_rounds(self.scenario)
        try:
            if any(map(self._stops, self.run.rounds())):
                last = first - 1
            for number in range(first, last + 1):
                self.assembly.enter_phase_of(number)
                record = self._round(number, last)
                log.append(record)
                ended = number == last or self._stops(record)
                if self.pace.checkpoint_due() or ended:
                    log.sync()
                    self._checkpoint(number)
                if ended:
                    break
        finally:
            log.close()
        return self._score()

    def _stops(self, record: Mapping[str, Any]) -> bool:
        """Whether the round reached what the scenario is to stop at."""
        figure, target = record.get(self.judge.headline), self.scenario.stop_at
        return target is not None and figure is not None and figure >= target

    def _round(self, number: int, last: int) -> dict[str, Any]:
        result = self.assembly.federation.round(number)
        self._tell_step()
        record: dict[str, Any] = {
            "round": number,
            "loss": result.loss if math.isfinite(result.loss) else None,
            "clients": list(result.clients),
            "examples": result.examples,
            "steps": result.steps,
            "seconds": round(result.seconds, 6),
            "images_per_second": round(result.images_per_second, 3),
            "yardstick": self.pace.yardstick_beside(result.seconds),
            "bytes_up": result.bytes_up,
            "bytes_down": result.bytes_down,
            "evaluated": number % self.scenario.evaluate_every == 0 or number == last,
            "mean_auroc": None,
            "auroc": None,
        }
        if result.drawn != result.clients:
            record["drawn"] = list(result.drawn)
        if self.scenario.dropout:
            record["dropped_out"] = list(result.dropped_out)
        if self.scenario.stragglers.name != "none":
            record["stragglers"] = list(result.stragglers)
        if result.epsilon is not None:
            record["epsilon"] = result.epsilon if math.isfinite(result.epsilon) else None
        if phases(self.scenario) > 1:
            record["phase"] = self.assembly.phase_of(number)
        if record["evaluated"]:
            members = self.assembly.federation.models()
            record |= self.judge.summary(members, self.assembly.trainer.predict)
        self.reporter.round(record, last)
        return record

    def _tell_step(self) -> None:
        """Keeps, and says, how steps are executed where it is not what was to be tried."""
        record = self.assembly.step_record()
        if record.items() <= self.run.environment.items():
            return
        self.run = replace(self.run, environment={**self.run.environment, **record})
        self.run.write()
        self.reporter.note(f"steps are executed {record['step']} ({record['step_reason']})")

    def _checkpoint(self, number: int) -> None:
        state = checkpoint.Checkpoint(round=number, tensors=self.assembly.state())
        checkpoint.save(self.run.folder / STATE_FILE, state)
        self.assembly.federation.commit(number)

    def _score(self) -> Run:
        """Scores every evaluation split, keeps weights and scores, then removes the checkpoint."""
        folder = self.run.folder
        rounds = self.run.rounds()
        scored = self.judge.final(self.assembly.federation, self.assembly.trainer.predict, folder)
        if self.scenario.stop_at is not None:
            found = rounds_to_target(rounds, self.judge.headline, self.scenario.stop_at)
            scored.metrics[self.judge.split]["target"] = found.record(self.judge.headline)
        run = replace(
            self.run,
            status="done",
            metrics=scored.metrics,
            totals=totals(rounds),
            weights_sha256=self.assembly.save_weights(folder / WEIGHTS_FILE),
            scores_sha256=scored.digests,
            timestamps={**self.run.timestamps, "finished": _now()},
        )
        self.judge.draw(run)
        run.write()
        self.assembly.federation.discard()
        remove_state(folder)
        return run


def totals(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the rounds, and the training speed over all of them."""
    seconds = sum(r["seconds"] for r in rounds)
    examples = sum(r["examples"] for r in rounds)
    return {
        "seconds": round(seconds, 3),
        "examples": examples,
        "images_per_second": round(examples / seconds, 3) if seconds > 0 else None,
        "bytes_up": sum(r["bytes_up"] for r in rounds),
        "bytes_down": sum(r["bytes_down"] for r in rounds),
        "final_loss": rounds[-1]["loss"] if rounds else None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
