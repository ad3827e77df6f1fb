"""Names that tell runs apart: within a suite they do, across suites and folders they may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.results.run import Run


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The same runs, those of one name called by what else tells them apart: their suite, else the
    settings they differ in (as when a learning rate was tried with ``-s``), else their folder."""
    names = [run.name for run in runs]
    suites = [f"{run.suite}/{run.name}" for run in runs]
    for longer in (suites, _with_settings(runs, suites), [str(run.folder) for run in runs]):
        often = Counter(names)
        names = [
            more if often[name] > 1 else name for name, more in zip(names, longer, strict=True)
        ]
    return [
        run if run.name == name else replace(run, name=name)
        for run, name in zip(runs, names, strict=True)
    ]


def _with_settings(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """``name, key=value`` with the settings that differ among the runs of that name."""
    settings = [_flat(run.scenario) for run in runs]
    longer = []
    for name, own, run in zip(names, settings, runs, strict=True):
        alike = [other for n, other in zip(names, settings, strict=True) if n == name]
        differing = [key for key in own if len({other.get(key) for other in alike}) > 1]
        shown = [f"{key}={own[key]}" for key in differing]
        longer.append(", ".join([run.name, *shown]) if len(alike) > 1 else name)
    return longer


def _flat(row: Mapping[str, Any]) -> dict[str, str]:
    """A scenario's settings as text by dotted key."""
    flat: dict[str, str] = {}
    for key, value in row.items():
        parts = value.items() if isinstance(value, Mapping) else [(None, value)]
        for part, one in parts:
            flat[key if part in (None, "name") else f"{key}.{part}"] = str(one)
    return flat


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
