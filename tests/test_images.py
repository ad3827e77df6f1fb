"""The rule ``grey-bilinear-v1``: what each kind of image becomes, and what is no image."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.images import GreySquares, UnreadableImage
from tests.image_trees import encoded, picture


def grey_square(data: bytes, size: int) -> bytes:
    squares = GreySquares(size, 1)
    squares.draw(data, 0)
    return bytes(squares.pixels)


def square(image: Image.Image, size: int, kind: str = "PNG") -> np.ndarray[Any, Any]:
    return np.frombuffer(grey_square(encoded(image, kind), size), np.uint8).reshape(size, size)


def solid(mode: str, color: Any, side: int = 4) -> Image.Image:
    return Image.new(mode, (side, side), color)


@pytest.mark.parametrize(
    ("image", "grey"),
    [
        (solid("L", 77), 77),
        (solid("RGB", (100, 150, 200)), 141),  # 0.299·100 + 0.587·150 + 0.114·200 = 140.75
        (solid("RGBA", (100, 150, 200, 0)), 141),
        (solid("LA", (90, 10)), 90),
        (solid("1", 1), 255),
        (solid("RGB", (100, 150, 200)).quantize(4), 141),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), 255),
        (Image.fromarray(np.full((4, 4), 257 * 33, np.uint16)), 33),
        (Image.fromarray(np.full((4, 4), 128, np.uint16)), 0),
        (Image.fromarray(np.full((4, 4), 129, np.uint16)), 1),
    ],
    ids=["grey", "rgb", "rgba", "la", "1-bit", "palette", "16-bit", "16-bit-33", "down", "up"],
)
def test_kinds_of_image_become_grey(image: Image.Image, grey: int) -> None:
    assert np.unique(square(image, 4)).tolist() == [grey]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [1, bytes([0, 128])], ids=["colour", "shares"])
def test_a_palette_with_transparency_is_looked_up(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 60, 60, 60])
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=transparency)
    assert set(grey_square(stream.getvalue(), 4)) == {60}


def test_halving_averages_by_the_triangle() -> None:
    # Bilinear with the support of a 2:1 reduction: weights 1/8 3/8 3/8 1/8 inside, and at an edge
    # 3/7 3/7 1/7 over the pixels there are. A column of (0, 0, 70, 70) gives 10 and 60.
    image = Image.fromarray(np.array([[0, 0, 70, 70]] * 4, np.uint8))
    assert square(image, 2).tolist() == [[10, 60], [10, 60]]


def test_the_sides_ratio_is_not_kept() -> None:
    wide = Image.fromarray(np.array([[0, 255]], np.uint8))
    assert square(wide, 2).tolist() == [[0, 255], [0, 255]]


def test_an_image_of_the_right_size_is_untouched() -> None:
    image = picture(3)
    assert (square(image, 32) == np.asarray(image)).all()


def test_a_colour_jpeg_gives_its_stored_luma() -> None:
    data = encoded(Image.merge("RGB", [picture(n) for n in range(3)]), "JPEG")
    expected = Image.open(io.BytesIO(data))
    expected.draft("L", None)
    ours = np.frombuffer(grey_square(data, 32), np.uint8).reshape(32, 32)
    assert (ours == np.asarray(expected)).all()


def test_a_cmyk_jpeg_is_read() -> None:
    grey = np.unique(square(solid("CMYK", (0, 0, 0, 128), side=16), 16, "JPEG"))
    assert abs(int(grey[0]) - 127) <= 2


def test_a_large_jpeg_is_decoded_small_and_stays_true() -> None:
    y, x = np.mgrid[0:640, 0:640]
    image = Image.fromarray(((x + y) / 1278 * 255).astype(np.uint8))
    difference = square(image, 80, "JPEG").astype(int) - square(image, 80, "PNG")
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "neither JPEG nor PNG"),
        (encoded(picture(0), "GIF"), "neither JPEG nor PNG"),
        (encoded(picture(0))[:600], "truncated"),
        (encoded(picture(0), "JPEG")[:400], "truncated"),
        (b"\xff\xd8\xff", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "cannot be decoded"),
        (encoded(picture(0))[:30] + b"\0" + encoded(picture(0))[31:], "cannot be decoded"),
        (encoded(Image.new("1", (40_000, 30_000))), "40,000 × 30,000 pixels"),
    ],
    ids=["empty", "text", "gif", "cut png", "cut jpeg", "jpeg start", "png start", "png zeros",
         "png checksum", "bomb"],
)  # fmt: skip
def test_what_is_no_usable_image(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        grey_square(data, 16)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_anywhere_is_an_answer_and_never_another_exception(kind: str) -> None:
    data = encoded(picture(1), kind)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(8, len(data), size=3).tolist():
            damaged[at] = int(rng.integers(256))
        with suppress(UnreadableImage):
            assert len(grey_square(bytes(damaged), 8)) == 64


def test_squares_follow_each_other_in_the_same_memory_and_need_not_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = [picture(number).tobytes() for number in range(3)]
    files = [encoded(picture(number), "PNG") for number in range(3)]
    shared = GreySquares(32, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "frombuffer", lambda *_: Image.new("L", (32, 32)))
        apart = GreySquares(32, 2)
    for squares in (shared, apart):
        held = squares.pixels
        for number, place in ((0, 0), (1, 1), (2, 0)):
            squares.draw(files[number], place)
            with pytest.raises(UnreadableImage):
                squares.draw(files[0][:60], place)
        assert squares.pixels is held
        assert bytes(held) == pictures[2] + pictures[1], "a failure changes nothing"
