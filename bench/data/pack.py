"""Images decoded and resized once, into one memory-mapped array of grey bytes.

The first time, every file is decoded (in parallel; see ``decoding``) by the rule of ``images``. A
process that is killed loses a few images' work; the same call carries on. Afterwards a pack opens
as soon as every file is seen to have the length and time of change it had; a file that has not is
hashed, and decoded again only where its bytes differ. The pack of the images as they were before is
then deleted, unless another tree's images are the same; who has it open keeps it. Two processes
that want the same pack take turns, so that the second finds it done.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import drop_unused
from bench.data.decoding import LINKED_OUTSIDE, Target, decode, is_below
from bench.data.images import RULE
from bench.data.locks import locked
from bench.data.packfiles import (
    LOCK,
    TABLE,
    WORK,
    FileTable,
    Finished,
    Journal,
    Origin,
    copy_pixels,
    create_pixels,
    open_pixels,
    pixels_file,
    publish,
    read_finished,
    write_finished,
)
from bench.data.signatures import file_digest, refuse_links, signatures
from bench.data.split import Split
from bench.environment import granted_cores
from bench.errors import DataError, Where

SHOWN = 5
"""Unreadable images listed in a message; the rest are counted."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadImage:
    """An image that cannot be used."""

    row: int
    """Its row in the split."""
    line: int
    """Its line in the label file."""
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The decoded images of a split."""

    images: NDArray[np.uint8]
    """(n, size, size) grey, 0 black to 255 white, memory-mapped for reading."""
    rows: NDArray[np.int64]
    """(n,) the row of the split that each image is, ascending."""
    skipped: tuple[BadImage, ...]
    """The rows that are not in it, and why."""
    digest: str
    """SHA-256 over the resize rule, the size and the bytes of the image files in order."""
    freed: int = 0
    """Bytes of the pack of these files as they were before, where this call deleted one."""


def pack(
    split: Split,
    *,
    size: int,
    cache: Path,
    on_bad_image: Literal["fail", "skip"] = "fail",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Opens the pack of the split's images at ``size`` pixels, making it where there is none.

    ``workers`` is the number of processes that decode; None is one for each core this process may
    use. Raises DataError where images cannot be read and ``on_bad_image`` is ``fail``, naming the
    label file's lines, and where the cache cannot be written.
    """
    with _cache_trouble(cache):
        return _Packer(split, size, cache / "packs", workers, progress).pack(on_bad_image)


