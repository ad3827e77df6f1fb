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
    bytes; the first to finish is kept.
    """
    folder = embedded_phantom_folder()
    if (folder / MARKER).is_file():
        return folder
    with fresh_folder(folder) as fresh:
        fill_folder(fresh, EMBEDDED, progress=progress)
        try:
            fresh.rename(folder)
        except OSError:
            if not (folder / MARKER).is_file():
                raise
    return folder
