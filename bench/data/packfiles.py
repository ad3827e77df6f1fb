"""What a pack keeps on disk: the pixels, what is known of each image file, and unfinished work.

packs/<digest>.npy        pixels, named by content: image bytes in order, size and resize rule
packs/trees/<key>/        one folder for each (root, paths, size, rule)
    files.npz             each file's length, time of change and SHA-256, the digest, the origin
    work.npy, journal     pixels decoded so far, and which rows those are
    lock                  held while packing; the kernel lets go of it when a process dies
packs/lock                held while a pack that exists is taken over, or one is deleted
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from bench.atomic import replacing
from bench.data.decoding import write_whole

RECORD = np.dtype([("row", "<i8"), ("size", "<i8"), ("mtime", "<i8"), ("sha256", "u1", 32)])
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zlib.error, BadZipFile)
"""What reading a damaged ``files.npz`` raises."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCK, TABLE, WORK = "lock", "files.npz", "work.npy"
PAGE = 4096
"""Bytes that the kernel keeps of a file together."""
PREFIX = 10
"""Bytes of a ``.npy`` file of version 1.0 before the text of its header: magic, version, length."""
COPY_ROWS = 1024
"""Images copied at a time from one pack file to another."""


class Usable(Protocol):
    """A file whose image is in the pack."""

    @property
    def row(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime(self) -> int: ...
    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """What is known of each image file of a split; row i is image i."""

    size: NDArray[np.int64]
    """(n,) length in bytes; -1 where the file is not known to hold a usable image."""
    mtime: NDArray[np.int64]
    """(n,) time of the last change, in nanoseconds."""
    sha256: NDArray[np.uint8]
    """(n, 32) digest of the file's bytes."""

    @classmethod
    def unknown(cls, count: int) -> FileTable:
        """A table of files of which nothing is known."""
        return cls(
            size=np.full(count, -1, dtype=np.int64),
            mtime=np.zeros(count, dtype=np.int64),
            sha256=np.zeros((count, 32), dtype=np.uint8),
        )

    @property
    def good(self) -> NDArray[np.bool_]:
        """(n,) whether the image is known to be usable."""
        return self.size >= 0

    def note(self, images: Sequence[Usable]) -> NDArray[np.int64]:
        """Notes usable images; returns their rows."""
        rows = np.array([image.row for image in images], dtype=np.int64)
        self.size[rows] = [image.size for image in images]
        self.mtime[rows] = [image.mtime for image in images]
        digests = bytes.fromhex("".join([image.sha256 for image in images]))
        self.sha256[rows] = np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32)
        return rows

    def same_signature(self, other: FileTable) -> NDArray[np.bool_]:
        """(n,) usable in both, with the same length and time of change."""
        return self.good & (self.size == other.size) & (self.mtime == other.mtime)

    def digest(self, rule: str, side: int) -> str:
        """SHA-256 over the rule, the size and the bytes of the usable images in order."""
        text = hashlib.sha256(f"{rule}\0{side}\0".encode())
        text.update(np.ascontiguousarray(self.sha256[self.good]).tobytes())
        return text.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose pack it is, for a person and for tidying up."""

    root: str
    """The data folder, links followed; empty where an older version made the pack."""
    csv: str
    """The label file's name."""
    side: int
    """Pixels; 0 where an older version made the pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A pack that was made, and what it was made from."""

    origin: Origin
    table: FileTable
    digest: str
    spoilt: dict[int, tuple[int, int, str]]
    """Row → length, time of change and reason, of files whose very bytes are unusable: they need
    not be tried again until they change. What could not be opened is not among them."""


def read_finished(file: Path, count: int) -> Finished | None:
    """What ``files.npz`` tells; None where there is none or it does not fit."""
    try:
        with np.load(file, allow_pickle=False) as held:
            table = FileTable(size=held["size"], mtime=held["mtime"], sha256=held["sha256"])
            columns = [held[f"spoilt_{name}"].tolist() for name in ("row", "size", "mtime", "why")]
            origin, digest = _origin_and_digest(held)
    except UNREADABLE:
        return None
    if table.size.shape != (count,) or table.sha256.shape != (count, 32):
        return None
    spoilt = {row: (size, mtime, why) for row, size, mtime, why in zip(*columns, strict=True)}
    return Finished(origin=origin, table=table, digest=digest, spoilt=spoilt)


def read_origin(file: Path) -> tuple[Origin, str] | None:
    """Whose pack ``files.npz`` tells of, and the pack's digest; None where it cannot be read."""
    try:
        with np.load(file, allow_pickle=False) as held:
            return _origin_and_digest(held)
    except UNREADABLE:
        return None


def _origin_and_digest(held: NpzFile) -> tuple[Origin, str]:
    text = {name: str(held[name]) if name in held else "" for name in ("root", "csv", "side")}
    origin = Origin(root=text["root"], csv=text["csv"], side=int(text["side"] or 0))
    return origin, str(held["digest"])


def write_finished(file: Path, finished: Finished) -> None:
    """Replaces ``files.npz`` in one step."""
    table, spoilt = finished.table, finished.spoilt
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            size=table.size,
            mtime=table.mtime,
            sha256=table.sha256,
            digest=np.array(finished.digest),
            root=np.array(finished.origin.root),
            csv=np.array(finished.origin.csv),
            side=np.array(finished.origin.side),
            spoilt_row=np.array(list(spoilt), dtype=np.int64),
            spoilt_size=np.array([size for size, _, _ in spoilt.values()], dtype=np.int64),
            spoilt_mtime=np.array([mtime for _, mtime, _ in spoilt.values()], dtype=np.int64),
            spoilt_why=np.array([why for _, _, why in spoilt.values()], dtype=np.str_),
        )


