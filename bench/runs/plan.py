"""What a suite would do: every scenario with its folder, its state and an estimate of its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import ResultsError
from bench.federation.expectation import images_a_round
from bench.results.ownership import actual_status
from bench.results.run import RUN_FILE, Run, load_run
from bench.suites.policies import trains_twice
from bench.suites.scenario import Scenario

if TYPE_CHECKING:
    from bench.runs.material import Data
    from bench.suites.suite import Planned

TO_DO = "to do"
UNREADABLE = "unreadable"
DIGITS = 8
"""Of a scenario's identity, in its folder's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One scenario of a suite, as it stands in the results folder."""

    planned: Planned
    folder: Path | None
    """Where its run is kept; None while the data's identity is unknown (an ungenerated phantom)."""
    status: str
    """``done``, ``interrupted``, ``running``, ``failed``, ``to do`` or ``unreadable``."""
    rounds_done: int
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a scenario takes, as far as it can be known before it runs."""

    training_images: int | None
    """Images passed forward and backward over the whole scenario."""
    seconds: float | None
    """From the speed of a finished run of the same network and size on this machine; else None."""


class _Folders:
    """Where a suite's scenarios are kept: ``<name>-<first 8 hex digits of the identity>`` in
    ``results/<suite>``, which is read once.

    A scenario is named by what varies in its suite, so a new axis of the grid renames it; it is
    still the same scenario, and a run of it under an earlier name is its run.
    """

    def __init__(self, results: Path, suite: str) -> None:
        self._suite = results / suite
        self._present: dict[str, dict[str, Path]] = {}
        """By those digits, the folders that hold a run, by name."""
        for file in sorted(self._suite.glob(f"*-{'?' * DIGITS}/{RUN_FILE}")):
            name = file.parent.name
            self._present.setdefault(name[-DIGITS:], {})[name] = file.parent

    def of(self, planned: Planned, digest: str) -> tuple[Path, bool]:
        """The folder by its present name, unless the run is there under another; and whether a run
        is there."""
        identity = planned.scenario.identity(digest)
        name = f"{planned.name}-{identity[:DIGITS]}"
        present = self._present.get(identity[:DIGITS], {})
        if name not in present:
            for earlier in present.values():
                run = _readable(earlier)
                if run is not None and run.hash == identity:
                    return earlier, True
        return self._suite / name, name in present


def phases(scenario: Scenario) -> int:
    """Trainings a scenario consists of: two where any observation is self-trained, else one."""
    return 2 if trains_twice(scenario.label_policy) else 1


def total_rounds(scenario: Scenario) -> int:
    """Rounds over all phases."""
    return scenario.rounds * phases(scenario)


def training_images(scenario: Scenario, images: int) -> int:
    """Images passed forward and backward over all rounds, where there are ``images`` to train on:
    an estimate, because clients differ in size and chance decides who takes part."""
    return round(images_a_round(scenario, images) * total_rounds(scenario))


def plan(
    suite: str, scenarios: Sequence[Planned], results: Path, data: Mapping[str, Data | None]
) -> list[Item]:
    """Every scenario as it stands in the results folder.

    ``data`` has the data set that each ``dataset`` stands for; None: it is not there.
    """
    speeds = _speeds(results / suite)
    folders = _Folders(results, suite)
    items = []
    for planned in scenarios:
        own = data[planned.scenario.dataset]
        folder, there = (None, False) if own is None else folders.of(planned, own.digest)
        images = None if own is None else own.images["train"]
        status, done = _state(folder) if folder is not None and there else (TO_DO, 0)
        items.append(
            Item(
                planned=planned,
                folder=folder,
                status=status,
                rounds_done=done,
                cost=_cost(planned.scenario, images, speeds),
            )
        )
    return items


def _state(folder: Path) -> tuple[str, int]:
    try:
        run = load_run(folder)
        return actual_status(run), len(run.rounds())
    except ResultsError:
        return UNREADABLE, 0


def _cost(scenario: Scenario, images: int | None, speeds: dict[Any, float]) -> Cost:
    if images is None:
        return Cost(training_images=None, seconds=None)
    passed = training_images(scenario, images)
    speed = speeds.get((scenario.backbone, scenario.image_size))
    return Cost(training_images=passed, seconds=None if speed is None else passed / speed)


def _speeds(folder: Path) -> dict[Any, float]:
    """Training images per second of this suite's finished runs on this machine."""
    from bench.environment import machine

    here = machine(gpu=None)
    speeds: dict[Any, float] = {}
    for file in folder.glob("*/" + RUN_FILE):
        run = _readable(file.parent)
        if run is None or run.status != "done":
            continue
        there = run.environment.get("machine", {})
        if any(there.get(key) != here[key] for key in ("processor", "cores")):
            continue
        speed = run.totals.get("images_per_second")
        if speed:
            speeds[(run.scenario["backbone"], run.scenario["image_size"])] = float(speed)
    return speeds


def _readable(folder: Path) -> Run | None:
    try:
        return load_run(folder)
    except ResultsError:
        return None
