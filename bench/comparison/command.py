"""Finds what is to be compared and with what, and compares it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.comparison.paired import compare_runs
from bench.comparison.published import PAPER, compare_published, split_for
from bench.comparison.rounds_table import (
    RoundsComparison,
    compare_with_rounds,
    publishes_rounds,
)
from bench.comparison.rows import Comparison
from bench.comparison.subject import Method, subjects
from bench.errors import BaselineError, NotComparable, UsageError
from bench.results.run import Run, find_runs

COMMITTED = ("reference", "measured")
"""Folders of results/ that hold other things than this machine's runs."""
DEFAULT_SPLIT = "valid"


def compare_all(
    paths: Sequence[Path],
    against: str,
    *,
    split: str | None = None,
    method: Method = "logit",
    results: Path = Path("results"),
    baselines: Path | None = None,
) -> tuple[list[Comparison], list[str]]:
    """Every finished run below ``paths`` (or ``results``) against a table, a run or a folder.

    Returns the comparisons and what was left out. Raises NotComparable where not one difference
    can be formed.
    """
    runs, notes = _finished(paths, results)
    other = Path(against)
    if other.exists() and not _is_table(against, baselines):
        comparisons = _against_runs(runs, other, split or DEFAULT_SPLIT, notes)
    else:
        comparisons = _against_table(runs, against, split, method, baselines, notes)
    if not any(comparison.comparable for comparison in comparisons):
        raise NotComparable(
            f"nothing could be compared with '{against}'",
            found="; ".join(_reasons(comparisons, notes)) or "no run",
            mend="`bench baselines` lists the published tables with their conditions",
        )
    return comparisons, notes


def compare_all_rounds(
    paths: Sequence[Path],
    against: str,
    *,
    results: Path = Path("results"),
    baselines: Path | None = None,
) -> tuple[list[RoundsComparison], list[str]]:
    """Every finished run below ``paths`` (or ``results``) against tables of rounds to target.

    Returns the comparisons and what was left out. Raises NotComparable where no run is a cell.
    """
    runs, notes = _finished(paths, results)
    if not paths:
        runs = [run for run in runs if run.scenario.get("dataset") == "mnist"]
    found, more = compare_with_rounds(runs, against, baselines)
    return found, [*notes, *more]


def check_target(against: str, baselines: Path | None = None) -> None:
    """Says before a long computation what :func:`compare_all` would say after it.

    Raises BaselineError where no table has that id and UsageError where a folder has no runs.
    """
    other = Path(against)
    if other.exists() and not _is_table(against, baselines):
        if not find_runs([other]):
            raise UsageError("there is no run in the folder to compare with", where=other)
    elif against != PAPER and not publishes_rounds(against, baselines):
        split_for(against, baselines)


def _is_table(against: str, baselines: Path | None) -> bool:
    if against == PAPER:
        return True
    try:
        split_for(against, baselines)
    except BaselineError:
        return False
    return True


def _finished(paths: Sequence[Path], results: Path) -> tuple[list[Run], list[str]]:
    if not paths and not results.is_dir():
        raise UsageError(
            "there are no runs to compare",
            where=results,
            mend="run a suite first (`bench run smoke`), or name a folder of runs",
        )
    found = find_runs(paths or [results])
    if not paths:
        found = [run for run in found if run.folder.parent.name not in COMMITTED]
    notes = [f"{run.name} is left out: it is {run.status}" for run in found if run.status != "done"]
    done = [run for run in found if run.status == "done"]
    if not done:
        raise NotComparable(
            "no run is finished",
            where=", ".join(map(str, paths)) or results,
            found=f"{len(found)} runs",
            mend="finish them with `bench run`",
        )
    return done, notes


def _against_table(
    runs: Sequence[Run],
    against: str,
    split: str | None,
    method: Method,
    baselines: Path | None,
    notes: list[str],
) -> list[Comparison]:
    wanted = split or split_for(against, baselines) or DEFAULT_SPLIT
    graded = [run for run in runs if run.metrics.get(wanted, {}).get("observations")]
    found = subjects(graded, wanted, method)
    covered = {run.folder for subject in found for run in subject.runs}
    notes += [
        f"{run.name} is left out: it "
        + (f"has no AUROC on {wanted}" if wanted in run.metrics else f"was not scored on {wanted}")
        for run in runs
        if run.folder not in covered
    ]
    return [compare_published(subject, against, baselines) for subject in found]


def _against_runs(
    runs: Sequence[Run], other: Path, split: str, notes: list[str]
) -> list[Comparison]:
    """Each run against the other run, or against the one of its name in the other folder."""
    theirs = find_runs([other])
    comparisons = []
    for run in runs:
        same = theirs if len(theirs) == 1 else [t for t in theirs if t.name == run.name]
        if len(same) != 1:
            notes.append(f"{run.name} is left out: {other} has {len(same)} runs of that name")
        elif same[0].folder.resolve() != run.folder.resolve() or len(runs) == 1:
            comparisons.append(compare_runs(run, same[0], split))
    return comparisons


def _reasons(comparisons: Sequence[Comparison], notes: Sequence[str]) -> list[str]:
    found = dict.fromkeys(
        f"{row.condition}: {row.verdict}" for comparison in comparisons for row in comparison.rows
    )
    bare = [
        f"{c.run} has no condition in common with {c.against}" for c in comparisons if not c.rows
    ]
    return [*found, *bare, *notes][:6]
