"""MNIST from its idx files (LeCun, Cortes & Burges): the data of McMahan et al. 2017.

An idx file is a big-endian magic number, whose last byte is the number of dimensions, a 32-bit
count for each dimension, and the bytes themselves. Files are plain or gzipped, known by their
content and not their name, and stand in the folder itself or in torchvision's ``MNIST/raw``.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError

SIDE, DIGITS = 28, 10
IMAGE_MAGIC, LABEL_MAGIC = 0x0803, 0x0801
"""Unsigned bytes in three dimensions, and in one."""
PARTS = {"train": "train", "test": "t10k"}
"""How the file names call the two splits."""
FOLDERS = ("", "raw", "MNIST/raw")
"""Where the files may stand below the folder that is named; the last is torchvision's layout."""
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class MnistSplits:
    """Training and test digits (60,000 and 10,000 in MNIST itself), in the order of the files."""

    train_images: NDArray[np.uint8]
    """(n, 28, 28) 0 background to 255 ink."""
    train_labels: NDArray[np.int64]
    """(n,) the digits 0 to 9."""
    test_images: NDArray[np.uint8]
    """(m, 28, 28)."""
    test_labels: NDArray[np.int64]
    """(m,)."""
    digest: str
    """SHA-256 over the four files' names and unpacked bytes, however they were compressed."""


def read_mnist(folder: Path) -> MnistSplits:
    """Reads the four files below ``folder``.

    Raises DataError where one is missing, is not whole, or is not MNIST's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("there is no such folder", where=folder, expected="MNIST's four idx files")
    digest = hashlib.sha256()
    read: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    for split, part in PARTS.items():
        images_file, images = _read(folder, f"{part}-images-idx3-ubyte", digest)
        labels_file, labels = _read(folder, f"{part}-labels-idx1-ubyte", digest)
        if len(images) != len(labels):
            raise DataError(
                f"there are {len(labels):,} labels for {len(images):,} images",
                where=labels_file,
                expected=f"as many as {images_file.name} has images",
            )
        wrong = np.flatnonzero(labels >= DIGITS)
        if len(wrong):
            raise DataError(
                f"label number {int(wrong[0]) + 1} is no digit",
                where=labels_file,
                expected="0 to 9",
                found=str(int(labels[wrong[0]])),
            )
        read[split] = images, labels
    return MnistSplits(
        train_images=read["train"][0],
        train_labels=read["train"][1].astype(np.int64),
        test_images=read["test"][0],
        test_labels=read["test"][1].astype(np.int64),
        digest=digest.hexdigest(),
    )


def is_mnist(folder: Path) -> bool:
    """Whether the folder has MNIST's training labels, wherever they may stand in it."""
    return bool(_candidates(folder, "train-labels-idx1-ubyte"))


def _read(folder: Path, name: str, digest: hashlib._Hash) -> tuple[Path, NDArray[np.uint8]]:
    """One file's place and array; its name and unpacked bytes are added to the digest."""
    file = _find(folder, name)
    data, packed = _unpack(file)
    digest.update(f"{name}\0{len(data)}\0".encode())
    digest.update(data)
    array = _array(file, data, IMAGE_MAGIC if "images" in name else LABEL_MAGIC)
    if packed:
        return file, array
    # Processes that read it share the memory that the system holds the file in.
    return file, np.memmap(file, np.uint8, "r", len(data) - array.nbytes, array.shape)


def _candidates(folder: Path, name: str) -> list[Path]:
    """Files of that name, also with the point that some mirrors have for the last hyphen."""
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz")
    paths = [folder / inner / each for inner in FOLDERS for each in names]
    return [path for path in paths if path.is_file()]


def _find(folder: Path, name: str) -> Path:
    found = _candidates(folder, name)
    if not found:
        raise DataError(
            f"there is no {name}",
            where=folder,
            expected=f"{name} or {name}.gz, in the folder or in MNIST/raw below it",
        )
    return found[0]


def _unpack(file: Path) -> tuple[bytes, bool]:
    """The file's bytes, unpacked where its content is gzip's, and whether it was."""
    try:
        data = file.read_bytes()
        packed = data.startswith(GZIP)
        return gzip.decompress(data) if packed else data, packed
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"the file cannot be read: {getattr(error, 'strerror', None) or error}",
            where=file,
            mend="download it again",
        ) from error


def _array(file: Path, data: bytes, magic: int) -> NDArray[np.uint8]:
    """The array an idx file holds, its magic number, dimensions and length checked."""
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    if len(data) < header or int.from_bytes(data[:4], "big") != magic:
        raise DataError(
            "this is no idx file of the right kind",
            where=file,
            expected=f"magic number {magic:#06x} and {dimensions} dimensions",
            found=f"{int.from_bytes(data[:4], 'big'):#06x}, {len(data):,} bytes unpacked",
        )
    shape = tuple(np.frombuffer(data, dtype=">u4", offset=4, count=dimensions).tolist())
    if shape[1:] != (SIDE, SIDE)[: dimensions - 1] or shape[0] == 0:
        raise DataError(
            "the idx file has other dimensions than MNIST",
            where=file,
            expected=f"n × {SIDE} × {SIDE}" if dimensions > 1 else "one label or more",
            found=" × ".join(map(str, shape)),
        )
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise DataError(
            "the idx file is cut short" if len(data) < expected else "the idx file is too long",
            where=file,
            expected=f"{expected:,} bytes unpacked",
            found=f"{len(data):,}",
            mend="download it again",
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
