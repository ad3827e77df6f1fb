"""ROC curves of a run, drawn from its stored scores: one figure a condition, one of all tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.observations import COMPETITION
from bench.results.atomic import replacing
from bench.scoring.roc import roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.scoring.studies import StudyScores

SIDE_INCHES = 4.4
DPI = 110
FORMATS = ("png", "svg")
ALL_TASKS = "competition"
"""The file name of the figure with every competition task."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's palette: told apart with any colour vision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What is drawn: a run's scores with the figures that stand in the legend."""

    title: str
    """The run, as it is named in tables."""
    split: str
    scored: StudyScores
    metrics: Mapping[str, Mapping[str, Any]]
    """Per observation the entry of run.json: auroc, ci, undefined."""
    published: Mapping[str, str]
    """Per observation, the published figure as text, e.g. ``0.854 (paper, valid)``."""
    synthetic: bool


def draw(curves: Curves, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Writes one figure a defined condition and one of the competition tasks; returns the files.

    An observation without an AUROC has no curve and no figure.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    defined = [o for o in curves.scored.observations if curves.metrics[o]["auroc"] is not None]
    files: list[Path] = []
    with rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), dpi=DPI, layout="constrained")
        for name in defined:
            with _axes(figure, f"{name}: {curves.title}", curves) as axes:
                _plot(axes, curves, name, COLOURS[0], legend=_label(curves, name, alone=True))
            files += _save(figure, folder / file_name(name), formats)
        tasks = [name for name in COMPETITION if name in defined]
        if tasks:
            with _axes(figure, f"Competition tasks: {curves.title}", curves) as axes:
                for name, colour in zip(tasks, COLOURS, strict=False):
                    _plot(axes, curves, name, colour, legend=_label(curves, name, alone=False))
            files += _save(figure, folder / ALL_TASKS, formats)
    return files


def file_name(observation: str) -> str:
    """``Pleural Effusion`` → ``pleural-effusion``."""
    return re.sub(r"[^a-z0-9]+", "-", observation.lower()).strip("-")


@contextmanager
def _axes(figure: Figure, title: str, curves: Curves) -> Iterator[Axes]:
    """The figure's only axes, emptied before and dressed after the block."""
    figure.clear()
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=0.8, linestyle=(0, (4, 3)))
    yield axes
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("sensitivity")
    axes.set_title(title, fontsize=10, wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=7.5, framealpha=0.9)
    if curves.synthetic:
        axes.text(
            0.5, 0.5, "SYNTHETIC DATA", transform=axes.transAxes, ha="center", va="center",
            fontsize=22, color="0.5", alpha=0.25, rotation=32, zorder=0,
        )  # fmt: skip


def _plot(axes: Axes, curves: Curves, name: str, colour: str, *, legend: str) -> None:
    """One thin curve a member and, with several, their mean over sensitivity at each FPR."""
    scored = curves.scored
    column = scored.observations.index(name)
    known = ~np.isnan(scored.labels[:, column])
    labels = scored.labels[known, column]
    points = [_staircase(labels, member[known, column]) for member in scored.scores]
    if len(points) == 1:
        axes.plot(*points[0], color=colour, linewidth=1.5, label=legend)
        return
    for fpr, tpr in points:
        axes.plot(fpr, tpr, color=colour, linewidth=0.5, alpha=0.5)
    grid = np.linspace(0.0, 1.0, 201)
    mean = np.mean([np.interp(grid, fpr, tpr) for fpr, tpr in points], axis=0)
    axes.plot(grid, mean, color=colour, linewidth=1.5, label=f"{legend}\n(mean of {len(points)})")


def _staircase(
    labels: NDArray[np.floating], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    fpr, tpr, _ = roc_curve(labels, scores)
    return fpr, tpr


def _label(curves: Curves, name: str, *, alone: bool) -> str:
    entry = curves.metrics[name]
    text = f"AUROC {entry['auroc']:.3f}" if alone else f"{name} {entry['auroc']:.3f}"
    if entry["ci"] is not None:
        text += f" [{entry['ci'][0]:.3f}, {entry['ci'][1]:.3f}]"
    published = curves.published.get(name)
    return f"{text}\npublished {published}" if published else text


def _save(figure: Figure, stem: Path, formats: Sequence[str]) -> list[Path]:
    files = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        with replacing(path) as temporary:
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(temporary, format=kind, metadata=metadata)
        files.append(path)
    return files
