"""Runs as a data frame, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.run import Run, find_runs

if TYPE_CHECKING:
    import pandas as pd


def frame(paths: Iterable[Path]) -> pd.DataFrame:
    """One row for each run, split and observation below ``paths``.

    The columns are ``suite``, ``run``, ``synthetic``, ``split``, ``observation``, ``auroc``,
    ``low`` and ``high`` (the 95 % interval), ``positives``, ``n`` and ``undefined`` (why there is
    no AUROC), and the scenario's values as ``scenario.<key>``. Raises as
    :func:`bench.results.run.find_runs`.
    """
    import pandas as pd

    return pd.DataFrame([row for run in find_runs(paths) for row in _rows(run)])


def _rows(run: Run) -> list[dict[str, object]]:
    scenario = {f"scenario.{key}": value for key, value in run.scenario.items()}
    rows = []
    for split, block in run.metrics.items():
        for observation, entry in block["observations"].items():
            low, high = entry["ci"] or (None, None)
            rows.append(
                {
                    "suite": run.suite,
                    "run": run.name,
                    "synthetic": run.synthetic,
                    "split": split,
                    "observation": observation,
                    "auroc": entry["auroc"],
                    "low": low,
                    "high": high,
                    "positives": entry["positives"],
                    "n": entry["n"],
                    "undefined": entry["undefined"],
                    **scenario,
                }
            )
    return rows
