"""MNIST from its idx files (LeCun, Cortes & Burges): the data of McMahan et al. 2017.

An idx file is a big-endian magic number, whose last byte is the number of dimensions, a 32-bit
count for each dimension, and the bytes themselves. Files are plain or gzipped, known by their
content and not their name, and stand in the folder itself or in torchvision's ``MNIST/raw``.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError

SIDE, DIGITS = 28, 10
IMAGE_MAGIC, LABEL_MAGIC = 0x0803, 0x0801
"""Unsigned bytes in three dimensions, and in one."""
COUNTS = {"train": 60_000, "t10k": 10_000}
"""Images of the canonical set; a file with another number is not MNIST."""
FOLDERS = ("", "raw", "MNIST/raw")
"""Where the files may stand below the folder that is named; the last is torchvision's layout."""
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class MnistSplits:
    """The 60,000 training and 10,000 test digits, in the order of the files."""

    train_images: NDArray[np.uint8]
    """(60000, 28, 28) 0 background to 255 ink."""
    train_labels: NDArray[np.int64]
    """(60000,) the digits 0 to 9."""
    test_images: NDArray[np.uint8]
    """(10000, 28, 28)."""
    test_labels: NDArray[np.int64]
    """(10000,)."""
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
    arrays: dict[str, NDArray[np.uint8]] = {}
    for split, count in COUNTS.items():
        for kind, magic in (("images-idx3", IMAGE_MAGIC), ("labels-idx1", LABEL_MAGIC)):
            name = f"{split}-{kind}-ubyte"
            file = _find(folder, name)
            data = _unpack(file)
            digest.update(f"{name}\0{len(data)}\0".encode())
            digest.update(data)
            shape = (count, SIDE, SIDE) if magic == IMAGE_MAGIC else (count,)
            arrays[f"{split} {kind[:6]}"] = _array(file, data, magic, shape)
            if magic == LABEL_MAGIC:
                _check_labels(file, arrays[f"{split} {kind[:6]}"])
    return MnistSplits(
        train_images=arrays["train images"],
        train_labels=arrays["train labels"].astype(np.int64),
        test_images=arrays["t10k images"],
        test_labels=arrays["t10k labels"].astype(np.int64),
        digest=digest.hexdigest(),
    )


def is_mnist(folder: Path) -> bool:
    """Whether the folder has MNIST's training labels, wherever they may stand in it."""
    return bool(_candidates(folder, "train-labels-idx1-ubyte"))


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


def _unpack(file: Path) -> bytes:
    """The file's bytes, unpacked where its content is gzip's."""
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"the file cannot be read: {getattr(error, 'strerror', None) or error}",
            where=file,
            mend="download it again",
        ) from error


def _array(file: Path, data: bytes, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array an idx file holds, its magic number, dimensions and length checked."""
    header = 4 * (1 + len(shape))
    numbers = np.frombuffer(data[: len(data[:header]) // 4 * 4], dtype=">u4").tolist()
    if not numbers or numbers[0] != magic:
        raise DataError(
            "this is no idx file of the right kind",
            where=file,
            expected=f"magic number {magic:#06x}",
            found=f"{numbers[0]:#06x}" if numbers else f"{len(data)} bytes",
        )
    if tuple(numbers[1:]) != shape:
        raise DataError(
            "the idx file has other dimensions than MNIST",
            where=file,
            expected=" × ".join(map(str, shape)),
            found=" × ".join(map(str, numbers[1:])),
        )
    expected = header + int(np.prod(shape))
    if len(data) != expected:
        raise DataError(
            "the idx file is cut short" if len(data) < expected else "the idx file is too long",
            where=file,
            expected=f"{expected:,} bytes unpacked",
            found=f"{len(data):,}",
            mend="download it again",
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _check_labels(file: Path, labels: NDArray[np.uint8]) -> None:
    wrong = np.flatnonzero(labels >= DIGITS)
    if len(wrong):
        raise DataError(
            f"label {int(wrong[0])} is no digit",
            where=file,
            expected="0 to 9",
            found=str(int(labels[wrong[0]])),
        )
