"""The phantom that stands in where no data is given: written once, kept in the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from bench.data.phantom.writer import (
    MARKER,
    Parameters,
    Progress,
    code_digest,
    fill_folder,
    fresh_folder,
)
from bench.errors import UsageError
from bench.locations import cache_folder

EMBEDDED = Parameters(train_patients=360, valid_patients=150, test_patients=150, size=96, seed=2019)
"""Large enough to learn from in minutes on two cores and to score with intervals worth reading."""
EMBEDDED_PREFIX = "phantom-"
"""What the names of embedded phantoms begin with, of whatever parameters and code."""


def embedded_phantom_folder() -> Path:
    """Where the embedded phantom is or will be: named by its parameters and the code's digest."""
    identity = json.dumps(asdict(EMBEDDED), sort_keys=True) + code_digest()
    return cache_folder() / f"{EMBEDDED_PREFIX}{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def embedded_phantom(progress: Progress | None = None) -> Path:
    """The folder of the embedded phantom, which is written first where it is not there.

    It appears complete or not at all. Processes that write it at the same time write the same
    bytes; the first to finish is kept. Raises UsageError where the cache cannot be written.
    """
    folder = embedded_phantom_folder()
    if (folder / MARKER).is_file():
        return folder
    try:
        with fresh_folder(folder) as fresh:
            fill_folder(fresh, EMBEDDED, progress=progress)
            _take_place(fresh, folder)
    except OSError as error:
        raise UsageError(
            "the embedded phantom cannot be written",
            where=folder,
            found=error.strerror or str(error),
            mend="make room, or set $BENCH_CACHE to a folder that can be written and has room",
        ) from error
    return folder


def _take_place(fresh: Path, folder: Path) -> None:
    """Gives the finished phantom its name, unless another process was faster."""
    try:
        fresh.rename(folder)
    except OSError:
        if not (folder / MARKER).is_file():
            raise