class _Packer:
    """One call of ``pack``."""

    def __init__(
        self,
        split: Split,
        size: int,
        packs: Path,
        workers: int | None,
        progress: Progress | None,
    ) -> None:
        self.split, self.size, self.packs, self.progress = split, size, packs, progress
        self.workers = workers or granted_cores()
        self.paths: list[str] = split.paths.tolist()
        self.root = os.path.realpath(split.root)
        text = "\n".join([RULE, str(size), self.root, *self.paths])
        key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.folder = packs / "trees" / key
        self.reasons: dict[int, str] = {}
        """Why a row has no usable image."""
        self.spoilt: dict[int, tuple[int, int, str]] = {}
        """As in ``Finished``."""

    def pack(self, on_bad_image: Literal["fail", "skip"]) -> Packed:
        now, self.reasons = signatures(self.root, self.paths)
        packed = self._open(self._recall(now), now)
        if packed is None:
            with locked(self.folder / LOCK) as lock:
                packed = self._make(now, lock, on_bad_image)
        if packed.skipped and on_bad_image == "fail":
            raise _refusal(self.split, packed.skipped)
        return packed

    def _recall(self, now: FileTable) -> Finished | None:
        """What was made before; files known to be spoilt, and unchanged, leave ``now``."""
        finished = read_finished(self.folder / TABLE, len(self.paths))
        if finished is not None:
            for row, (size, mtime, why) in finished.spoilt.items():
                if (now.size[row], now.mtime[row]) == (size, mtime) and self._is_still(why, row):
                    now.size[row] = -1
                    self.reasons[row] = why
                    self.spoilt[row] = (size, mtime, why)
        return finished

    def _is_still(self, why: str, row: int) -> bool:
        """Whether a spoilt file of the same length and time is: a link's are those of its target,
        and so are a copy's that takes the link's place."""
        return why != LINKED_OUTSIDE or not is_below(self.root, f"{self.root}/{self.paths[row]}")

    def _open(self, finished: Finished | None, now: FileTable) -> Packed | None:
        """The finished pack, where it has every file that is here now, unchanged."""
        if finished is None or not np.array_equal(finished.table.good, now.good):
            return None
        if not finished.table.same_signature(now)[now.good].all():
            return None
        return self._packed(finished.table, finished.digest)

    def _packed(self, table: FileTable, digest: str) -> Packed | None:
        rows = np.flatnonzero(table.good)
        images = open_pixels(self._file(digest), len(rows), self.size)
        if images is None:
            return None
        return Packed(images=images, rows=rows, skipped=self._bad(), digest=digest)

    def _bad(self) -> tuple[BadImage, ...]:
        lines = self.split.csv_lines
        return tuple(
            BadImage(row=row, line=int(lines[row]), path=self.paths[row], reason=reason)
            for row, reason in sorted(self.reasons.items())
        )

    def _file(self, digest: str) -> Path:
        return pixels_file(self.packs, digest)

    def _make(self, now: FileTable, lock: int, on_bad_image: str) -> Packed:
        """Decodes what is not known, with the lock held; another process may have done it.

        Images that cannot be used stop it before the pack is published, unless they are to be
        skipped; what has been decoded is kept for the next call.
        """
        refuse_links(self.root, self.paths, now, self.reasons)
        finished = self._recall(now)
        opened = self._open(finished, now)
        if opened is not None:
            return opened
        unknown = FileTable.unknown(len(self.paths))
        old, old_pixels = unknown, None
        if finished is not None:
            old = finished.table
            file = self._file(finished.digest)
            old_pixels = open_pixels(file, int(old.good.sum()), self.size)
        carried = self._unchanged(old if old_pixels is not None else unknown, now)
        journal, work = Journal(self.folder / "journal"), self.folder / WORK
        if not work.exists():
            journal.remove()
        table = journal.read(len(self.paths))
        table.size[~table.same_signature(now) | carried] = -1
        todo = np.flatnonzero(now.good & ~carried & ~table.good)
        if len(todo):
            self._decode(todo, table, journal, work, lock)
        if self.reasons and on_bad_image == "fail":
            raise _refusal(self.split, self._bad())
        table.size[carried], table.mtime[carried] = now.size[carried], now.mtime[carried]
        table.sha256[carried] = old.sha256[carried]
        made = Finished(
            origin=Origin(root=self.root, csv=self.split.csv.name, side=self.size),
            table=table,
            digest=table.digest(RULE, self.size),
            spoilt=self.spoilt,
        )
        if not self._take_over(made):
            if old_pixels is not None and carried.any():
                copy_pixels(old_pixels, np.flatnonzero(old.good), carried, work, self.size)
            # The table first: a process killed between the two finds the work and publishes it.
            write_finished(self.folder / TABLE, made)
            publish(work, self._file(made.digest), table.good, self.size)
        journal.remove()
        work.unlink(missing_ok=True)
        packed = self._packed(table, made.digest)
        assert packed is not None, "the pack has just been published"
        if finished is None or finished.digest == made.digest:
            return packed
        return replace(packed, freed=drop_unused(self.packs, finished.digest))

    def _take_over(self, made: Finished) -> bool:
        """Notes the pack as this tree's, where another tree of equal images has published it."""
        with locked(self.packs / LOCK):
            file = self._file(made.digest)
            there = open_pixels(file, int(made.table.good.sum()), self.size) is not None
            if there:
                write_finished(self.folder / TABLE, made)
        return there

    def _unchanged(self, old: FileTable, now: FileTable) -> NDArray[np.bool_]:
        """(n,) files whose bytes are those of the old pack: by signature, else by hashing."""
        same = old.same_signature(now)
        doubtful = np.flatnonzero(old.good & now.good & ~same)
        if len(doubtful):
            with ThreadPoolExecutor(self.workers) as pool:
                files = [f"{self.root}/{self.paths[row]}" for row in doubtful.tolist()]
                for row, digest in zip(
                    doubtful.tolist(), pool.map(file_digest, files), strict=True
                ):
                    same[row] = digest == old.sha256[row].tobytes()
        return same

    def _decode(
        self, todo: NDArray[np.int64], table: FileTable, journal: Journal, work: Path, lock: int
    ) -> None:
        """Decodes those rows into ``work``, noting each in ``table`` and in the journal."""
        total = len(self.paths)
        start = create_pixels(work, total, self.size)
        target = Target(root=self.root, file=str(work), offset=start, side=self.size)
        done = total - len(todo)
        rows = [(row, self.paths[row]) for row in todo.tolist()]
        if self.progress is not None:
            self.progress(done, total)
        for chunk in decode(target, rows, workers=self.workers, inherit=[lock]):
            for item in chunk:
                if item.reason:
                    self.reasons[item.row] = item.reason
                    if item.size >= 0:
                        self.spoilt[item.row] = (item.size, item.mtime, item.reason)
            journal.append(table, table.note([item for item in chunk if not item.reason]))
            done += len(chunk)
            if self.progress is not None:
                self.progress(done, total)


def _refusal(split: Split, bad: tuple[BadImage, ...]) -> DataError:
    """One error for all of a split's unreadable images."""
    listed = [f"{Where(split.csv, b.line)}: {b.path}: {b.reason}" for b in bad[:SHOWN]]
    if len(bad) > SHOWN:
        listed.append(f"and {len(bad) - SHOWN:,} more")
    return DataError(
        f"{len(bad):,} of {len(split):,} images cannot be used",
        where=Where(split.csv, bad[0].line),
        expected=f"JPEG or PNG files under {split.root}",
        found="\n    ".join(listed),
        mend="put the files right, or leave those images out with --on-bad-image skip",
    )


@contextmanager
def _cache_trouble(cache: Path) -> Iterator[None]:
    """Turns trouble with the cache (full, not writable) into an error for a person.

    Trouble with an image never gets here: it is noted with the image.
    """
    try:
        yield
    except OSError as error:
        free = ""
        if cache.exists():
            free = f"; {shutil.disk_usage(cache).free / 2**30:.1f} GiB free"
        raise DataError(
            "the pack of decoded images cannot be written",
            where=cache,
            found=f"{error.strerror or error}{free}",
            mend="make room, or set $BENCH_CACHE to a folder that can be written and has room",
        ) from error
