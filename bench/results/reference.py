"""References: the part of finished runs that ``bench check`` needs, small enough to commit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import ResultsError, UsageError
from bench.results.ownership import actual_status
from bench.results.run import (
    ROUNDS_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    Run,
    find_runs,
    scores_file,
)


def update_reference(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Puts the runs into the reference folder, in place of those of the same name.

    Of each run it keeps ``run.json`` (without what names a process, a host or a path of this
    machine), ``rounds.jsonl`` and the scores of the split it is judged by: some kilobytes, no
    weights. What else stands in the folder stays. The new folder is built beside the old one and
    takes its place at the end, so a kill leaves the old one.

    Returns the runs' new folders. Raises UsageError where there are no runs, where two have one
    name or where the folder is a results folder, and ResultsError where a run is not finished.
    """
    _check(runs, folder)
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        if folder.exists():
            shutil.copytree(folder, new)
            for former in find_runs([new]):
                if former.name in {run.name for run in runs}:
                    shutil.rmtree(former.folder)
        else:
            new.mkdir(parents=True)
        names = [_copy(run, new) for run in runs]
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if not folder.exists() and old.exists():
            old.rename(folder)
        for litter in (new, old):
            shutil.rmtree(litter, ignore_errors=True)
    return [folder / name for name in names]


def _copy(run: Run, root: Path) -> str:
    """Copies the run's small files; returns its folder's name."""
    name = f"{run.name}-{run.hash[:8]}"
    target = root / name
    target.mkdir()
    shutil.copyfile(run.folder / ROUNDS_FILE, target / ROUNDS_FILE)
    scores = scores_file(run.judged_split)
    shutil.copyfile(run.folder / scores, target / scores)
    replace(run, folder=target, owner={}, origin={}).write()
    return name


def _check(runs: Sequence[Run], folder: Path) -> None:
    if not runs:
        raise UsageError("there are no runs to make a reference of", mend="run the suite first")
    names: dict[str, Run] = {}
    for run in runs:
        status = actual_status(run)
        if status != "done":
            raise ResultsError(
                "a reference is made of finished runs only",
                where=run.folder,
                expected="status done",
                found=f"status {status}",
                mend="finish it: give the same `bench run` command again",
            )
        for file in (ROUNDS_FILE, scores_file(run.judged_split)):
            if not (run.folder / file).is_file():
                raise ResultsError(
                    f"the run has no {file}",
                    where=run.folder,
                    mend="run the scenario again with --fresh",
                )
        if run.name in names:
            raise UsageError(
                f"two of the runs are named '{run.name}'",
                found=f"{names[run.name].folder} and {run.folder}",
                mend="name one of them, or make a reference for each suite",
            )
        names[run.name] = run
    if folder.exists() and not folder.is_dir():
        raise UsageError("the reference is a file", where=folder, expected="a folder")
    for former in find_runs([folder]) if folder.exists() else []:
        if any((former.folder / file).exists() for file in (WEIGHTS_FILE, STATE_FILE)):
            raise UsageError(
                "the folder to put the reference in holds whole runs",
                where=folder,
                found=f"weights in {former.folder}",
                mend="name a folder of its own, such as results/reference/<suite>",
            )
