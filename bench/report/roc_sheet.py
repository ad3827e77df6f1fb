"""One figure of ROC curves: the plot, and below it a legend that can hide nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.report import figures
from bench.report.figures import FAINT, INK, LINE, MARGIN, RULE, Sheet
from bench.report.formats import SYNTHETIC

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""False- and true-positive rates, both (t,) and not descending."""

SIDE = 3.7
"""Of the square that is plotted, inches."""
LEFT, RIGHT, FOOT = 0.62, 0.3, 0.5
WIDTH = LEFT + SIDE + RIGHT
RESOLUTION = 2000
"""Steps of the false-positive axis: a curve with more corners is drawn to half a pixel."""

UNRELIABLE = "†"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One curve with the figures that stand in its line of the legend."""

    name: str
    auroc: float | None
    """None where undefined: the legend says so and nothing is drawn."""
    ci: tuple[float, float] | None
    undefined: str | None
    unreliable: bool
    published: str | None
    """The published figure, with its source in parentheses at the end, if any."""
    members: tuple[Points, ...]
    """A curve a member; one, except where each client keeps its own model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One figure."""

    stem: str
    """The file's name without its ending."""
    heading: str
    subheading: str
    traces: tuple[Trace, ...]
    synthetic: bool
    mean: Trace | None = None
    """The mean over the traces: a line of the legend without a curve."""
    show_members: bool = True
    """Draw each member as a thin line, not only their mean."""


def sheet(panel: Panel) -> Sheet:
    """The panel as a figure: heading, curves, and a legend below where it can hide none of them.

    To be called, and saved, inside :func:`bench.report.figures.style`.
    """
    legend = _Legend(panel)
    about = figures.wrapped(panel.subheading, WIDTH - 2 * MARGIN)
    top = MARGIN + 0.24 + LINE * len(about) + 0.12
    legend_top = top + SIDE + FOOT
    made = Sheet(WIDTH, legend_top + legend.height + MARGIN)
    made.text(MARGIN, MARGIN, panel.heading, fontsize=10, fontweight="bold")
    for number, line in enumerate(about):
        made.text(MARGIN, MARGIN + 0.24 + number * LINE, line, color=FAINT)
    axes = made.axes(LEFT, top, SIDE, SIDE)
    _dress(axes)
    if panel.synthetic:
        figures.watermark(axes)
    for number, trace in enumerate(panel.traces):
        if trace.auroc is not None:
            _plot(axes, trace, number, thin=panel.show_members)
    legend.write(made, legend_top)
    return made


def mean_curve(members: Sequence[Points]) -> Points:
    """The members' mean sensitivity at every false-positive rate (vertical averaging).

    Exact: it has a corner wherever a member has one, and a vertical piece where theirs are, so its
    area is the mean of their AUROCs. See Fawcett 2006, "An introduction to ROC analysis",
    algorithm 4.
    """
    at = np.unique(np.concatenate([fpr for fpr, _ in members]))
    lower, upper = np.zeros(len(at)), np.zeros(len(at))
    for fpr, tpr in members:
        between = np.interp(at, fpr, tpr)
        first = np.searchsorted(fpr, at, side="left")
        last = np.searchsorted(fpr, at, side="right") - 1
        lower += np.where(fpr[first] == at, tpr[first], between)
        upper += np.where(fpr[last] == at, tpr[last], between)
    heights = np.stack([lower, upper], axis=1).ravel() / len(members)
    return np.repeat(at, 2), heights


def drawable(points: Points) -> Points:
    """The curve with no more corners than can be seen: the first and last of every step of the
    false-positive axis, which moves the line by less than ``1 / RESOLUTION``."""
    fpr, tpr = points
    if len(fpr) <= 2 * RESOLUTION:
        return points
    step = np.floor(fpr * RESOLUTION).astype(np.int64)
    edge = np.concatenate([[True], step[1:] != step[:-1]])
    kept = edge | np.concatenate([edge[1:], [True]])
    return fpr[kept], tpr[kept]


