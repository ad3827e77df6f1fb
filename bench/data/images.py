"""From the bytes of an image file to a square of grey pixels: the rule every pack is made by.

Rule ``grey-bilinear-v1``:

1. JPEG or PNG, known by content and not by name. Orientation tags and colour profiles are not
   applied.
2. Grey by ITU-R 601 luma (0.299 R + 0.587 G + 0.114 B). A colour JPEG stores luma, which is taken
   as it stands; palettes are looked up; transparency is dropped; 16-bit grey is scaled from
   0…65535 to 0…255, whatever range the image uses.
3. A JPEG at least twice as large as asked for is decoded at 1/2, 1/4 or 1/8 of its size, which
   libjpeg does in the frequency domain, to no less than the size asked for.
4. Stretched to size × size, the sides' ratio not kept (Irvin et al. 2019 give 320×320 and no more),
   by Pillow's bilinear filter, whose support grows with the reduction, so that it does not alias.

A change of any step needs a new name, which makes new packs.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

RULE = "grey-bilinear-v1"
PIXEL_LIMIT = 100_000_000
"""Images of more pixels are refused as decompression bombs; CheXpert's largest have 12 million."""
REDUCING_GAP = 3.0
"""Large images are first box-reduced to this many times the target, as Pillow's thumbnails are."""
SIXTEEN_TO_EIGHT = 257
"""65535 / 255."""
OPENERS = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImageFile}
"""Parsers by the first bytes of a file. They are called directly and not through Image.open, which
tries some forty formats and warns of large images, where here they are refused."""


class UnreadableImage(Exception):
    """The bytes are no image that can be used; the message says why in a few words."""


class GreySquares:
    """Makes images of one size, again and again in the same memory, which has places for ``count``.

    That is a twentieth of the time of packing faster than bytes of its own for each: they would be
    copied twice, and come to memory that is in no cache.
    """

    def __init__(self, size: int, count: int) -> None:
        self._size = size
        length = size * size
        self.pixels = bytearray(count * length)
        """The images drawn, place after place, row by row, 0 black to 255 white."""
        whole = memoryview(self.pixels)
        self._places = [whole[at : at + length] for at in range(0, len(whole), length)]
        canvases = [self._canvas(place) for place in self._places]
        ones = Image.new("L", (size, size), 1)
        for canvas in canvases:
            canvas.paste(ones)
        self._canvases = canvases if self.pixels == b"\1" * len(whole) else None
        """None where a version of Pillow does not share the memory after all."""

    def _canvas(self, place: Any) -> Image.Image:
        """Over any buffer, whatever Pillow's annotations say."""
        canvas = Image.frombuffer("L", (self._size, self._size), place, "raw", "L", 0, 1)
        canvas.readonly = 0  # Pillow marks what stands in another's memory
        return canvas

    def draw(self, data: bytes, place: int) -> None:
        """Puts the image of a file's bytes into that place of :attr:`pixels`.

        Raises UnreadableImage where they are not a whole JPEG or PNG image of a sensible size.
        """
        square = _square(data, self._size)
        if self._canvases is None:
            self._places[place][:] = square.tobytes()
        else:
            self._canvases[place].paste(square)


def _square(data: bytes, size: int) -> Image.Image:
    image = _open(data)
    if image.width * image.height > PIXEL_LIMIT:
        raise UnreadableImage(
            f"{image.width:,} × {image.height:,} pixels, more than {PIXEL_LIMIT:,}"
        )
    try:
        if isinstance(image, JpegImageFile) and _has_use_for_draft(image, size):
            image.draft("L", (size, size))
        image.load()
    except MemoryError:  # the machine's trouble, not the image's
        raise
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error
    grey = _grey(image)
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    return grey


def _open(data: bytes) -> Image.Image:
    """The image with its header read and its pixels still encoded."""
    if not data:
        raise UnreadableImage("empty (0 bytes)")
    for start, opener in OPENERS.items():
        if data.startswith(start):
            try:
                return opener(io.BytesIO(data))
            # Pillow's parsers answer damage with whatever they stumble over: SyntaxError,
            # struct.error, IndexError, zlib.error and others.
            except Exception as error:
                raise UnreadableImage(_reason(error)) from error
    raise UnreadableImage("neither JPEG nor PNG")


def _has_use_for_draft(image: JpegImageFile, size: int) -> bool:
    """Whether libjpeg can leave out colour, or decode at half the size or less."""
    large = min(image.width, image.height) >= 2 * size
    return image.mode == "RGB" or (image.mode == "L" and large)


def _grey(image: Image.Image) -> Image.Image:
    """The image in mode L (8-bit grey)."""
    if image.mode == "L":
        return image
    image.info.pop("transparency", None)  # of a palette's, Pillow would warn
    if image.mode.startswith("I"):
        import numpy as np

        values = np.asarray(image).astype(np.uint32)
        eight = (values + SIXTEEN_TO_EIGHT // 2) // SIXTEEN_TO_EIGHT
        return Image.fromarray(eight.clip(0, 255).astype(np.uint8))
    return image.convert("L")


def _reason(error: Exception) -> str:
    text = str(error)
    if "truncated" in text.lower():
        return "truncated"
    return f"cannot be decoded ({text or type(error).__name__})"
