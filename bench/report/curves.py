"""Training curves from the round logs: loss and AUROC (of digits, accuracy) by round, or by what
was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import ResultsError
from bench.observations import COMPETITION
from bench.report import figures
from bench.report.figures import COLOURS, FAINT, FORMATS, INK, LINE, MARGIN, RULE, Sheet
from bench.report.formats import SYNTHETIC
from bench.report.units import byte_size
from bench.results.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

By = Literal["round", "bytes"]
"""What values are drawn over: rounds, or bytes sent so far, to the server and to clients."""
Series = tuple[Sequence[int], Sequence[float]]
"""Rounds, or bytes, and the values at them."""

Rounds = Sequence[tuple[int, Mapping[str, Any]]]
"""The lines of a log, each with where it is drawn."""

STEM = "curves"
SIDE, WIDE = 2.3, 3.1
"""Height and width of each of the two plots, inches."""
LEFT, BETWEEN, FOOT = 0.6, 0.72, 0.5
WIDTH = LEFT + 2 * WIDE + BETWEEN + 0.25
MEAN = "Competition mean"
ACCURACY = "Accuracy"
"""Of runs on digits, whose rounds have no AUROC."""
SHOWN = 6
"""So many observations are drawn of a run that has no competition task."""
VALUES = 5.1
"""Where the legend's figures start, inches."""
LINE_WIDTH = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One run's rounds."""

    name: str
    loss: Series
    headline: Series
    """AUROC or accuracy, where it was evaluated and defined."""
    conditions: Mapping[str, Series]
    """AUROC of single observations; drawn where there is one run only."""
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One figure: the histories of some runs."""

    heading: str
    headline: str
    """What is drawn on the right: the AUROC called ``Competition mean``, that of one observation
    where no task is defined, or ``Accuracy``."""
    histories: tuple[History, ...]
    synthetic: bool
    target: float | None = None
    """What every run was to stop at, where it is the same for all."""
    by: By = "round"
    left_out: tuple[str, ...] = ()
    """Runs that sent nothing, where that is what values are drawn over."""


def progress_of(runs: Sequence[Run], heading: str, by: By = "round") -> Progress:
    """What the runs' logs hold.

    Raises ResultsError where a log is damaged, and where values are to be drawn over bytes and no
    run sent any.
    """
    left_out: tuple[str, ...] = ()
    if by == "bytes":
        left_out = tuple(run.name for run in runs if not any(_sent(run.rounds())))
        runs = [run for run in runs if run.name not in left_out]
        if not runs:
            raise ResultsError(
                "there is nothing to draw over bytes",
                found=f"nothing was sent by {', '.join(left_out)}",
                mend="leave out '--by bytes', or name a run of a federation",
            )
    logs = [run.rounds() for run in runs]
    headline = _headline(logs)
    return Progress(
        heading=heading,
        headline=headline,
        histories=tuple(
            _history(run, log, headline, by) for run, log in zip(runs, logs, strict=True)
        ),
        synthetic=any(run.synthetic for run in runs),
        by=by,
        left_out=left_out,
        target=_target(runs),
    )


def draw_curves(
    runs: Sequence[Run],
    stem: Path,
    heading: str,
    formats: Sequence[str] = FORMATS,
    by: By = "round",
) -> list[Path]:
    """Writes ``<stem>.<format>`` with a line a run; returns the files.

    One run alone also has a line for each of its competition tasks.
    """
    with figures.style():
        return figures.save(sheet(progress_of(runs, heading, by)).figure, stem, formats)


def sheet(progress: Progress) -> Sheet:
    """Loss on the left, AUROC or accuracy on the right, the legend below.

    To be called, and saved, inside :func:`bench.report.figures.style`.
    """
    rows = _rows(progress)
    notes = _notes(progress)
    names = [figures.wrapped(name, VALUES - MARGIN - 0.4) for name, _, _ in rows]
    top = MARGIN + 0.36
    legend_top = top + SIDE + FOOT
    height = legend_top + 0.19 + sum(0.04 + LINE * len(n) for n in names)
    made = Sheet(WIDTH, height + 0.07 + LINE * len(notes) + MARGIN)
    made.text(MARGIN, MARGIN, progress.heading, fontsize=10, fontweight="bold")
    left = made.axes(LEFT, top, WIDE, SIDE)
    right = made.axes(LEFT + WIDE + BETWEEN, top, WIDE, SIDE)
    _plot(left, right, progress)
    made.text(VALUES, legend_top, "last loss", color=FAINT)
    made.text(VALUES + 0.9, legend_top, f"last {_kind(progress)}", color=FAINT)
    legend_top += 0.19
    for lines, (_, look, values) in zip(names, rows, strict=True):
        made.swatch(MARGIN, legend_top + 0.05, **look)
        for number, line in enumerate(lines):
            made.text(MARGIN + 0.34, legend_top + number * LINE, line)
        for number, value in enumerate(values):
            made.text(VALUES + 0.9 * number, legend_top, value)
        legend_top += 0.04 + LINE * len(lines)
    for number, note in enumerate(notes):
        made.text(MARGIN, legend_top + 0.07 + number * LINE, note, color=FAINT)
    return made


def _headline(logs: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The mean, unless no run has one: then accuracy, else the first observation that any run has
    a value for."""
    records = [record for log in logs for record in log]
    if any(record.get("mean_auroc") is not None for record in records):
        return MEAN
    if any(record.get("accuracy") is not None for record in records):
        return ACCURACY
    for record in records:
        for name, value in (record.get("auroc") or {}).items():
            if value is not None:
                return str(name)
    return MEAN