def _dress(axes: Axes) -> None:
    axes.plot((0, 1), (0, 1), color=RULE, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 − specificity", ylabel="sensitivity")
    ticks = (0, 0.2, 0.4, 0.6, 0.8, 1)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(color=RULE, linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)


def _plot(axes: Axes, trace: Trace, number: int, *, thin: bool) -> None:
    look = figures.look(number)
    several = len(trace.members) > 1
    if several and thin:
        for points in trace.members:
            axes.plot(
                *drawable(points), color=look["color"], linewidth=0.5, alpha=0.55, clip_on=False
            )
    main = mean_curve(trace.members) if several else trace.members[0]
    # Along the frame, half of the line would be cut off.
    axes.plot(
        *drawable(main), **look, linewidth=1.5, solid_joinstyle="miter", clip_on=False, zorder=3
    )


class _Legend:
    """The lines below the plot: swatch, name, AUROC with interval, the published figure; notes."""

    COLUMNS = (MARGIN + 0.34, 2.12, 3.42)
    """Where name, AUROC and published start, inches."""
    ROW = 0.19
    GAP = 0.07

    def __init__(self, panel: Panel) -> None:
        self.rows = (*panel.traces, panel.mean) if panel.mean else panel.traces
        sources = [_split_source(trace.published) for trace in self.rows]
        distinct = list(dict.fromkeys(source for _, source in sources if source))
        marks = {source: _superscript(i) for i, source in enumerate(distinct, start=1)}
        self.published = [
            value + (marks[source] if source and len(marks) > 1 else "")
            for value, source in sources
        ]
        name_width = self.COLUMNS[1] - self.COLUMNS[0] - 0.06
        self.names = [figures.wrapped(trace.name, name_width) for trace in self.rows]
        self.notes = [
            line
            for note in _notes(panel, distinct)
            for line in figures.wrapped(note, WIDTH - 2 * MARGIN)
        ]
        self.height = (
            self.ROW * (1 + len(self.names))
            + LINE * sum(len(lines) - 1 for lines in self.names)
            + self.GAP
            + LINE * len(self.notes)
        )

    def write(self, sheet: Sheet, top: float) -> None:
        """Writes everything from ``top`` downwards."""
        _, second, third = self.COLUMNS
        sheet.text(second, top, "AUROC [95 % interval]", color=FAINT)
        if any(self.published):
            sheet.text(third, top, "published", color=FAINT)
        top += self.ROW
        for number, (trace, lines) in enumerate(zip(self.rows, self.names, strict=True)):
            if trace.members:
                sheet.swatch(MARGIN, top + 0.05, **figures.look(number))
            sheet.text(second, top, figure_text(trace), color=FAINT if trace.undefined else INK)
            sheet.text(third, top, self.published[number])
            for line, name in enumerate(lines):
                sheet.text(self.COLUMNS[0], top + line * LINE, name)
            top += self.ROW + LINE * (len(lines) - 1)
        for line, text in enumerate(self.notes):
            sheet.text(MARGIN, top + self.GAP + line * LINE, text, color=FAINT)


def figure_text(trace: Trace) -> str:
    """``0.854 [0.801, 0.895]``, marked where the interval is not to be relied on."""
    if trace.auroc is None:
        return "undefined"
    text = f"{trace.auroc:.3f}"
    if trace.ci is not None:
        text += f" [{trace.ci[0]:.3f}, {trace.ci[1]:.3f}]"
    return text + UNRELIABLE * trace.unreliable


def _split_source(published: str | None) -> tuple[str, str]:
    """``0.854 (Irvin et al. 2019)`` → (``0.854``, ``Irvin et al. 2019``)."""
    match = re.fullmatch(r"(.*?)\s*\((.*)\)", published or "")
    return (match[1], match[2]) if match else (published or "", "")


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _notes(panel: Panel, sources: Sequence[str]) -> list[str]:
    """What must be read with the figure."""
    notes = []
    if len(sources) == 1:
        notes.append(f"published: {sources[0]}")
    else:
        notes += [
            f"{_superscript(i)} published: {source}" for i, source in enumerate(sources, start=1)
        ]
    if any(trace.unreliable and trace.ci for trace in panel.traces):
        notes.append(f"{UNRELIABLE} fewer than 30 in a class: the interval is unreliable")
    reasons: dict[str, list[str]] = {}
    for trace in panel.traces:
        if trace.auroc is None:
            reasons.setdefault(trace.undefined or "undefined", []).append(trace.name)
    notes += [f"undefined for {', '.join(names)}: {why}" for why, names in reasons.items()]
    if panel.show_members and any(len(trace.members) > 1 for trace in panel.traces):
        notes.append("thin: each model; thick: their mean sensitivity")
    if panel.synthetic:
        notes.append(SYNTHETIC)
    return notes
