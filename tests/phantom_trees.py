"""A small phantom, written once a session, and its files as bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data.phantom import write_phantom
from bench.data.split import Tree

SMALL = {
    "train_patients": 24,
    "valid_patients": 24,
    "test_patients": 8,
    "size": 32,
    "seed": 3,
}


def write_small(folder: Path, *, workers: int | None = None, **changes: Any) -> Tree:
    return write_phantom(folder, workers=workers, **(SMALL | changes))


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file by its path below the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
