"""Whether image files are as they were, and whether they are where they must be."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence

import numpy as np

from bench.data.decoding import LINKED_OUTSIDE, is_below
from bench.data.packfiles import FileTable


def signatures(root: str, paths: Sequence[str]) -> tuple[FileTable, dict[int, str]]:
    """Length and time of change of every file, and by row why there is no usable one.

    ``paths`` are relative to ``root``. This is all that a finished pack costs to open, so it does
    one system call a file and no more.
    """
    table = FileTable.unknown(len(paths))
    reasons: dict[int, str] = {}
    sizes: list[int] = []
    times: list[int] = []
    for row, path in enumerate(paths):
        size, time = -1, 0
        if path.startswith("/") or (".." in path and _climbs(path)):
            reasons[row] = "leaves the data folder"
        else:
            try:
                status = os.stat(f"{root}/{path}")
            except (FileNotFoundError, NotADirectoryError):
                reasons[row] = "missing"
            except (OSError, ValueError) as error:
                reasons[row] = f"cannot be read ({getattr(error, 'strerror', None) or error})"
            else:
                if not stat.S_ISREG(status.st_mode):
                    folder = stat.S_ISDIR(status.st_mode)
                    reasons[row] = "a folder, not a file" if folder else "not a regular file"
                elif status.st_size == 0:
                    reasons[row] = "empty (0 bytes)"
                else:
                    size, time = status.st_size, status.st_mtime_ns
        sizes.append(size)
        times.append(time)
    table.size[:], table.mtime[:] = sizes, times
    return table, reasons


def _climbs(path: str) -> bool:
    """Whether the path leads above where it starts; ``..data`` is a name like any other."""
    return os.path.normpath(path).split("/", 1)[0] == ".."


def file_digest(file: str) -> bytes:
    """SHA-256 of the file's bytes; empty where it cannot be read, which equals no digest."""
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return b""


def refuse_links(
    root: str,
    paths: Sequence[str],
    table: FileTable,
    reasons: dict[int, str],
    *,
    files: bool = False,
) -> None:
    """Takes files out of ``table`` whose folder a symbolic link puts outside ``root``.

    ``root`` must have no link in it. Each folder is looked at once. With ``files``, so is every
    file; otherwise whether it is such a link itself is seen when it is opened.
    """
    inside = {"": True}
    for row in np.flatnonzero(table.good).tolist():
        path = paths[row]
        if not _is_inside(root, path if files else path.rpartition("/")[0], inside):
            table.size[row] = -1
            reasons[row] = LINKED_OUTSIDE


def _is_inside(root: str, path: str, inside: dict[str, bool]) -> bool:
    """Whether the path stays below ``root``; ``inside`` remembers the answers."""
    if path not in inside:
        above = _is_inside(root, path.rpartition("/")[0], inside)
        full = f"{root}/{path}"
        inside[path] = (above and not os.path.islink(full)) or is_below(root, full)
    return inside[path]
