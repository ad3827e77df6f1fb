"""Locks between processes, in the folder they protect."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Waits until no other process holds the lock, and takes it; yields its descriptor.

    A lock whose file was deleted meanwhile, with its folder, is no lock: it is taken anew.
    """
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = file.open("w")
        except FileNotFoundError:
            continue
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if _still_there(stream.fileno(), file):
                yield stream.fileno()
                return


def _still_there(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


@contextmanager
def locked_if_free(file: Path) -> Iterator[bool]:
    """Takes the lock where no other process holds it; yields whether it did."""
    try:
        stream = file.open("w")
    except FileNotFoundError:
        yield False
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield _still_there(stream.fileno(), file)
