"""The reader of CheXpert trees: a folder with ``train.csv``, ``valid.csv``, perhaps ``test.csv``.

Every release and every tree of the same shape is read by this one path: CheXpert-v1.0, its small
and batched releases, CheXlocalize's ``val``, the phantom, and other hospitals' images laid out
alike. Only the label files are read; images are looked at when they are packed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data.csvfile import parse_csv
from bench.data.labelfile import SplitReader
from bench.data.layout import BATCH
from bench.data.split import Split, Tree
from bench.errors import DataError, Where

LABEL_FILES = {
    "train": ("train.csv",),
    "valid": ("valid.csv", "val.csv", "val_labels.csv"),
    "test": ("test.csv", "test_labels.csv", "groundtruth.csv"),
}
"""Names under which the releases ship each split's labels, the usual one first."""
MARKER = "PHANTOM.json"


def label_files(root: Path) -> dict[str, Path]:
    """The label file of each split that ``root`` has, in the order train, valid, test.

    They stand in the root, or in the first folder of the batched full-size release.
    Raises DataError where ``root`` is not a folder.
    """
    return {split: present[0] for split, present in _present(root).items()}


def _present(root: Path) -> dict[str, list[Path]]:
    """Every label file of each split, the one that is read first."""
    if not root.is_dir():
        raise DataError(
            "there is no such folder" if not root.exists() else "this is a file, not a folder",
            where=root,
            expected="a CheXpert tree: a folder with train.csv and the images it names",
        )
    folders = [root, *sorted(root.glob(f"{BATCH}1*"))]
    found: dict[str, list[Path]] = {}
    for split, names in LABEL_FILES.items():
        here = [folder / name for folder in folders for name in names]
        present = [file for file in here if file.is_file()]
        if present:
            found[split] = present
    return found


def read_tree(root: Path, splits: Sequence[str] = ("train", "valid", "test")) -> Tree:
    """Reads a tree's label files.

    ``train`` must be there if it is asked for; ``valid`` and ``test`` are read where they exist.
    Raises DataError, with file, line and column, for anything in a label file that is not what
    CheXpert's are.
    """
    root = Path(root)
    present = _present(root)
    files = {split: found[0] for split, found in present.items()}
    if "train" in splits and "train" not in files:
        raise DataError(
            "the tree has no train.csv", where=root, expected="train.csv", mend=_nearby(root)
        )
    digest = hashlib.sha256()
    read: dict[str, Split] = {}
    warnings: list[str] = []
    prefixes: set[str] = set()
    for name in LABEL_FILES:
        if name not in splits or name not in files:
            continue
        data = _bytes_of(files[name])
        _add(digest, files[name].relative_to(root).as_posix(), data)
        sheet = parse_csv(files[name], data)
        if len(sheet) == 0:
            raise DataError("the file has a header and no rows", where=Where(files[name], 1))
        reader = SplitReader(name, root, sheet)
        read[name] = reader.read()
        warnings += _passed_over(root, present[name])
        warnings += reader.warnings
        prefixes |= reader.prefixes
    if not read:
        wanted = " or ".join(LABEL_FILES[name][0] for name in splits)
        raise DataError("the tree has no label file", where=root, expected=wanted)
    marker = _marker(root, digest)
    tree = Tree(
        root=root,
        name=_name(root, prefixes, synthetic=marker is not None),
        splits=read,
        digest=digest.hexdigest(),
        synthetic=marker is not None,
        warnings=tuple(warnings),
    )
    return tree if marker is None else replace(tree, ideal_auroc=_ideal(root, marker))


def _passed_over(root: Path, present: Sequence[Path]) -> list[str]:
    """Says which other files of a split's labels there are, and that they are not read."""
    first, *others = (file.relative_to(root).as_posix() for file in present)
    return [f"{first} is read, and not {' nor '.join(others)} beside it"] if others else []


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            where=file,
            mend="check its permissions",
        ) from error


def _add(digest: hashlib._Hash, name: str, data: bytes) -> None:
    """Adds a file so that neither its name nor its length can be taken for another's bytes."""
    digest.update(f"{name}\0{len(data)}\0".encode())
    digest.update(data)


def _name(root: Path, prefixes: set[str], *, synthetic: bool) -> str:
    """What tables call the data: the prefix its paths share, else the folder's name."""
    if synthetic:
        return "phantom"
    shared = next(iter(prefixes)) if len(prefixes) == 1 else ""
    return shared or root.resolve().name


def _nearby(root: Path) -> str:
    """Points to a sub-folder that is a tree itself."""
    inside = sorted(p.parent for p in root.glob("*/train.csv"))
    if inside:
        return f"did you mean {inside[0]}?"
    return "name the folder that holds train.csv"


def _marker(root: Path, digest: hashlib._Hash) -> dict[str, Any] | None:
    """The phantom's marker file, which is part of the data's identity; None for real data."""
    file = root / MARKER
    if not file.is_file():
        return None
    data = _bytes_of(file)
    _add(digest, MARKER, data)
    try:
        marker = json.loads(data)
    except ValueError as error:
        raise DataError(
            "the phantom's marker is not JSON", where=file, mend="generate the phantom again"
        ) from error
    if not isinstance(marker, dict):
        raise DataError(
            "the phantom's marker is not a JSON object",
            where=file,
            mend="generate the phantom again",
        )
    return marker


def _ideal(root: Path, marker: dict[str, Any]) -> dict[str, float] | None:
    """The ideal observer's AUROC on ``valid``; observations where it is undefined are left out."""
    ideal = marker.get("ideal_auroc") or {}
    valid = ideal.get("valid") if isinstance(ideal, dict) else None
    if valid is None:
        return None
    try:
        return {str(name): float(value) for name, value in valid.items() if value is not None}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            "ideal_auroc is not an object of numbers by observation",
            where=root / MARKER,
            mend="generate the phantom again",
        ) from error
