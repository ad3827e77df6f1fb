"""From scores per view to scores per study.

CheXpert's unit of evaluation is the study; a study's score is the maximum over its views (Irvin
et al. 2019, section 4). An ensemble's mean over models is taken before, on the views.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Views = Literal["max", "mean", "frontal"]
VIEWS: tuple[str, ...] = get_args(Views)

FRONTAL = "Frontal"


class ViewTable(Protocol):
    """What is needed to know of n images; a :class:`bench.data.split.Split` is one."""

    @property
    def studies(self) -> NDArray[np.str_]:
        """(s,) distinct study ids."""

    @property
    def study(self) -> NDArray[np.int64]:
        """(n,) index into ``studies``."""

    @property
    def view(self) -> NDArray[np.str_]:
        """(n,) ``Frontal``, ``Lateral`` or empty where not known."""


def combine_views(
    scores: NDArray[np.floating], table: ViewTable, views: str
) -> NDArray[np.floating]:
    """Scores (n, o) per image → (s, o) per study, in the order of ``table.studies``.

    ``max`` and ``mean`` go over all of a study's views. ``frontal`` is the maximum over its
    frontal views; a study without one is scored by all of its views, and
    :func:`without_frontal` counts these studies. Raises ValueError for another word, or where a
    study has no image.
    """
    if views not in VIEWS:
        raise ValueError(f"The 'views' must be one of {', '.join(VIEWS)}. Got {views!r} instead.")
    studies = len(table.studies)
    if len(np.unique(table.study)) != studies:
        raise ValueError("Every study must have at least one image.")
    study = table.study
    if views == "mean":
        total = np.zeros((studies, scores.shape[1]), dtype=np.float64)
        np.add.at(total, study, scores)
        mean = total / np.bincount(study, minlength=studies)[:, None]
        return np.asarray(mean.astype(scores.dtype))
    if views == "frontal":
        kept = (table.view == FRONTAL) | without_frontal(table)[study]
        scores, study = scores[kept], study[kept]
    best = np.full((studies, scores.shape[1]), -np.inf, dtype=scores.dtype)
    np.maximum.at(best, study, scores)
    return best


def without_frontal(table: ViewTable) -> NDArray[np.bool_]:
    """(s,) True for each study that has no view known to be frontal."""
    frontal = np.bincount(table.study, weights=table.view == FRONTAL, minlength=len(table.studies))
    return np.asarray(frontal == 0)
