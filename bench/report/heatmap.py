"""The picture of a partition: clients by conditions, with the clients' sizes beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.atomic import replacing
from bench.errors import UsageError
from bench.federation.partitions import PartitionReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
WRITTEN_CLIENTS = 30
"""Up to so many clients every cell carries its figure; beyond, cells are too low for text."""
DOUBLINGS = 2.0
"""The colour scale ends at 2 ** -2 and 2 ** 2 times the pool."""
INK, PAPER, RULE, BAR, BLANK = "#1a1a1a", "#ffffff", "#d0d0d0", "#5b6770", "#e9e9e9"
DARK_CELL = 1.25
"""Doublings from the pool beyond which a cell is so dark that its text is white."""


def check_ending(path: Path) -> None:
    """Raises UsageError where ``path`` does not end in one of :data:`FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot draw a picture as '{path.suffix or path.name}'",
            expected=f"a file name ending in {', '.join(FORMATS)}",
            found=str(path),
            mend="choose one of those endings",
        )


def draw_partition(
    report: PartitionReport, path: Path, *, title: str = "", synthetic: bool = False
) -> None:
    """Writes the heat map of a partition to ``path`` (.png, .svg or .pdf).

    A cell's colour is the client's prevalence over the pool's on a logarithmic scale, so a rare
    condition's skew is as visible as a common one's; its text is the prevalence in percent. Where
    labels are uncertain a second map shows the uncertain share in the same way. The folder is made
    where there is none. Raises UsageError for another ending, and OSError where the file cannot be
    written.
    """
    check_ending(path)
    import matplotlib

    # SVG text stays text, and two runs give the same bytes.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 8}
    with matplotlib.rc_context(style):
        figure = _figure(report, title, synthetic)
        form = path.suffix.lower().removeprefix(".")
        stamp = {"Date": None} if form == "svg" else None
        with replacing(path) as temporary:
            figure.savefig(temporary, format=form, dpi=200, metadata=stamp, facecolor=PAPER)


def _figure(report: PartitionReport, title: str, synthetic: bool) -> Figure:
    from matplotlib.figure import Figure

    maps = [("prevalence", report.prevalence(), report.pool_prevalence())]
    if report.uncertain.any():
        maps.append(("uncertain share", report.uncertain_share(), report.pool_uncertain_share()))
    columns = len(report.labels)
    written = len(report.names) <= WRITTEN_CLIENTS
    # Inches: a written cell is as high as its text needs; many clients share a fixed height.
    body = (len(report.names) + 1) * 0.23 if written else 5.0
    map_width, side, gap, bars = max(columns * 0.36, 1.6), 0.85, 0.3, 1.3
    head, foot = 0.85 + 0.045 * max(len(name) for name in report.labels), 0.85
    width = side + len(maps) * (map_width + gap) + bars + 0.55
    height = head + body + foot
    figure = Figure(figsize=(width, height), layout=None)

    def place(left: float, wide: float, low: float = foot, high: float = body) -> Axes:
        return figure.add_axes((left / width, low / height, wide / width, high / height))

    image: Any = None
    for number, (name, client, pool) in enumerate(maps):
        axes = place(side + number * (map_width + gap), map_width)
        image = _map(axes, report, name, client, pool, written)
        if number == 0:
            _name_rows(axes, report, written)
    left = side + len(maps) * (map_width + gap)
    _sizes(place(left, bars), report, written)
    scale = place(side, min(map_width, 3.2), low=0.42, high=0.11)
    _scale(figure, image, scale)
    _head(figure, report, title, synthetic, width, height, side)
    return figure


def _map(
    axes: Axes,
    report: PartitionReport,
    name: str,
    client: NDArray[np.float64],
    pool: NDArray[np.float64],
    written: bool,
) -> Any:
    import matplotlib

    share = np.vstack([pool, client]) if written else client
    ratio = np.full(share.shape, np.nan)
    np.divide(share, pool, out=ratio, where=pool > 0)
    tiny = 2.0 ** (-2 * DOUBLINGS)
    colour = np.clip(np.log2(np.maximum(ratio, tiny)), -DOUBLINGS, DOUBLINGS)
    cmap = matplotlib.colormaps["RdBu_r"].with_extremes(bad=BLANK)
    image = axes.imshow(
        np.ma.masked_invalid(colour),
        cmap=cmap,
        vmin=-DOUBLINGS,
        vmax=DOUBLINGS,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xticks(
        range(len(report.labels)), report.labels, rotation=45, ha="left", rotation_mode="anchor"
    )
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.tick_params(length=0, colors=INK, pad=2)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"{name}, %", color=INK, labelpad=4)
    if written:
        axes.axhline(0.5, color=PAPER, linewidth=3)
        axes.set_xticks(np.arange(-0.5, len(report.labels)), minor=True)
        axes.set_yticks(np.arange(-0.5, len(share)), minor=True)
        axes.grid(which="minor", color=PAPER, linewidth=0.8)
        axes.tick_params(which="minor", length=0)
        for (row, column), value in np.ndenumerate(share):
            dark = abs(colour[row, column]) > DARK_CELL
            ink = PAPER if dark else INK
            axes.text(column, row, _percent(value), ha="center", va="center", fontsize=6, color=ink)
    return image


def _percent(share: float) -> str:
    """Percent with two significant digits at the most: ``47``, ``3.2``, ``0``."""
    value = 100 * share
    if value == 0:
        return "0"
    if value < 0.05:
        return "<0.1"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _name_rows(axes: Axes, report: PartitionReport, written: bool) -> None:
    if written:
        axes.set_yticks(range(len(report.names) + 1), ["pool", *report.names])
        return
    from matplotlib.ticker import MaxNLocator

    shown = [int(i) for i in MaxNLocator(6, integer=True).tick_values(0, len(report.names) - 1)]
    shown = [i for i in shown if 0 <= i < len(report.names)]
    axes.set_yticks(shown, [report.names[i] for i in shown])


def _sizes(axes: Axes, report: PartitionReport, written: bool) -> None:
    rows = np.arange(len(report.names)) + int(written)
    axes.barh(rows, report.images, height=0.72 if written else 1.0, color=BAR)
    axes.set_ylim(rows[-1] + 0.5, -0.5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(0, report.images.max() * (1.45 if written else 1.05))
    axes.set_xlabel("images", color=INK, labelpad=4)
    if written:
        axes.set_xticks([])
        axes.text(0, 0, f"{report.images.sum():,}", va="center", fontsize=6, color=INK)
        for row, number in zip(rows.tolist(), report.images.tolist(), strict=True):
            axes.text(number, row, f" {number:,}", va="center", fontsize=6, color=INK)
    else:
        axes.set_xticks([0, int(report.images.max())])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.tick_params(length=2, colors=INK, labelsize=6)


def _scale(figure: Figure, image: Any, axes: Axes) -> None:
    bar = figure.colorbar(image, cax=axes, orientation="horizontal")
    ticks = np.arange(-DOUBLINGS, DOUBLINGS + 1)
    words = ["≤ ¼ ×", "½ ×", "pool", "2 ×", "≥ 4 ×"]
    bar.set_ticks(list(ticks), labels=words)
    bar.outline.set_visible(False)
    axes.tick_params(length=0, labelsize=7, colors=INK, pad=2)


def _head(
    figure: Figure,
    report: PartitionReport,
    title: str,
    synthetic: bool,
    width: float,
    height: float,
    side: float,
) -> None:
    rule = report.description.split(":")[0]
    words = f"{title}: {rule}" if title else rule
    if synthetic:
        words += " (synthetic data)"
    figure.text(
        0.12 / width, 1 - 0.2 / height, words, fontsize=10, color=INK, weight="bold", va="top"
    )
    line = (
        f"{len(report.names)} clients, Jensen–Shannon divergence {report.overall:.3f} bits, "
        f"fingerprint {report.fingerprint[:16]}"
    )
    figure.text(0.12 / width, 1 - 0.42 / height, line, fontsize=7.5, color=BAR, va="top")
