"""A whole suite: opens the data once, runs what is left to run, and lets nothing stop the rest."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.errors import BenchError, ResultsError, UsageError
from bench.locations import cache_folder
from bench.results.atomic import write_text
from bench.results.leftovers import TRACEBACK_FILE, clear, tidy
from bench.results.run import Run, load_run
from bench.runs.material import Material, prepare
from bench.runs.plan import Item, plan
from bench.runs.reporting import Reporter, reporter
from bench.runs.source import Source, find_source, open_tree, read_if_there
from bench.suites.suite import Expansion, Suite, load_suite

if TYPE_CHECKING:
    from bench.data.split import Tree
    from bench.runs.hardware import Hardware

PHANTOM_PROFILE = "phantom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``bench run`` was asked to do."""

    suite: str
    data: Path | None = None
    results: Path = Path("results")
    overrides: tuple[str, ...] = ()
    select: str | None = None
    device: str = "auto"
    fresh: bool = False
    fail_fast: bool = False
    on_bad_image: Literal["fail", "skip"] = "fail"
    quiet: bool = False


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

    Raises BenchError where the suite or the data is wrong.
    """
    suite = load_suite(options.suite)
    source = find_source(options.data)
    tree = read_if_there(source)
    synthetic = source.is_phantom or (tree is not None and tree.synthetic)
    expansion = _expand(suite, options, synthetic=synthetic)
    notes = [f"data: {source.reason}"] if tree is None else _notes(source, tree)
    notes += expansion.notes
    if tree is None:
        notes.append("the phantom has not been generated yet, so nothing of it can be done")
    items = plan(suite.name, expansion.scenarios, options.results, tree)
    return Ahead(suite=suite.name, items=items, notes=tuple(notes))


def _expand(suite: Suite, options: Options, *, synthetic: bool) -> Expansion:
    expansion = suite.expand(
        overrides=options.overrides,
        select=options.select,
        profile=PHANTOM_PROFILE if synthetic else None,
    )
    if not expansion.scenarios:
        raise UsageError(
            "no scenario is left",
            where=options.suite,
            found=f"-k {options.select}" if options.select else "an empty suite",
            mend="`bench plan` without -k lists the scenarios and their values",
        )
    return expansion


def execute(options: Options) -> Outcome:
    """Runs every scenario of the suite that is not done.

    Raises BenchError where the suite, the data or the device is wrong; a scenario that fails on
    the way is in the outcome instead, and the others go on unless ``fail_fast``.
    """
    suite = load_suite(options.suite)
    source = find_source(options.data)
    _make_writable(options.results)
    with reporter(quiet=options.quiet) as report:
        tree = open_tree(source, lambda done, total: report.progress("phantom", done, total))
        expansion = _expand(suite, options, synthetic=tree.synthetic)
        items = plan(suite.name, expansion.scenarios, options.results, tree)
        outcome = Outcome(suite=suite.name, notes=[*_notes(source, tree), *expansion.notes])
        for note in outcome.notes:
            report.note(note)
        finished = 0 if options.fresh else sum(item.status == "done" for item in items)
        report.suite(suite.name, len(items), finished)
        _Suite(options, tree, report, outcome).run(items)
    return outcome


def _make_writable(results: Path) -> None:
    """Refuses a results folder that could not be written to, before anything is computed."""
    found = None
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = error.strerror or str(error)
    if found is None and not os.access(results, os.W_OK | os.X_OK):
        found = "no permission to write in it"
    if found is not None:
        raise ResultsError(
            "runs cannot be kept here",
            where=results,
            expected="a folder that can be written to",
            found=found,
            mend="name another with --results",
        )


def _notes(source: Source, tree: Tree) -> list[str]:
    counts = ", ".join(f"{len(split):,} {name}" for name, split in tree.splits.items())
    notes = [f"data: {tree.name} ({source.reason}): {counts} images"]
    if tree.synthetic:
        notes.append(
            "SYNTHETIC DATA: the phantom is generated; its figures say nothing of patients"
        )
    return notes


class _Suite:
    """The scenarios of one suite, in order, over shared data."""

    def __init__(self, options: Options, tree: Tree, report: Reporter, outcome: Outcome) -> None:
        self.options = options
        self.tree = tree
        self.report = report
        self.outcome = outcome
        self._materials: dict[int, Material] = {}
        self._hardware: Hardware | None = None

    def run(self, items: Sequence[Item]) -> None:
        """Runs what is left; stops early on an interrupt or, if asked, on a failure."""
        for number, item in enumerate(items, start=1):
            assert item.folder is not None
            try:
                if item.status == "done" and not self.options.fresh:
                    self._take_finished(item.folder)
                else:
                    self._run_one(number, item, item.folder)
            except KeyboardInterrupt:
                self.outcome.interrupted = True
                return
            if self.outcome.failures and self.options.fail_fast:
                return

    def _take_finished(self, folder: Path) -> None:
        tidy(folder)
        self.outcome.runs.append(load_run(folder))

    def _run_one(self, number: int, item: Item, folder: Path) -> None:
        from bench.runs.worker import run_scenario

        hardware = self._open_hardware()
        material = self._material(item.planned.scenario.image_size)
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
            )
        except Exception as error:
            self._record_failure(item, folder, error)
            return
        self.outcome.runs.append(run)
        mean = run.metrics["valid"]["mean_auroc"]
        self.report.done(item.planned.name, mean, run.totals["seconds"])

    def _record_failure(self, item: Item, folder: Path, error: Exception) -> None:
        """Keeps the message, and for what no one foresaw the traceback in a file of its own."""
        message = error.message() if isinstance(error, BenchError) else _surprise(folder, error)
        code = 2 if isinstance(error, BenchError) and error.exit_code == 2 else 3
        failure = Failure(name=item.planned.name, message=message, exit_code=code)
        self.outcome.failures.append(failure)
        self.report.failed(item.planned.name, message)

    def _material(self, size: int) -> Material:
        if size not in self._materials:
            self._materials[size] = prepare(
                self.tree,
                size,
                cache=cache_folder(),
                on_bad_image=self.options.on_bad_image,
                progress=lambda name, done, total: self.report.progress(
                    f"packing {name} at {size} px", done, total
                ),
            )
            for name, part in self._materials[size].splits.items():
                if part.skipped:
                    note = f"{name}: {part.skipped:,} images that could not be read are left out"
                    self.report.note(note)
                    self.outcome.notes.append(note)
        return self._materials[size]

    def _open_hardware(self) -> Hardware:
        from bench.runs.hardware import Hardware

        if self._hardware is None:
            self._hardware = Hardware.open(self.options.device)
        return self._hardware


def _surprise(folder: Path, error: Exception) -> str:
    """A full disk or a lost one needs no traceback, and may have no room for it."""
    if isinstance(error, OSError):
        place = error.filename or folder
        return f"{place}: {error.strerror or error}"
    message = f"{type(error).__name__}: {error}"
    path = folder / TRACEBACK_FILE
    try:
        write_text(path, "".join(traceback.format_exception(error)))
    except OSError as reason:
        return f"{message}\n  the traceback could not be written: {reason.strerror or reason}"
    return f"{message}\n  the traceback is in {path}"
