"""Names that tell runs apart: within a suite they do, across suites and folders they may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bench.results.run import Run


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The same runs, those of one name called ``suite/name``, or by their folder where it takes
    that."""
    names = [run.name for run in runs]
    for longer in ([f"{run.suite}/{run.name}" for run in runs], [str(run.folder) for run in runs]):
        often = Counter(names)
        names = [
            more if often[name] > 1 else name for name, more in zip(names, longer, strict=True)
        ]
    return [
        run if run.name == name else replace(run, name=name)
        for run, name in zip(runs, names, strict=True)
    ]


def without_repeats(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs without those that repeat an earlier one of their suite, and a note of each.

    A repeat has the same scenario, seed and data, as when a suite was run in two results folders.
    """
    first: dict[tuple[str, str], Run] = {}
    notes = []
    for run in runs:
        kept = first.setdefault((run.suite, run.hash), run)
        if kept is not run:
            notes.append(f"{run.folder} is left out: it is the same scenario as {kept.folder}")
    return list(first.values()), notes
