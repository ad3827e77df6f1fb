"""Average precision: the area under the precision-recall curve by its steps.

Linear interpolation between points of this curve is too optimistic (Davis and Goadrich 2006), so
the steps are summed, as scikit-learn does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.scoring.auroc import undefined_reason
from bench.scoring.roc import curve


def average_precision(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> float:
    """Sum over thresholds of (recall gained) x precision, for labels (n,) and scores (n,).

    Tied scores are one threshold. A useless model gets the prevalence, not 0.5. NaN where a class
    is missing.
    """
    if undefined_reason(labels, scores) is not None:
        return float("nan")
    points = curve(labels, scores)
    tp, fp = points.true_positives[1:], points.false_positives[1:]
    gained = np.diff(points.true_positives)
    return float((gained * (tp / (tp + fp))).sum() / points.positives)