def _target(runs: Sequence[Run]) -> float | None:
    targets = {run.scenario.get("stop_at") for run in runs}
    return targets.pop() if len(targets) == 1 else None


def _kind(progress: Progress) -> str:
    return "accuracy" if progress.headline == ACCURACY else "AUROC"


def _sent(rounds: Sequence[Mapping[str, Any]]) -> list[int]:
    """The bytes sent up to each round, either way."""
    return list(accumulate(r["bytes_up"] + r["bytes_down"] for r in rounds))


def _history(run: Run, log: Sequence[Mapping[str, Any]], headline: str, by: By) -> History:
    places = [r["round"] for r in log] if by == "round" else _sent(log)
    rounds = [(place, record) for place, record in zip(places, log, strict=True)]
    names = dict.fromkeys(name for record in log for name in record.get("auroc") or {})
    shown = [n for n in COMPETITION if n in names] if headline == MEAN else list(names)[:SHOWN]
    conditions = {name: _condition(rounds, name) for name in shown if name != headline}
    key = {MEAN: "mean_auroc", ACCURACY: "accuracy"}.get(headline)
    return History(
        name=run.name,
        loss=_series(rounds, lambda record: record.get("loss")),
        headline=_condition(rounds, headline)
        if key is None
        else _series(rounds, lambda record: record.get(key)),
        conditions={name: series for name, series in conditions.items() if series[0]},
        members=max((block["members"] for block in run.metrics.values()), default=1),
    )


def _condition(rounds: Rounds, name: str) -> Series:
    return _series(rounds, lambda record: (record.get("auroc") or {}).get(name))


def _series(rounds: Rounds, value: Callable[[Mapping[str, Any]], Any]) -> Series:
    found = [(place, value(record)) for place, record in rounds]
    kept = [(place, v) for place, v in found if v is not None]
    return [place for place, _ in kept], [v for _, v in kept]


def _plot(left: Axes, right: Axes, progress: Progress) -> None:
    from matplotlib.ticker import MaxNLocator

    last = 1
    for history, (_, look, _) in zip(progress.histories, _rows(progress), strict=False):
        _line(left, history.loss, look)
        _line(right, history.headline, look)
        last = max([last, *history.loss[0]])
    if len(progress.histories) == 1:
        for (_, look, _), series in zip(
            _rows(progress)[1:], progress.histories[0].conditions.values(), strict=True
        ):
            _line(right, series, {**look, "linewidth": 0.9, "zorder": 2})
    if progress.target is not None and right.lines:
        right.axhline(progress.target, color=FAINT, linewidth=0.8, linestyle="dashed", zorder=1)
    judged = "on the test images" if progress.headline == ACCURACY else "on the split 'valid'"
    for axes, what in ((left, "training loss"), (right, f"{_kind(progress)} {judged}")):
        axes.set(ylabel=what)
        if progress.by == "round":
            axes.set(xlabel="round", xlim=(1, last) if last > 1 else (0.5, 1.5))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        else:
            axes.set(xlabel="sent so far, to the server and to clients", xlim=(0, last))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(lambda count, _: byte_size(round(count)))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
        axes.grid(color=RULE, linewidth=0.4, alpha=0.6)
        axes.set_axisbelow(True)
        if not axes.lines:
            axes.set(ylim=(0, 1))
            axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=FAINT)
        if progress.synthetic:
            figures.watermark(axes, size=13)


def _line(axes: Axes, series: Series, look: Mapping[str, Any]) -> None:
    if series[0]:
        # A value between which and the next nothing was measured must be seen to be one.
        marker = "o" if len(series[0]) <= 12 else None
        options = {"linewidth": LINE_WIDTH, "zorder": 3, **look}
        axes.plot(*series, marker=marker, markersize=2.6, clip_on=False, **options)


def _rows(progress: Progress) -> list[tuple[str, dict[str, Any], tuple[str, str]]]:
    """The legend: name, look, the last loss and the last AUROC or accuracy of every line."""
    places = 4 if progress.headline == ACCURACY else 3
    if len(progress.histories) > 1:
        return [
            (h.name, figures.look(i), (_last(h.loss, 4), _last(h.headline, places)))
            for i, h in enumerate(progress.histories)
        ]
    only = progress.histories[0]
    own = {"color": INK, "linestyle": "solid"}
    rows = [(progress.headline, own, (_last(only.loss, 4), _last(only.headline, places)))]
    return rows + [
        (name, {"color": colour, "linestyle": "solid"}, ("", _last(series, 3)))
        for (name, series), colour in zip(only.conditions.items(), COLOURS, strict=False)
    ]


def _last(series: Series, places: int) -> str:
    return f"{series[1][-1]:.{places}f}" if series[1] else "–"


def _notes(progress: Progress) -> list[str]:
    notes = ["AUROC: mean over the competition tasks that are defined"]
    if progress.headline == ACCURACY:
        notes = []
    elif progress.headline != MEAN:
        notes = [f"AUROC of {progress.headline}: no competition task is defined"]
    if progress.target is not None:
        notes.append(f"dashed: {progress.target:g}, at which the runs were to stop")
    several = [h.name for h in progress.histories if h.members > 1]
    if several:
        notes.append(f"mean over each client's own model: {', '.join(several)}")
    if progress.left_out:
        notes.append(f"left out, for nothing was sent: {', '.join(progress.left_out)}")
    if progress.synthetic:
        notes.append(SYNTHETIC)
    return [line for note in notes for line in figures.wrapped(note, WIDTH - 2 * MARGIN)]
