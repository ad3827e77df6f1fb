"""idx files: plain and gzipped, in either layout, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from bench.data.mnist import is_mnist, read_mnist
from bench.errors import DataError
from tests.shared_data import shared

NAMES = {
    "train-images-idx3-ubyte": (5, 28, 28),
    "train-labels-idx1-ubyte": (5,),
    "t10k-images-idx3-ubyte": (3, 28, 28),
    "t10k-labels-idx1-ubyte": (3,),
}


def idx(shape: tuple[int, ...], magic: int | None = None) -> bytes:
    """An idx file whose bytes count 0, 1, … 9, 0, …"""
    header = struct.pack(f">{1 + len(shape)}I", magic or 0x0800 + len(shape), *shape)
    return header + bytes(i % 10 for i in range(int(np.prod(shape))))


def write(folder: Path, *, packed: bool = False, replaced: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in NAMES.items():
        data = (replaced or {}).get(name, idx(shape))
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


def test_values_shapes_and_types(tmp_path: Path) -> None:
    mnist = read_mnist(write(tmp_path))
    assert mnist.train_images.shape == (5, 28, 28)
    assert mnist.train_images.dtype == np.uint8
    assert mnist.train_images[0, 0, :12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert mnist.train_labels.dtype == np.int64
    assert mnist.train_labels.tolist() == [0, 1, 2, 3, 4]
    assert mnist.test_images.shape == (3, 28, 28)
    assert mnist.test_labels.tolist() == [0, 1, 2]


def test_compression_and_layout_leave_the_digest_alone(tmp_path: Path) -> None:
    plain = read_mnist(write(tmp_path / "plain"))
    packed = read_mnist(write(tmp_path / "packed", packed=True))
    write(tmp_path / "vision" / "MNIST" / "raw", packed=True)
    vision = read_mnist(tmp_path / "vision")
    assert plain.digest == packed.digest == vision.digest
    assert (plain.train_images == vision.train_images).all()


def test_plain_images_stay_in_the_file_and_processes_share_them(tmp_path: Path) -> None:
    plain = read_mnist(write(tmp_path / "plain"))
    packed = read_mnist(write(tmp_path / "packed", packed=True))
    assert isinstance(plain.train_images, np.memmap)
    assert not plain.train_images.flags.writeable
    assert not isinstance(packed.train_images, np.memmap)
    assert np.array_equal(plain.train_images, packed.train_images)


def test_the_digest_follows_the_bytes(tmp_path: Path) -> None:
    changed = bytearray(idx((5,)))
    changed[-1] = 9
    one = read_mnist(write(tmp_path / "one"))
    other = read_mnist(
        write(tmp_path / "other", replaced={"train-labels-idx1-ubyte": bytes(changed)})
    )
    assert one.digest != other.digest


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    write(tmp_path)
    for name in NAMES:
        path = tmp_path / name
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_mnist(tmp_path).digest == read_mnist(write(tmp_path / "plain")).digest


def test_mirrors_that_write_a_point_are_understood(tmp_path: Path) -> None:
    write(tmp_path)
    for name in NAMES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert is_mnist(tmp_path)
    assert len(read_mnist(tmp_path).test_labels) == 3


LABELS, IMAGES = "train-labels-idx1-ubyte", "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (IMAGES, idx((5, 28, 28))[:-1], "cut short"),
        (IMAGES, idx((5, 28, 28)) + b"x", "too long"),
        (IMAGES, idx((5, 28, 28), magic=0x0D03), "no idx file of the right kind"),
        (IMAGES, idx((5,)), "no idx file of the right kind"),
        (IMAGES, b"", "no idx file of the right kind"),
        (IMAGES, b"<html>not found</html>", "no idx file of the right kind"),
        (IMAGES, idx((5, 32, 32)), "other dimensions than MNIST"),
        (IMAGES, idx((4, 28, 28)), "5 labels for 4 images"),
        (IMAGES, gzip.compress(idx((5, 28, 28)), mtime=0)[:-20], "cannot be read"),
        (IMAGES, b"\x1f\x8bnot gzip at all", "cannot be read"),
        (LABELS, idx((5,))[:8] + bytes([1, 2, 10, 3, 4]), "label number 3 is no digit"),
        (LABELS, idx((0,)), "other dimensions than MNIST"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    write(tmp_path, replaced={name: data})
    with pytest.raises(DataError, match=message) as caught:
        read_mnist(tmp_path)
    assert "ubyte" in str(caught.value.where)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_missing_folder(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(DataError, match="there is no train-labels-idx1-ubyte"):
        read_mnist(tmp_path)
    assert not is_mnist(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_mnist(tmp_path / "elsewhere")


def test_the_real_set() -> None:
    mnist = read_mnist(shared("mnist"))
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert np.bincount(mnist.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    # The md5 of the original, unpacked files, as published with them.
    header = struct.pack(">4I", 0x0803, 60_000, 28, 28)
    digest = hashlib.md5(header + mnist.train_images.tobytes(), usedforsecurity=False)
    assert digest.hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
