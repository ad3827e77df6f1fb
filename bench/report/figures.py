"""What every figure shares: colours, sizes in inches, and files that are the same every time."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic import write_bytes
from bench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
DPI = 200

INK, FAINT, RULE, PAPER = "#1b1f24", "#59636e", "#d1d9e0", "#ffffff"
"""The page's colours (templates/page.html); in a page, an inlined figure takes the page's own."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Okabe and Ito's palette, told apart with any colour vision, and a grey."""
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
DISTINCT = len(COLOURS) * len(DASHES)
"""So many lines of one figure look different from each other."""

MEDIUM, SMALL = 8.0, 7.0
"""Font sizes, points."""
LINE = 0.155
"""Height of a line of small text, inches."""
MARGIN = 0.14
"""Around a figure, inches."""
CHARACTER = 0.053
"""Mean width of a character of small text, inches: decides where lines break."""

_VARIABLES = {INK: "ink", FAINT: "faint", RULE: "line", PAPER: "paper"}


def look(number: int) -> dict[str, Any]:
    """Colour and dashes of line ``number``, from 0; distinct up to :data:`DISTINCT`."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Raises UsageError for a format that is not drawn, or for none."""
    for name in formats:
        if name not in FORMATS:
            raise UsageError(
                f"figures are not written as '{name}'",
                expected=" or ".join(FORMATS),
                mend=did_you_mean(name, FORMATS),
            )
    if not formats:
        raise UsageError("no format is named", expected=" or ".join(FORMATS))
    return tuple(dict.fromkeys(formats))


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings while a figure is built and saved.

    Text in an SVG stays text: it can be searched and selected, and files are a tenth of the size
    of those with outlines. The fixed salt makes the ids, and so the bytes, the same every time.
    """
    from matplotlib import rc_context

    settings: Any = {
        "svg.hashsalt": "bench",
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": SMALL,
        "text.parse_math": False,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.labelsize": MEDIUM,
        "axes.linewidth": 0.6,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "path.simplify_threshold": 0.05,
    }
    with rc_context(settings):
        yield


def wrapped(text: str, width: float) -> list[str]:
    """The text in lines of small type that fit ``width`` inches."""
    return textwrap.wrap(text, max(int(width / CHARACTER), 8)) or [""]


class Sheet:
    """A figure laid out by hand, in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without the frame's upper and right sides."""
        box = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(box, facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=2.5, width=0.6, pad=2.5)
        return axes

    def text(self, left: float, top: float, text: str, **properties: Any) -> None:
        """One line of text whose upper edge (or ``va``) is at ``top``."""
        options = {"va": "top", "fontsize": SMALL, **properties}
        self.figure.text(left / self.width, 1 - top / self.height, text, **options)

    def swatch(self, left: float, middle: float, **properties: Any) -> None:
        """A short piece of line, as in a legend."""
        from matplotlib.lines import Line2D

        x = (left / self.width, (left + 0.24) / self.width)
        y = 1 - middle / self.height
        self.figure.add_artist(Line2D(x, (y, y), linewidth=1.8, **properties))


def watermark(axes: Axes, size: float = 20) -> None:
    """Says behind the lines that the data is synthetic."""
    axes.text(
        0.5, 0.12, "SYNTHETIC DATA", transform=axes.transAxes, ha="center", va="center",
        fontsize=size, fontweight="bold", color=FAINT, alpha=0.2, zorder=0,
    )  # fmt: skip


def encode(figure: Figure, form: str) -> bytes:
    """The figure as a file's bytes; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


def save(figure: Figure, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Writes ``<stem>.<format>`` for every format, each in one step."""
    files = []
    for form in formats:
        path = stem.with_name(f"{stem.name}.{form}")
        write_bytes(path, encode(figure, form))
        files.append(path)
    return files


def inline(figure: Figure, prefix: str, description: str) -> str:
    """The figure as an ``<svg>`` element to stand in an HTML page.

    Its ids start with ``prefix``, so that several figures in one page do not refer to each other's
    parts; its ink and paper are the page's; ``description`` is what a screen reader says.
    """
    from html import escape

    text = encode(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    label = f' role="img" aria-label="{escape(description)}"'
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    width = figure.get_figwidth()
    return f'{head}{label} style="max-width: {width * 1.3:.2f}in">{rest}'.rstrip() + "\n"
