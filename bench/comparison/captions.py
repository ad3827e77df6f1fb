"""Published figures as the words that stand beside a run's own in a figure."""

from __future__ import annotations

import re
from pathlib import Path

from bench.baselines import Baseline, Value
from bench.comparison.published import PAPER, choose
from bench.comparison.rows import AVERAGE
from bench.comparison.subject import Subject
from bench.observations import COMPETITION
from bench.report.references import FULL_DECIMALS
from bench.results.run import Run

NONE = "none"


def captions(
    run: Run, split: str, against: str = PAPER, folder: Path | None = None
) -> dict[str, str]:
    """By condition ``0.858 [0.806, 0.910] (Irvin et al. 2019, Table 3; CheXpert valid)``.

    The table and its row are chosen as for a comparison; ``none`` gives nothing. The average is
    there only where it is over the tasks that the run's mean is over. Raises BaselineError for an
    unknown table and NotComparable for one without AUROCs.
    """
    if against == NONE:
        return {}
    metrics = run.metrics[split]
    subject = Subject(name=run.name, split=split, runs=(run,), metrics=metrics, sd={})
    chosen = choose(subject, against, folder)
    source = _source(chosen.table)
    same_mean = set(metrics["mean_over"]) == set(chosen.table.mean_over or COMPETITION)
    return {
        condition: f"{_figure(value)} ({source})"
        for condition, value in chosen.values.items()
        if value.value is not None and (condition != AVERAGE or same_mean)
    }


def _figure(value: Value) -> str:
    """As printed; a figure given at full precision with four decimals."""
    assert value.value is not None
    places = FULL_DECIMALS if value.decimals is None else value.decimals
    ci = "" if value.ci is None else f" [{value.ci[0]:.{places}f}, {value.ci[1]:.{places}f}]"
    return f"{value.value:.{places}f}{ci}"


def _source(table: Baseline) -> str:
    """Author and year, which table, and on what the figures were obtained."""
    first, *others = (part.strip() for part in table.citation.authors.split(","))
    author = f"{first} et al." if others else first
    where = re.sub(r"\s*\(.*\)", "", table.citation.table)
    dated = f"{author} {table.citation.year}" if table.citation.year else author
    return f"{dated}, {where}; {table.dataset} {table.split or 'split not stated'}"
