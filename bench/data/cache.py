"""What the cache holds, and what of it nothing will use again.

A file that is deleted while a process has it mapped or open stays that process's until it ends
(POSIX), so tidying up disturbs no run. What is still being written is locked and left alone, and
what others move or delete while this looks is passed over.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.locks import locked, locked_if_free
from bench.data.packfiles import LOCK, TABLE, WORK, Origin, pixels_file, read_origin
from bench.errors import UsageError

PACKS = "packs"
TREES = "trees"
ABANDONED_SECONDS = 24 * 3600
"""Drawing the embedded phantom takes a minute or two; one begun a day ago is drawn no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in the cache."""

    kind: str
    """``pack``, ``unfinished pack``, ``phantom`` or ``other``."""
    path: Path
    holds: str
    """Whose it is, in words."""
    bytes: int
    unused: str | None
    """Why nothing will use it again; None where something may."""
    record: Path | None = None
    """Of a pack: the folder that tells which files it was made from, which goes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """What ``packs/trees/<key>`` tells."""

    folder: Path
    origin: Origin
    digest: str
    made: float
    """When, in seconds since 1970."""


def survey(cache: Path) -> list[Entry]:
    """Everything in the cache folder, packs first; an absent folder holds nothing.

    Raises UsageError where it is no folder.
    """
    if not cache.exists():
        return []
    if not cache.is_dir():
        raise UsageError(
            "the cache is not a folder", where=cache, mend="set $BENCH_CACHE to a folder"
        )
    phantoms = list(_phantoms(cache))
    known = {cache / PACKS, *(entry.path for entry in phantoms)}
    others = [
        Entry(kind="other", path=path, holds=path.name, bytes=_size(path), unused=None)
        for path in sorted(cache.iterdir())
        if path not in known
    ]
    doomed = [entry.path for entry in phantoms if entry.unused]
    found = [*_packs(cache / PACKS, doomed), *_unfinished(cache / PACKS), *phantoms, *others]
    return [entry for entry in found if os.path.lexists(entry.path)]


def prune(cache: Path) -> list[Entry]:
    """Deletes what nothing will use again; returns what was deleted.

    Raises OSError where the cache cannot be written.
    """
    deleted = []
    for entry in [entry for entry in survey(cache) if entry.unused]:
        if entry.kind == "phantom":
            _remove(entry.path)
        elif not _delete_pack(cache / PACKS, entry):
            continue
        deleted.append(entry)
    return deleted


def drop_unused(packs: Path, digest: str) -> int:
    """Deletes that pack where no tree names it any more; returns the bytes that makes free."""
    file = pixels_file(packs, digest)
    with locked(packs / LOCK):
        if not file.exists() or any(tree.digest == digest for tree in _trees(packs)):
            return 0
        size = file.stat().st_size
        file.unlink()
    return size


def _delete_pack(packs: Path, entry: Entry) -> bool:
    """Deletes a pack or what was left of one, with its record; False where it is in use again."""
    if entry.record is not None:
        with locked_if_free(entry.record / LOCK) as free:
            if not free:
                return False
            if entry.kind == "unfinished pack":
                entry.path.unlink(missing_ok=True)
                return True
            _remove(entry.record)
    with locked(packs / LOCK):
        if any(pixels_file(packs, tree.digest) == entry.path for tree in _trees(packs)):
            return False
        entry.path.unlink(missing_ok=True)
    return True


def _remove(folder: Path) -> None:
    """Deletes a folder, or as much as others let: one that waits for its lock makes it anew."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


def _trees(packs: Path) -> Iterator[_Tree]:
    for file in sorted(packs.glob(f"{TREES}/*/{TABLE}")):
        found, made = read_origin(file), _changed(file)
        if found is not None:
            yield _Tree(folder=file.parent, origin=found[0], digest=found[1], made=made)


def _packs(packs: Path, doomed: Sequence[Path]) -> Iterator[Entry]:
    """The finished packs, each once for every tree that names it; ``doomed`` trees will go."""
    trees = list(_trees(packs))
    newest: dict[Origin, float] = {}
    for tree in trees:
        newest[tree.origin] = max(tree.made, newest.get(tree.origin, tree.made))
    named = set()
    for tree in trees:
        file = pixels_file(packs, tree.digest)
        named.add(file)
        if file.exists():
            yield Entry(
                kind="pack",
                path=file,
                holds=_whose(tree.origin),
                bytes=_size(file),
                unused=_why_unused(tree, newest[tree.origin], doomed),
                record=tree.folder,
            )
    for file in sorted(set(packs.glob("*.npy")) - named):
        why = "the images have changed since"
        yield Entry(
            kind="pack", path=file, holds="images as they were", bytes=_size(file), unused=why
        )


def _whose(origin: Origin) -> str:
    if not origin.root:
        return "unknown: made by an older version"
    return f"{origin.root}, {origin.csv}, {origin.side} px"


def _why_unused(tree: _Tree, newest: float, doomed: Sequence[Path]) -> str | None:
    if not tree.origin.root:
        return None
    root = Path(tree.origin.root)
    if not root.is_dir():
        return "its data folder is gone"
    if any(root == path.resolve() for path in doomed):
        return "its phantom is of an older version"
    if tree.made < newest:
        return "the label file names other images since"
    return None


def _unfinished(packs: Path) -> Iterator[Entry]:
    """Images decoded for packs that are not finished; where they are, a kill left them."""
    for work in sorted(packs.glob(f"{TREES}/*/{WORK}")):
        found = read_origin(work.with_name(TABLE))
        done = found is not None and pixels_file(packs, found[1]).exists()
        yield Entry(
            kind="unfinished pack",
            path=work,
            holds=_whose(found[0]) if found else "images decoded so far",
            bytes=_size(work),
            unused="the pack was finished" if done else None,
            record=work.parent,
        )


def _phantoms(cache: Path) -> Iterator[Entry]:
    """Embedded phantoms, and those that a killed process left half drawn."""
    from bench.data.phantom.embedded import EMBEDDED_PREFIX, embedded_phantom_folder

    current = embedded_phantom_folder().name
    for path in sorted(cache.glob(f"{EMBEDDED_PREFIX}*")):
        unused = None if path.name == current else "another version of the generator wrote it"
        yield Entry(kind="phantom", path=path, holds="embedded", bytes=_size(path), unused=unused)
    for path in sorted(cache.glob(f".{EMBEDDED_PREFIX}*")):
        old = time.time() - _changed(path) > ABANDONED_SECONDS
        yield Entry(
            kind="phantom",
            path=path,
            holds="half drawn",
            bytes=_size(path),
            unused="its process is gone" if old else None,
        )


def _changed(path: Path) -> float:
    """When it was, in seconds since 1970; now where it has gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, without what has gone meanwhile."""
    if not path.is_dir():
        return _length(path)
    return sum(_length(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _length(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:
        return 0
