"""Finds what is to be compared and with what, and compares it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from bench.results.names import told_apart, without_repeats
from bench.results.ownership import actual_status
from bench.results.run import Run, find_runs, scores_file

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
    other = _folder(against, baselines)
    if other is not None:
        comparisons = _against_runs(runs, other, split, method, notes)
    else:
        comparisons = _against_table(told_apart(runs), against, split, method, baselines, notes)
    if not any(comparison.comparable for comparison in comparisons):
        raise NotComparable(
            f"nothing could be compared with '{against}'",
            found="; ".join(_reasons(comparisons, notes)),
            mend="name runs of the same names, scored on the same studies"
            if other is not None
            else "`bench baselines` lists the published tables with their splits and conditions; "
            "--split names other scores of the runs",
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

    Raises BaselineError where no table has that id and UsageError where a folder is not there or
    has no runs.
    """
    other = _folder(against, baselines)
    if other is not None:
        if not find_runs([other]):
            raise UsageError("there is no run in the folder to compare with", where=other)
    elif against != PAPER and not publishes_rounds(against, baselines):
        split_for(against, baselines)


def _folder(against: str, baselines: Path | None) -> Path | None:
    """The folder of runs that is meant, or None where it is a table.

    Raises UsageError for a path at which nothing is.
    """
    other = Path(against)
    if other.exists():
        return None if _is_table(against, baselines) else other
    if len(other.parts) > 1:
        raise UsageError(
            "there is no such run or folder to compare with",
            where=other,
            mend="name a folder that `bench run` wrote, or a table that `bench baselines` lists",
        )
    return None


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
    usable, notes = _usable(found, ", ".join(map(str, paths or [results])))
    distinct, repeats = without_repeats(usable)
    return distinct, [*notes, *repeats]


def _usable(found: Sequence[Run], where: str) -> tuple[list[Run], list[str]]:
    """The finished ones, and what was left out."""
    states = [(run, actual_status(run)) for run in found]
    notes = [f"{run.name} is left out: it is {state}" for run, state in states if state != "done"]
    done = [run for run, state in states if state == "done"]
    if not done:
        raise NotComparable(
            "no run is finished" if found else "there is no run here",
            where=where,
            found="; ".join(notes) or None,
            mend="finish them with `bench run`"
            if found
            else "name a folder that `bench run` wrote",
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
    runs: Sequence[Run], other: Path, split: str | None, method: Method, notes: list[str]
) -> list[Comparison]:
    """Each run against the other run, or against the one of its name in the other folder.

    Of several runs, those that cannot be held against it are left out, with the reason in
    ``notes``. Of a single one the error is raised, which says more.
    """
    theirs, more = _usable(find_runs([other]), str(other))
    notes += more
    if len(theirs) == 1 and theirs[0].name in {run.name for run in runs}:
        theirs = [replace(theirs[0], name=str(theirs[0].folder))]
    comparisons = []
    for run, named in zip(runs, told_apart(runs), strict=True):
        same = _namesakes(run, theirs)
        on = split or run.judged_split
        if len(same) != 1:
            notes.append(f"{named.name} is left out: {other} has {len(same)} runs of that name")
        elif same[0].folder.resolve() == run.folder.resolve() and len(runs) > 1:
            notes.append(f"{named.name} is left out: it would be held against itself")
        elif len(runs) > 1 and (without := _without_scores((run, same[0]), on)):
            notes.append(f"{named.name} is left out: {without}")
        else:
            try:
                comparisons.append(compare_runs(named, same[0], on, method=method))
            except NotComparable as error:
                if len(runs) == 1:
                    raise
                notes.append(f"{named.name} is left out: {error.clause()}")
    return comparisons


def _without_scores(pair: Sequence[Run], split: str) -> str | None:
    """Which of the two has no scores of the split any more, or never had, else None."""
    for run in pair:
        if split not in run.metrics:
            return f"{run.folder} was not scored on {split}"
        if not run.has_scores(split):
            return f"{run.folder} does not hold its scores ({scores_file(split)})"
    return None


def _namesakes(run: Run, theirs: Sequence[Run]) -> list[Run]:
    """The only other run; else those of the run's name, of its suite if there are such."""
    if len(theirs) == 1:
        return list(theirs)
    same = [other for other in theirs if other.name == run.name]
    return [other for other in same if other.suite == run.suite] or same


def _reasons(comparisons: Sequence[Comparison], notes: Sequence[str]) -> list[str]:
    found = dict.fromkeys(
        f"{row.condition}: {row.verdict}" for comparison in comparisons for row in comparison.rows
    )
    bare = [
        f"{c.run} has no condition in common with {c.against}" for c in comparisons if not c.rows
    ]
    return [*found, *bare, *notes][:6]
