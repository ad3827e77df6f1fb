"""What an unfinished run needs and a finished one does not, and what killed processes leave."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.atomic import TEMPORARY
from bench.results.ownership import owned
from bench.results.run import CLIENTS_FOLDER, RUN_FILE, STATE_FILE

TRACEBACK_FILE = "traceback.txt"


def remove_litter(folder: Path) -> None:
    """Removes what an earlier process left half written; only for the folder's owner."""
    for file in folder.rglob(TEMPORARY):
        file.unlink(missing_ok=True)
    (folder / TRACEBACK_FILE).unlink(missing_ok=True)


def remove_state(folder: Path) -> None:
    """Removes the checkpoint of a finished run; only for the folder's owner."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / CLIENTS_FOLDER, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Removes the checkpoint that a process killed right after finishing its run left behind."""
    if (folder / STATE_FILE).exists() or (folder / CLIENTS_FOLDER).exists():
        with owned(folder):
            remove_litter(folder)
            remove_state(folder)


def clear(folder: Path) -> None:
    """Removes an earlier run.

    The record goes first, then the checkpoint: a process killed on the way leaves a folder that is
    to be run from the start, never a finished run without its scores. Raises ResultsError where
    another process is at work in the folder.
    """
    if not folder.exists():
        return
    with owned(folder):
        (folder / RUN_FILE).unlink(missing_ok=True)
        remove_state(folder)
        shutil.rmtree(folder)
