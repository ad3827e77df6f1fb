"""Where a release keeps its images: from a path in a label file to a path under the tree's root.

Label files name images as ``CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg``, with the
prefix of one release or another, the tree folder's own name, or none; on disk the prefix may or may
not be there, ``valid`` may be called ``val``, and the full-size release lies in four folders called
``CheXpert-v1.0 batch N (…)``. The part of a path before ``patient…`` is its *head*: a file has a
handful of distinct heads, and each is looked up on disk once. No image is touched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

SPLIT_FOLDERS = ("train", "valid", "val", "test")
OTHER_NAME = {"valid": "val", "val": "valid"}
RELEASE, BATCH = "CheXpert-v1.0", "CheXpert-v1.0 batch "


def find_head(root: Path, head: str, patient: str) -> str | None:
    """The folder under ``root`` that stands for ``head`` (``""`` or ending in ``/``).

    ``patient`` is one patient of that head. None where no such folder exists. A head that is
    absolute or climbs with ``..`` is given back unchanged, to be reported with its image.
    """
    parts = PurePosixPath(head).parts
    if head.startswith("/") or ".." in parts:
        return head
    for drop in range(len(parts) + 1):
        for candidate in _spellings(parts[drop:]):
            if os.path.isdir(root / (candidate or patient)):
                return f"{candidate}/" if candidate else ""
    return None


def plain_head(root: Path, head: str) -> str:
    """The head without the release's prefix, for a tree whose images are not on this disk."""
    parts = PurePosixPath(head).parts
    for at, part in enumerate(parts):
        if part in SPLIT_FOLDERS:
            return "/".join(parts[at:]) + "/"
    if parts and (parts[0].startswith(RELEASE) or parts[0] == root.name):
        parts = parts[1:]
    return "".join(f"{part}/" for part in parts)


def batch_folders(root: Path) -> Mapping[str, str]:
    """The folder of each patient where the full-size release lies in batches; empty otherwise."""
    found: dict[str, str] = {}
    for batch in sorted(root.glob(f"{BATCH}*")):
        for folder in (batch, *(batch / name for name in SPLIT_FOLDERS)):
            if folder.is_dir():
                head = f"{folder.relative_to(root).as_posix()}/"
                found |= {p.name: head for p in folder.iterdir() if p.name.startswith("patient")}
    return found


def _spellings(parts: tuple[str, ...]) -> list[str]:
    """The folder as written, and with ``valid`` and ``val`` exchanged."""
    written = "/".join(parts)
    other = "/".join(OTHER_NAME.get(part, part) for part in parts)
    return [written] if other == written else [written, other]
