"""Which process a run belongs to, so that a killed run is seen as interrupted."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bench.errors import ResultsError
from bench.results.run import Run

LOCK_FILE = ".lock"
ATTEMPTS, PAUSE_SECONDS = 5, 0.05


@contextmanager
def owned(folder: Path) -> Iterator[dict[str, Any]]:
    """Holds the folder for this process; yields the owner record for ``run.json``.

    The lock is the kernel's (flock): it goes with the process however that ends, so there is no
    stale lock to clean up. Raises ResultsError where another process holds it, or where the
    folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise ResultsError(
            "the folder of the run cannot be written",
            where=folder,
            found=error.strerror or str(error),
            mend="choose another folder with --results",
        ) from error
    with stream:
        _lock(stream, folder)
        yield {"pid": os.getpid(), "host": socket.gethostname()}


def _lock(stream: IO[str], folder: Path) -> None:
    """Takes the lock; tries for a moment, since one who only looks holds it for an instant."""
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if attempt < ATTEMPTS - 1:
                time.sleep(PAUSE_SECONDS)
                continue
            raise ResultsError(
                "another process is working on this run",
                where=folder,
                mend="wait for it to end, or stop it and give the same command again",
            ) from error
        except OSError as error:
            raise ResultsError(
                "the folder of the run cannot be locked",
                where=folder,
                found=error.strerror or str(error),
                mend="choose a folder on a disk that has locks (flock) with --results",
            ) from error


def in_use(folder: Path) -> bool:
    """True while some process holds the folder."""
    path = folder / LOCK_FILE
    if not path.exists():
        return False
    with path.open("r") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def actual_status(run: Run) -> str:
    """The run's status, a ``running`` whose process is gone being ``interrupted``."""
    if run.status == "running" and not in_use(run.folder):
        return "interrupted"
    return run.status
