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
    scores_file,
)
from bench.runs import checkpoint
from bench.runs.assembly import Assembly
from bench.runs.evaluation import metrics_of, score_members, summary_of
from bench.runs.pace import Pace
from bench.runs.plan import phases, total_rounds
from bench.suites.scenario import SEMANTICS

if TYPE_CHECKING:
    from bench.runs.hardware import Hardware
    from bench.runs.material import Labelled, Material
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
        try:
            return _Work(run, assembly, material, reporter).finish(first)
        except KeyboardInterrupt:
            replace(run, status="interrupted").write()
            raise
        except Exception as error:
            failure = {"type": type(error).__name__, "message": str(error)}
            replace(run, status="failed", error=failure).write()
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
        hash=planned.scenario.identity(material.tree.digest),
        semantics=SEMANTICS,
        status="running",
        owner={**owner, "started": now},
        scenario=planned.scenario.row(),
        origin=dict(planned.origin),
        environment=hardware.record(planned.scenario),
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
        self.material = material
        self.reporter = reporter
        self.scenario = assembly.scenario
        self.pace = Pace(assembly.hardware.device, assembly.precision)

    def finish(self, first: int) -> Run:
        """Trains rounds ``first`` … last, scores the result and marks the run done."""
        log = RoundLog(self.run.folder / ROUNDS_FILE, keep=first - 1)
        last = total_rounds(self.scenario)
        try:
            for number in range(first, last + 1):
                self.assembly.enter_phase_of(number)
                log.append(self._round(number, last))
                if self.pace.checkpoint_due() or number == last:
                    log.sync()
                    self._checkpoint(number)
        finally:
            log.close()
        return self._score()

    def _round(self, number: int, last: int) -> dict[str, Any]:
        result = self.assembly.federation.round(number)
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
        if phases(self.scenario) > 1:
            record["phase"] = self.assembly.phase_of(number)
        if record["evaluated"]:
            record |= summary_of(self._scores_on(self.material.splits["valid"]))
        self.reporter.round(record, last)
        return record

    def _scores_on(self, labelled: Labelled) -> Any:
        return score_members(
            self.assembly.federation.models(),
            self.assembly.trainer.predict,
            labelled,
            self.scenario.observations,
            self.scenario.views,
        )

    def _checkpoint(self, number: int) -> None:
        state = checkpoint.Checkpoint(round=number, tensors=self.assembly.state())
        checkpoint.save(self.run.folder / STATE_FILE, state)
        self.assembly.federation.commit(number)

    def _score(self) -> Run:
        """Scores every evaluation split, keeps weights and scores, then removes the checkpoint."""
        folder = self.run.folder
        metrics, digests = {}, {}
        for name, labelled in self.material.evaluation().items():
            scored = self._scores_on(labelled)
            digests[name] = scored.save(folder / scores_file(name))
            metrics[name] = metrics_of(scored, self.scenario.views)
        run = replace(
            self.run,
            status="done",
            metrics=metrics,
            totals=totals(self.run.rounds()),
            weights_sha256=self.assembly.save_weights(folder / WEIGHTS_FILE),
            scores_sha256=digests,
            timestamps={**self.run.timestamps, "finished": _now()},
        )
        draw_curves(run)
        run.write()
        self.assembly.federation.discard()
        remove_state(folder)
        return run


def draw_curves(run: Run) -> None:
    """Writes the run's ROC figures beside its scores, the paper's AUROCs in their legends."""
    from bench.comparison.captions import captions
    from bench.report.roc import draw_run

    for split in run.metrics:
        draw_run(run, split, captions(run, split))


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
