"""One scenario, from its first round (or the one after its checkpoint) to its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environment import git_state
from bench.errors import WorkerLost
from bench.federation.expectation import reporting
from bench.federation.strategies import TABLE
from bench.federation.team import ALONE, Team
from bench.results.leftovers import remove_litter, remove_state
from bench.results.ownership import owned
from bench.results.rounds import RoundLog
from bench.results.run import (
    ROUNDS_FILE,
    RUN_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    Run,
    load_run,
)
from bench.results.targets import rounds_to_target
from bench.runs import checkpoint
from bench.runs.ensemble import Ensemble
from bench.runs.member import SCENARIO
from bench.runs.pace import Pace
from bench.runs.plan import phases, total_rounds
from bench.suites.scenario import SEMANTICS

if TYPE_CHECKING:
    from bench.report.drawing import Drawers
    from bench.runs.assembly import Assembly
    from bench.runs.hardware import Hardware
    from bench.runs.material import Material
    from bench.runs.reporting import Reporter
    from bench.suites.scenario import Scenario
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
    drawers: Drawers,
    team: Team = ALONE,
    orders: Mapping[str, Any] | None = None,
) -> Run:
    """Trains and scores one scenario in ``folder``, resuming what is there, and returns its run.

    Raises ScenarioFailed where training stops by itself (the run is marked ``failed``) and
    ResultsError where another process owns the folder. An interrupt leaves it ``interrupted``.
    A run that another process has finished in the meantime is returned as it is.

    ``team`` shares the work; its other members begin the scenario by ``orders``. Where one of them
    is lost the run is left ``interrupted`` as well, and WorkerLost is raised. Where there is one
    learner they wait, and this process trains it with the threads of all.
    """
    with owned(folder) as owner:
        remove_litter(folder)
        earlier = _finished(folder)
        if earlier is not None:
            return earlier
        started = checkpoint.load(folder / STATE_FILE)
        first = 1 if started is None else started.round + 1
        reporter.scenario(number, planned.name, first, total_rounds(planned.scenario))
        most, idle = _busy(planned.scenario, team.size)
        whole = hardware.alone() if team.size > 1 and most == 1 else None
        if whole is not None:
            team = ALONE
        hardware = _as_begun(whole or hardware, folder, started, reporter)
        if whole is not None:
            threads = f"{hardware.threads} thread{'s' if hardware.threads > 1 else ''}"
            reporter.note(f"one worker trains it alone, with {threads}")
        elif idle is not None:
            reporter.note(idle)
        if team.size > 1:
            row = {"scenario": planned.scenario.row(), "threads": hardware.threads}
            team.share([SCENARIO, {**(orders or {}), **row}])
        ensemble = Ensemble.assemble(
            team, planned.scenario, lambda: material, lambda: hardware, folder
        )
        run = _open(planned, suite, material, folder, hardware, owner, ensemble.assembly)
        run.write()
        work = _Work(run, ensemble, material, reporter, drawers)
        try:
            return work.finish(first)
        except (KeyboardInterrupt, WorkerLost):
            replace(work.run, status="interrupted").write()
            raise
        except Exception as error:
            failure = {"type": type(error).__name__, "message": str(error)}
            replace(work.run, status="failed", error=failure).write()
            raise


def _as_begun(
    hardware: Hardware, folder: Path, started: checkpoint.Checkpoint | None, reporter: Reporter
) -> Hardware:
    """A run that is carried on keeps its number of threads, on which its bits depend, unless
    another is asked for."""
    if started is None or hardware.asked or not (folder / RUN_FILE).is_file():
        return hardware.with_threads(hardware.threads)
    begun = load_run(folder).environment.get("threads")
    if not isinstance(begun, int) or begun < 1 or begun == hardware.threads:
        return hardware.with_threads(hardware.threads)
    reporter.note(f"it began with {begun} threads a process, and goes on so")
    return hardware.with_threads(begun)


def _busy(scenario: Scenario, workers: int) -> tuple[int, str | None]:
    """The most trainings that there are to share out at once, and what to say where they are fewer
    than the processes, or often are; nothing of one process."""
    setting = TABLE[scenario.strategy.name].setting
    if setting == "pooled":
        most, mean, what = 1, 1.0, "one learner"
    elif setting == "alone":
        most = scenario.clients
        mean, what = float(most), f"{most} clients"
    else:
        clients = reporting(scenario)
        most, mean = clients.most, clients.mean
        what = f"{'at most ' if clients.varies else ''}{most} clients a round"
    if workers == 1:
        return most, None
    if most < workers:
        return most, f"{workers} workers and {what}: {workers - most} train nothing"
    if mean < workers:
        what = f"{mean:.3g} clients a round on average"
        return (
            most,
            f"{workers} workers and {what}: where there are fewer than workers, some train nothing",
        )
    return most, None


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
    """The record of a run that is about to train, or only to be scored.

    An interrupted run keeps its first start, and how its steps were executed: until others are
    made, those are what it was trained by.
    """
    now = _now()
    started, step = now, assembly.step_record()
    if (folder / RUN_FILE).is_file() and (folder / STATE_FILE).is_file():
        earlier = load_run(folder)
        started = earlier.timestamps.get("started", now)
        step |= {key: earlier.environment[key] for key in step if key in earlier.environment}
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
        environment={**hardware.record(planned.scenario), **step},
        git=git_state(),
        data={**material.record(), "partition": assembly.partition_record()},
        timestamps={"started": started},
    )


class _Work:
    """The rounds that are left, and what follows them."""

    def __init__(
        self,
        run: Run,
        ensemble: Ensemble,
        material: Material,
        reporter: Reporter,
        drawers: Drawers,
    ) -> None:
        self.run = run
        self.drawers = drawers
        self.ensemble = ensemble
        self.assembly = assembly = ensemble.assembly
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
        result = self.ensemble.round(number)
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
            record |= self.judge.summary(self.ensemble.models(), self.ensemble.predict)
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
        state = checkpoint.Checkpoint(round=number, tensors=self.ensemble.state())
        checkpoint.save(self.run.folder / STATE_FILE, state)
        self.ensemble.commit(number)

    def _score(self) -> Run:
        """Scores every evaluation split, keeps weights and scores, then removes the checkpoint."""
        folder = self.run.folder
        rounds = self.run.rounds()
        scored = self.judge.final(self.ensemble, self.ensemble.predict, folder)
        if self.scenario.stop_at is not None:
            found = rounds_to_target(rounds, self.judge.headline, self.scenario.stop_at)
            scored.metrics[self.judge.split]["target"] = found.record(self.judge.headline)
        run = replace(
            self.run,
            status="done",
            metrics=scored.metrics,
            totals=totals(rounds),
            weights_sha256=self.ensemble.save_weights(folder / WEIGHTS_FILE),
            scores_sha256=scored.digests,
            timestamps={**self.run.timestamps, "finished": _now()},
        )
        self.judge.draw(run, self.drawers)
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
