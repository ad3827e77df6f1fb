"""ROC curves from stored scores: one figure a condition, one of the five competition tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import ResultsError
from bench.observations import COMPETITION
from bench.report.drawing import Drawers
from bench.report.figures import FORMATS
from bench.report.roc_sheet import Panel, Points, Trace
from bench.results.run import ROC_FOLDER, Run, scores_file
from bench.scoring.auroc import undefined_reason
from bench.scoring.roc import roc_curve

AVERAGE = "Average"
"""The published mean over the competition tasks, among the published figures."""
MAIN_SPLIT = "valid"
TASKS_FILE = "competition"
"""The file name of the figure of all competition tasks."""


def draw_run(
    run: Run,
    split: str,
    published: Mapping[str, str],
    *,
    formats: Sequence[str] = FORMATS,
    drawers: Drawers | None = None,
) -> list[Path]:
    """Writes the run's figures into :func:`folder_of` and returns the files; ``drawers`` help.

    ``published`` has the figure to print beside ours, by condition, such as
    ``0.854 (Irvin et al. 2019, Table 3)``. A condition without an AUROC has no figure, see
    :func:`undrawn`. Raises ResultsError where the scores are missing or are not the run's.
    """
    panels, folder = panels_of(run, split, published), folder_of(run, split)
    return (drawers or Drawers(0)).draw(panels, folder, formats)


def folder_of(run: Run, split: str) -> Path:
    """``roc``, and ``roc/<split>`` for another split than valid."""
    own = run.folder / ROC_FOLDER
    return own if split == MAIN_SPLIT else own / split


def undrawn(run: Run, split: str) -> dict[str, str]:
    """The conditions without a curve, each with the reason."""
    entries = run.metrics[split]["observations"]
    return {
        name: entry["undefined"] or "undefined"
        for name, entry in entries.items()
        if entry["auroc"] is None
    }


def panels_of(run: Run, split: str, published: Mapping[str, str]) -> list[Panel]:
    """A panel for every defined condition, then one of the competition tasks where one is."""
    traces = _traces(run, split, published)
    entries = run.metrics[split]["observations"]
    panels = []
    for name, trace in traces.items():
        if trace.auroc is not None:
            counts = f"{entries[name]['positives']:,} of {entries[name]['n']:,} studies positive"
            panels.append(
                Panel(
                    stem=file_name(name),
                    heading=name,
                    subheading=_about(run, split, counts),
                    traces=(trace,),
                    synthetic=run.synthetic,
                )
            )
    tasks = _tasks_panel(run, split, traces, published.get(AVERAGE))
    return panels if tasks is None else [*panels, tasks]


def tasks_panel(run: Run, split: str, published: Mapping[str, str]) -> Panel | None:
    """The panel of the competition tasks; None where none of them is defined."""
    traces = _traces(run, split, published)
    return _tasks_panel(run, split, traces, published.get(AVERAGE))


def overlaid(
    runs: Sequence[Run], split: str, published: Sequence[Mapping[str, str]]
) -> list[Panel]:
    """A panel a condition that is defined for any run, with a curve for each that has it.

    ``published`` has a mapping as of :func:`draw_run` for each run: the figure that fits a run
    depends on its label policy.
    """
    traces = [_traces(run, split, {}) for run in runs]
    names = dict.fromkeys(name for one in traces for name, t in one.items() if t.auroc is not None)
    labels = _distinct_names(runs)
    panels = []
    for name in names:
        mine = [
            replace(one[name], name=label, published=theirs.get(name))
            for one, label, theirs in zip(traces, labels, published, strict=True)
            if name in one
        ]
        panels.append(
            Panel(
                stem=file_name(name),
                heading=name,
                subheading=f"{len(mine)} runs, split '{split}'",
                traces=tuple(mine),
                synthetic=any(run.synthetic for run in runs),
                show_members=False,
            )
        )
    return panels


def file_name(observation: str) -> str:
    """``Pleural Effusion`` → ``pleural-effusion``."""
    return re.sub(r"[^a-z0-9]+", "-", observation.lower()).strip("-") or "condition"


def _traces(run: Run, split: str, published: Mapping[str, str]) -> dict[str, Trace]:
    """A trace for every observation of the run, undefined ones too, in the run's order."""
    scored = run.scores(split)
    entries: Mapping[str, Mapping[str, Any]] = run.metrics.get(split, {}).get("observations", {})
    traces = {}
    for column, name in enumerate(scored.observations):
        entry = entries.get(name)
        labels = scored.labels[:, column]
        known = ~np.isnan(labels)
        reason = undefined_reason(labels, scored.scores[0, :, column])
        if entry is None or (entry["auroc"] is None) != (reason is not None):
            raise ResultsError(
                f"the scores for {name} are not those that the run was scored with",
                where=run.folder / scores_file(split),
                mend="run the scenario again with --fresh",
            )
        curves = (
            []
            if reason
            else [_points(labels[known], member[known, column]) for member in scored.scores]
        )
        traces[name] = Trace(
            name=name,
            auroc=entry["auroc"],
            ci=_pair(entry["ci"]),
            undefined=entry["undefined"],
            unreliable=bool(entry["unreliable"]),
            published=published.get(name),
            members=tuple(curves),
        )
    return traces


def _tasks_panel(
    run: Run, split: str, traces: Mapping[str, Trace], published: str | None
) -> Panel | None:
    tasks = tuple(traces[name] for name in COMPETITION if name in traces)
    block = run.metrics[split]
    if block["mean_auroc"] is None:
        return None
    mean = Trace(
        name=f"Mean of {len(block['mean_over'])}",
        auroc=block["mean_auroc"],
        ci=_pair(block["mean_ci"]),
        undefined=None,
        unreliable=any(task.unreliable for task in tasks if task.auroc is not None),
        published=published,
        members=(),
    )
    return Panel(
        stem=TASKS_FILE,
        heading="Competition tasks",
        subheading=_about(run, split, f"{block['n']:,} studies"),
        traces=tasks,
        mean=mean,
        synthetic=run.synthetic,
        show_members=False,
    )


def _about(run: Run, split: str, counts: str) -> str:
    """What was scored: the run, the split and how much of it."""
    parts = [run.name, f"split '{split}'", counts]
    members = run.metrics[split]["members"]
    if members > 1:
        parts.append(f"mean of {members} models")
    return " · ".join(parts)


def _pair(ci: Sequence[float] | None) -> tuple[float, float] | None:
    return None if ci is None else (ci[0], ci[1])


def _distinct_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names, with the suite or the hash where they would be the same."""
    for labels in (
        [run.name for run in runs],
        [f"{run.suite}/{run.name}" for run in runs],
        [f"{run.name} {run.hash[:8]}" for run in runs],
    ):
        if len(set(labels)) == len(labels):
            return labels
    return [str(run.folder) for run in runs]


def _points(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> Points:
    fpr, tpr, _ = roc_curve(labels, scores)
    return fpr, tpr
