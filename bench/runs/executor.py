"""A whole suite: opens the data once, runs what is left to run, and lets nothing stop the rest."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.atomic import write_text
from bench.errors import BenchError, ResultsError, UsageError, WorkerLost
from bench.garbage import uncollected
from bench.locations import cache_folder
from bench.report.drawing import Drawers
from bench.results.leftovers import TRACEBACK_FILE, clear, tidy
from bench.results.run import Run, load_run
from bench.runs.advice import Advice
from bench.runs.crew import Crew
from bench.runs.material import Data, Material
from bench.runs.plan import Item, plan
from bench.runs.reporting import Reporter, headline_text, reporter
from bench.runs.source import Source, data_if_there, find_sources, open_data
from bench.suites.suite import PHANTOM_PROFILE, Expansion, Suite, load_suite

if TYPE_CHECKING:
    from bench.runs.hardware import Hardware
    from bench.suites.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``bench run`` was asked to do."""

    suite: str
    data: tuple[str, ...] = ()
    """Folders, each perhaps with a name before it: ``name=folder``."""
    results: Path = Path("results")
    overrides: tuple[str, ...] = ()
    select: str | None = None
    device: str = "auto"
    fresh: bool = False
    fail_fast: bool = False
    on_bad_image: Literal["fail", "skip"] = "fail"
    quiet: bool = False
    threads: int | None = None
    """Of each process; None leaves it to the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A scenario that stopped, and why."""

    name: str
    message: str
    exit_code: int


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a suite's scenarios."""

    suite: str
    runs: list[Run] = field(default_factory=list)
    """Finished now or earlier, in the suite's order."""
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """130 after an interrupt; 3 where a scenario failed; 2 where only its input was wrong."""
        if self.interrupted:
            return 130
        return max((failure.exit_code for failure in self.failures), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What a suite would do."""

    suite: str
    items: list[Item]
    notes: tuple[str, ...]


def look_ahead(options: Options) -> Ahead:
    """Every scenario with its state and cost; generates, decodes and trains nothing.

    Raises BenchError where :func:`execute` would before it computes anything: for a suite, data
    or a results folder that will not do.
    """
    suite = load_suite(options.suite)
    plain = _expand(suite, options)
    sources = _sources(plain, options)
    obstacle = _obstacle(options.results)
    if obstacle is not None:
        raise _unwritable(options.results, obstacle)
    data = {name: data_if_there(source) for name, source in sources.items()}
    synthetic = any(
        source.is_phantom or (found is not None and found.synthetic)
        for source, found in zip(sources.values(), data.values(), strict=True)
    )
    expansion = _for_phantom(suite, options, plain) if synthetic else plain
    notes = [note for name, source in sources.items() for note in _notes(source, data[name])]
    items = plan(suite.name, expansion.scenarios, options.results, data)
    return Ahead(suite=suite.name, items=items, notes=(*notes, *expansion.notes))


def _sources(expansion: Expansion, options: Options) -> dict[str, Source]:
    """Where each data set that the chosen scenarios use is read from."""
    datasets = dict.fromkeys(planned.scenario.dataset for planned in expansion.scenarios)
    return find_sources(options.data, datasets)


def _for_phantom(suite: Suite, options: Options, plain: Expansion) -> Expansion:
    """What the suite has for synthetic data: its profile, or the same as for any other."""
    if PHANTOM_PROFILE not in suite.profiles:
        return plain
    return _expand(suite, options, profile=PHANTOM_PROFILE)


def _expand(suite: Suite, options: Options, profile: str | None = None) -> Expansion:
    expansion = suite.expand(overrides=options.overrides, select=options.select, profile=profile)
    if not expansion.scenarios:
        raise UsageError(
            "no scenario is left",
            where=options.suite,
            found=f"-k {options.select}" if options.select else "an empty suite",
            mend="`bench plan` without -k lists the scenarios and their values",
        )
    return expansion


def execute(options: Options, crew: Crew | None = None) -> Outcome:
    """Runs every scenario of the suite that is not done, by all the processes of the crew.

    Raises BenchError where the suite, the data or the device is wrong; a scenario that fails on
    the way is in the outcome instead, and the others go on unless ``fail_fast``.
    """
    suite = load_suite(options.suite)
    plain = _expand(suite, options)
    sources = _sources(plain, options)
    _make_writable(options.results)
    with reporter(quiet=options.quiet) as report:
        data = {
            name: open_data(source, lambda done, total: report.progress("phantom", done, total))
            for name, source in sources.items()
        }
        synthetic = any(found.synthetic for found in data.values())
        expansion = _for_phantom(suite, options, plain) if synthetic else plain
        items = plan(suite.name, expansion.scenarios, options.results, data)
        notes = [note for name, source in sources.items() for note in _notes(source, data[name])]
        outcome = Outcome(suite=suite.name, notes=[*notes, *expansion.notes])
        for note in outcome.notes:
            report.note(note)
        finished = 0 if options.fresh else sum(item.status == "done" for item in items)
        report.suite(suite.name, len(items), finished)
        with Drawers() as drawers:
            _Suite(options, data, report, outcome, crew or Crew(), drawers).run(items)
    return outcome


def _make_writable(results: Path) -> None:
    """Refuses a results folder that could not be written to, before anything is computed."""
    found = _obstacle(results)
    if found is None:
        try:
            results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = error.strerror or str(error)
    if found is not None:
        raise _unwritable(results, found)


def _obstacle(results: Path) -> str | None:
    """What keeps runs from being written there, as far as it can be seen without writing."""
    there = next(path for path in (results, *results.absolute().parents) if path.exists())
    named = "" if there == results else f"{there} is "
    if not there.is_dir():
        return f"{named}a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"no permission to write in {there}"
    return None


def _unwritable(results: Path, found: str) -> ResultsError:
    return ResultsError(
        "runs cannot be kept here",
        where=results,
        expected="a folder that can be written to",
        found=found,
        mend="name another with --results",
    )


def _notes(source: Source, data: Data | None) -> list[str]:
    if data is None:
        notes = [f"data: {source.reason}"]
        if source.is_phantom:
            notes.append("the phantom has not been generated yet, so nothing of it can be done")
        return notes
    counts = ", ".join(f"{number:,} {name}" for name, number in data.images.items())
    return [f"data: {data.name} ({source.reason}): {counts} images", *data.notes()]


class _Suite:
    """The scenarios of one suite, in order, over shared data."""

    def __init__(
        self,
        options: Options,
        data: Mapping[str, Data],
        report: Reporter,
        outcome: Outcome,
        crew: Crew,
        drawers: Drawers,
    ) -> None:
        self.crew = crew
        self.drawers = drawers
        self.options = options
        self.data = data
        self.report = report
        self.outcome = outcome
        self._materials: dict[tuple[str, int], Material] = {}
        self._hardware: Hardware | None = None
        self._advice = Advice(report.note)

    def run(self, items: Sequence[Item]) -> None:
        """Runs what is left; stops early on an interrupt or, if asked, on a failure."""
        for number, item in enumerate(items, start=1):
            assert item.folder is not None
            try:
                if item.status == "done" and not self.options.fresh:
                    self._take_finished(item.planned.name, item.folder)
                else:
                    self._run_one(number, item, item.folder)
            except KeyboardInterrupt:
                failed = self.crew.ended()
                if failed is None:
                    self.outcome.interrupted = True
                else:
                    self._record_failure(item, item.folder, failed)
                return
            except WorkerLost as error:
                self._record_failure(item, item.folder, error)
                return
            if self.outcome.failures and self.options.fail_fast:
                break
        self.crew.dismiss()

    def _take_finished(self, name: str, folder: Path) -> None:
        """``name`` is the scenario's in today's suite; the run may be of when it had another."""
        tidy(folder)
        self.outcome.runs.append(replace(load_run(folder), name=name))

    def _run_one(self, number: int, item: Item, folder: Path) -> None:
        team = self.crew.enrol()
        with uncollected():
            from bench.runs.worker import run_scenario  # the others are starting meanwhile

        hardware = self._open_hardware()
        self._advice.of_scenario(item.planned.scenario, hardware)
        material = self._material(item.planned.scenario)
        try:
            if self.options.fresh:
                clear(folder)
            run = run_scenario(
                item.planned,
                suite=self.outcome.suite,
                material=material,
                folder=folder,
                hardware=hardware,
                reporter=self.report,
                number=number,
                drawers=self.drawers,
                team=team,
                orders=self._orders(folder),
            )
        except WorkerLost:
            raise
        except Exception as error:
            self._record_failure(item, folder, error)
            return
        self.outcome.runs.append(run)
        self.report.done(item.planned.name, headline_text(run.metrics), run.totals["seconds"])

    def _orders(self, folder: Path) -> dict[str, Any]:
        """What the other processes need to begin a scenario, beside its row."""
        return {
            "folder": str(folder),
            "data": list(self.options.data),
            "device": self.options.device,
            "on_bad_image": self.options.on_bad_image,
        }

    def _record_failure(self, item: Item, folder: Path, error: Exception) -> None:
        """Keeps the message, and for what no one foresaw the traceback in a file of its own."""
        message = error.message() if isinstance(error, BenchError) else _surprise(folder, error)
        cause = error.__cause__
        if isinstance(error, WorkerLost) and cause and not isinstance(cause, BenchError | OSError):
            message += _traceback_kept(folder, error)
        code = 2 if isinstance(error, BenchError) and error.exit_code == 2 else 3
        failure = Failure(name=item.planned.name, message=message, exit_code=code)
        self.outcome.failures.append(failure)
        self.report.failed(item.planned.name, message)

    def _material(self, scenario: Scenario) -> Material:
        key = scenario.dataset, scenario.image_size
        if key not in self._materials:
            self._materials[key] = self.data[scenario.dataset].prepare(
                scenario.image_size,
                cache=cache_folder(),
                on_bad_image=self.options.on_bad_image,
                progress=lambda name, done, total: self.report.progress(
                    f"packing {name} at {scenario.image_size} px", done, total
                ),
            )
            for note in self._materials[key].notes():
                self.report.note(note)
                self.outcome.notes.append(note)
        return self._materials[key]

    def _open_hardware(self) -> Hardware:
        from bench.runs.hardware import Hardware

        if self._hardware is None:
            self._hardware = Hardware.open(
                self.options.device,
                threads=self.options.threads,
                place=self.crew.place,
                team=self.crew.enrol().size,
            )
            self._advice.of_hardware(self._hardware, self.crew.place)
        return self._hardware


def _surprise(folder: Path, error: Exception) -> str:
    """A full disk or a lost one needs no traceback, and may have no room for it."""
    if isinstance(error, OSError):
        place = error.filename or folder
        return f"{place}: {error.strerror or error}"
    return f"{type(error).__name__}: {error}{_traceback_kept(folder, error)}"


def _traceback_kept(folder: Path, error: Exception) -> str:
    """Writes the traceback; returns a line that says where it is, or why it is not there."""
    path = folder / TRACEBACK_FILE
    try:
        write_text(path, "".join(traceback.format_exception(error)))
    except OSError as reason:
        return f"\n  the traceback could not be written: {reason.strerror or reason}"
    return f"\n  the traceback is in {path}"
