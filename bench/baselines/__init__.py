"""What others published: tables with their provenance, checked when they are loaded.

    baseline = load_baseline("paper:valid")
    for value in baseline.values_for(policy="u-ones"):
        print(value.condition, value.value, value.ci)

``schema`` says what a file must be, ``table`` what it becomes, ``library`` where files are found.
"""

from __future__ import annotations

from bench.baselines.library import (
    ALIASES,
    CHOSEN,
    GROUPS,
    list_baselines,
    load_baseline,
    load_group,
    read_baseline,
)
from bench.baselines.table import AUROC, AVERAGE, Baseline, Citation, Metric, Row, Value

__all__ = [
    "ALIASES",
    "AUROC",
    "AVERAGE",
    "CHOSEN",
    "GROUPS",
    "Baseline",
    "Citation",
    "Metric",
    "Row",
    "Value",
    "list_baselines",
    "load_baseline",
    "load_group",
    "read_baseline",
]