def pixels_file(packs: Path, digest: str) -> Path:
    """The file of the pack of that digest."""
    return packs / f"{digest[:32]}.npy"


def open_pixels(file: Path, count: int, side: int) -> NDArray[np.uint8] | None:
    """The pixels, memory-mapped for reading; None where the file is absent or not whole."""
    if count == 0:
        return np.zeros((0, side, side), dtype=np.uint8)
    try:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = pixels.shape == (count, side, side) and pixels.dtype == np.uint8
    return pixels if fits else None


def create_pixels(file: Path, count: int, side: int) -> int:
    """Makes a ``.npy`` file for that many images, its space reserved; returns where pixels start.

    An unfinished one of the same shape is kept. Raises OSError where the disk has no room for it.
    """
    shape = (count, side, side)
    start = _start(file, shape)
    with file.open("r+b" if file.exists() else "w+b") as stream:
        if start is None:
            stream.write(_header(shape))
            start = PAGE
        length = start + count * side * side
        stream.truncate(length)
        stream.flush()
        # A full disk is better found here, before any decoding, than at the last image.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, length)
    return start


def _header(shape: tuple[int, int, int]) -> bytes:
    """A header of a whole page, as the format allows: images of 320×320 then begin at pages, and
    writing one takes a third to a half of the time."""
    whole = io.BytesIO()
    described = npy.header_data_from_array_1_0(np.empty((0, *shape[1:]), dtype=np.uint8))
    npy.write_array_header_1_0(whole, described | {"shape": shape})
    text = whole.getvalue()[PREFIX:].rstrip()
    length = PAGE - PREFIX
    return npy.magic(1, 0) + struct.pack("<H", length) + text.ljust(length - 1) + b"\n"


def _start(file: Path, shape: tuple[int, int, int]) -> int | None:
    """Where the pixels begin in a file of that shape; None where there is none."""
    try:
        with file.open("rb") as stream:
            if npy.read_magic(stream) != (1, 0):
                return None
            found, fortran, dtype = npy.read_array_header_1_0(stream)
            same = found == shape and not fortran and dtype == np.uint8
            return stream.tell() if same else None
    except (OSError, ValueError):
        return None


def copy_pixels(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    carried: NDArray[np.bool_],
    work: Path,
    size: int,
) -> None:
    """Copies the images that are ``carried`` over from an old pack, whose rows are ``rows``."""
    start = create_pixels(work, len(carried), size)
    chosen = np.flatnonzero(carried[rows])
    descriptor = os.open(work, os.O_WRONLY)
    try:
        for at in chosen.tolist():
            write_whole(descriptor, pixels[at].tobytes(), start + int(rows[at]) * size * size)
    finally:
        os.close(descriptor)


def publish(work: Path, file: Path, good: NDArray[np.bool_], size: int) -> None:
    """Moves finished pixels to their name, without the rows that have none."""
    if not good.any():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if good.all():
        _move(work, file)
        return
    compact = work.with_name("compact.npy")
    try:
        _write_rows(compact, work, np.flatnonzero(good), size)
        _move(compact, file)
    finally:  # where the disk was full, it need not stay so
        compact.unlink(missing_ok=True)


def _write_rows(file: Path, work: Path, rows: NDArray[np.int64], size: int) -> None:
    """The pixels of those rows of ``work``, as a file of their own."""
    pixels = np.load(work, mmap_mode="r", allow_pickle=False)
    file.unlink(missing_ok=True)
    start = create_pixels(file, len(rows), size)
    with file.open("r+b") as stream:
        stream.seek(start)
        for at in range(0, len(rows), COPY_ROWS):
            stream.write(pixels[rows[at : at + COPY_ROWS]].tobytes())


def _move(source: Path, file: Path) -> None:
    with source.open("r+b") as stream:
        os.fsync(stream.fileno())
    source.replace(file)


class Journal:
    """The rows whose pixels are in ``work.npy``, one record each, appended as they come.

    A killed process loses at most the chunk it was writing: the pixels are in the kernel's cache
    before the record is. A machine that went down may have lost pixels and kept records, so the
    journal carries the boot it was written under, and another boot starts anew.
    """

    def __init__(self, file: Path) -> None:
        self.file = file.with_name(f"{file.name}-{_boot()}")
        for other in file.parent.glob(f"{file.name}-*"):
            if other != self.file:
                other.unlink(missing_ok=True)

    def read(self, count: int) -> FileTable:
        """What has been done; a record that was torn by a kill is cut off."""
        table = FileTable.unknown(count)
        if not self.file.exists():
            return table
        data = self.file.read_bytes()
        whole = len(data) // RECORD.itemsize * RECORD.itemsize
        if whole != len(data):
            os.truncate(self.file, whole)
        records = np.frombuffer(data[:whole], dtype=RECORD)
        records = records[(records["row"] >= 0) & (records["row"] < count)]
        rows = records["row"]
        table.size[rows], table.mtime[rows] = records["size"], records["mtime"]
        table.sha256[rows] = records["sha256"]
        return table

    def append(self, table: FileTable, rows: NDArray[np.int64]) -> None:
        """Notes that the pixels of those rows are in place."""
        records = np.zeros(len(rows), dtype=RECORD)
        records["row"], records["size"] = rows, table.size[rows]
        records["mtime"], records["sha256"] = table.mtime[rows], table.sha256[rows]
        with self.file.open("ab") as stream:
            stream.write(records.tobytes())

    def remove(self) -> None:
        """Forgets the work."""
        self.file.unlink(missing_ok=True)


def _boot() -> str:
    """What distinguishes this start of the machine from the one before."""
    if BOOT_ID.exists():
        return BOOT_ID.read_text().strip()
    import psutil

    return f"{psutil.boot_time():.0f}"
