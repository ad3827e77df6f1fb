"""Which data a run is given: the folder asked for, the environment's, or the embedded phantom."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.data.split import Tree
from bench.errors import DataError

ROOT_VARIABLE = "CHEXPERT_ROOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A folder to read, and how it was chosen."""

    root: Path | None
    """None: the embedded phantom, which may have to be generated first."""
    reason: str

    @property
    def is_phantom(self) -> bool:
        """True where the embedded phantom stands in for real data."""
        return self.root is None


def find_source(data: Path | None) -> Source:
    """``--data``, else ``$CHEXPERT_ROOT``, else the embedded phantom.

    Raises DataError where the folder named does not exist: a misspelt path must never turn into a
    run on synthetic data.
    """
    if data is not None:
        return Source(root=_existing(data, "--data"), reason="--data")
    variable = os.environ.get(ROOT_VARIABLE)
    if variable:
        root = _existing(Path(variable).expanduser(), f"${ROOT_VARIABLE}")
        return Source(root=root, reason=f"${ROOT_VARIABLE}")
    return Source(root=None, reason=f"no --data and no ${ROOT_VARIABLE}: the embedded phantom")


def _existing(path: Path, given_by: str) -> Path:
    if not path.is_dir():
        raise DataError(
            f"{given_by} names a folder that does not exist",
            where=path,
            expected="a CheXpert tree: a folder with train.csv and the images it names",
            mend=f"correct {given_by}, or leave it out to use the embedded synthetic phantom",
        )
    return path


def open_tree(source: Source, progress: Callable[[int, int], None] | None = None) -> Tree:
    """Reads the label files of the source, generating the phantom first where it is needed."""
    from bench.data.chexpert import read_tree

    if source.root is not None:
        return read_tree(source.root)
    from bench.data.phantom import embedded_phantom

    return read_tree(embedded_phantom(progress))


def read_if_there(source: Source) -> Tree | None:
    """The source's tree, or None for a phantom that has not been generated."""
    from bench.data.chexpert import read_tree
    from bench.data.phantom import embedded_phantom_folder

    root = source.root if source.root is not None else embedded_phantom_folder()
    return read_tree(root) if root.is_dir() else None
