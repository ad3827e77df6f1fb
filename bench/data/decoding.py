"""Decoding image files into a pack: in this process, or in several that share the pack's file.

The others are helpers (:mod:`bench.helpers`), which write the pixels of one chunk after another
where they belong in the file. Pillow holds the interpreter lock for part of its work, so threads do
not scale. Pixels are written and not stored through a memory map, so that a full disk is an error
that can be reported and not a signal that kills the process.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from bench import helpers
from bench.data.images import GreySquares, UnreadableImage
from bench.errors import DataError

CHUNK = 64
"""Images between two progress reports, and the most that a killed process has to do again."""
TOGETHER = 8
"""Images written in one call, which takes 4 % off the time of packing."""
LINKED_OUTSIDE = "leaves the data folder through a symbolic link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where pixels come from and go to."""

    root: str
    """The folder image paths are relative to."""
    file: str
    """The pack's file, which exists at its full length."""
    offset: int
    """Bytes before the first image in ``file``."""
    side: int
    """Height and width of an image in the pack, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What became of one image file."""

    row: int
    size: int = -1
    """Length of the file in bytes; -1 where it could not be opened."""
    mtime: int = -1
    """Time of its last change in nanoseconds."""
    sha256: str = ""
    """Hexadecimal digest of its bytes; empty where it could not be used."""
    reason: str = ""
    """Why it could not be used; empty where its pixels have been written."""


def decode_rows(target: Target, descriptor: int, rows: Iterable[tuple[int, str]]) -> list[Decoded]:
    """Decodes (row, path) pairs and writes each one's pixels to its place in the file.

    Raises OSError where the pixels cannot be written; what cannot be read is in the answer.
    """
    done = []
    run = _Run(target, descriptor)
    for row, path in rows:
        try:
            status, data = _read(target.root, path)
        except OSError as error:
            done.append(Decoded(row=row, reason=f"cannot be read ({error.strerror or error})"))
            continue
        size, mtime = status.st_size, status.st_mtime_ns
        if data is None:
            done.append(Decoded(row=row, size=size, mtime=mtime, reason=LINKED_OUTSIDE))
            continue
        # Before decoding, while the bytes are still in the processor's nearest cache.
        digest = hashlib.sha256(data).hexdigest()
        try:
            run.draw(row, data)
        except UnreadableImage as error:
            done.append(Decoded(row=row, size=size, mtime=mtime, reason=str(error)))
            continue
        done.append(Decoded(row=row, size=size, mtime=mtime, sha256=digest))
    run.write()
    return done


class _Run:
    """Images that follow each other in the pack, drawn side by side and written together."""

    def __init__(self, target: Target, descriptor: int) -> None:
        self._descriptor, self._offset = descriptor, target.offset
        self._length = target.side * target.side
        self._squares = GreySquares(target.side, TOGETHER)
        self._pixels = memoryview(self._squares.pixels)
        self._first = self._drawn = 0
        """The row of the first image that is drawn and not written, and how many there are."""

    def draw(self, row: int, data: bytes) -> None:
        """Draws the image that has ``row``, and writes those before it where it starts a new run.

        Raises UnreadableImage as GreySquares does; those before are then as they were.
        """
        if self._drawn == TOGETHER or row != self._first + self._drawn:
            self.write()
            self._first = row
        self._squares.draw(data, self._drawn)
        self._drawn += 1

    def write(self) -> None:
        """Writes what is drawn to its place in the file. Raises OSError where it cannot be."""
        pixels = self._pixels[: self._drawn * self._length]
        write_whole(self._descriptor, pixels, self._offset + self._first * self._length)
        self._drawn = 0


def is_below(root: str, path: str) -> bool:
    """Whether ``path``, every symbolic link followed, is ``root`` or stands below it."""
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip("/") + "/")


def _read(root: str, path: str) -> tuple[os.stat_result, bytes | None]:
    """The file's status and bytes, None for a link that leads outside ``root``.

    By system calls: ``open`` takes twice the time.
    """
    file = f"{root}/{path}"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        if not is_below(root, file):
            return os.stat(file), None
        descriptor = os.open(file, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        data = os.read(descriptor, status.st_size + 1)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size)):
            data += more
        return status, data
    finally:
        os.close(descriptor)


def decode(
    target: Target, rows: Sequence[tuple[int, str]], *, workers: int, inherit: Sequence[int] = ()
) -> Iterator[list[Decoded]]:
    """Decodes all rows, yielding what became of each chunk as it is done, in any order.

    ``inherit`` are descriptors that workers keep open: the pack's lock, so that a killed pack stays
    locked until its last worker has ended. Raises OSError where pixels cannot be written and
    DataError where a worker dies.
    """
    chunks = [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
    workers = min(workers, len(chunks))
    if workers <= 1:
        descriptor = os.open(target.file, os.O_WRONLY)
        try:
            for chunk in chunks:
                yield decode_rows(target, descriptor, chunk)
        finally:
            os.close(descriptor)
        return
    told = asdict(target)
    questions = [{"target": told, "rows": chunk} for chunk in chunks]
    try:
        with closing(helpers.answers(__name__, questions, workers, inherit=inherit)) as answers:
            for _, answer in answers:
                yield [Decoded(**item) for item in answer["done"]]
    except helpers.HelperLost as lost:
        raise DataError(
            "a decoding process ended before its work was done",
            found=str(lost),
            expected=f"images such as {chunks[lost.question][0][1]} to be decoded",
            mend="give the command again: what was done is kept",
        ) from None


def write_whole(descriptor: int, pixels: bytes | memoryview, offset: int) -> None:
    """Writes all of the bytes: one call may write a part, as when the disk is nearly full."""
    written = os.pwrite(descriptor, pixels, offset)
    while written < len(pixels):
        written += os.pwrite(descriptor, memoryview(pixels)[written:], offset + written)


def reply(question: Any) -> dict[str, Any]:
    """A helper's answer to a chunk."""
    target = Target(**question["target"])
    descriptor = os.open(target.file, os.O_WRONLY)
    try:
        done = decode_rows(target, descriptor, question["rows"])
    except OSError as error:
        raise OSError(error.errno, error.strerror, target.file) from error
    finally:
        os.close(descriptor)
    return {"done": [asdict(item) for item in done]}
