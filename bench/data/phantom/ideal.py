"""The best any reader of the phantom's images can do, and what that is as an AUROC.

An image is drawn from the study's severities, AP/PA, age and sex, and from nuisances that depend
on nothing else (``clinic.py``). Presence → severity → image is therefore a Markov chain: no
function of the image tells more about presence than the severities, AP/PA and age themselves do.
The observer here is given exactly those and answers with the posterior

    P(o | s, AP, age) = Σ_z P(z | s, AP, age) · P(o | s, z)

over syndromes z, in which findings are independent. By the Neyman-Pearson lemma no function of the
same evidence has a higher ROC curve at any point in the population; by the chain, no function of
one study's images has. It is a bound that a real reader does not touch: pixels, noise and overlying
anatomy blur the severities. On a finite split a reader may come out above the recorded figure by
chance, as any estimate may above any other; the population's figures have next to no such noise.

It bounds readers that score each study from that study alone. A patient's other studies, where
there are any (training patients only), would tell more.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom import clinic
from bench.data.phantom.clinic import Cases, Floats
from bench.observations import OBSERVATIONS
from bench.scoring.auroc import auroc

POPULATION = 40_000
"""Studies for the figures in the limit: an AUROC's standard error is then about 0.002 or less."""

DEFINITION = (
    "posterior probability of each observation given the study's true severities, AP/PA and age; "
    "no reader of the images does better, up to sampling error"
)


def posterior(cases: Cases) -> Floats:
    """(n, 14) the probability of each observation given all that the images were drawn from."""
    absent = _log_beta(cases.severity, clinic.ABSENT_BETA)[:, None, :]
    present = _log_beta(cases.severity, clinic.PRESENT_BETA)[:, None, :]
    yes = np.log(clinic.PRESENT)[None] + present
    no = np.log1p(-clinic.PRESENT)[None] + absent
    evidence = np.logaddexp(yes, no)
    ap = np.where(cases.ap[:, None], clinic.AP_SHARE, 1.0 - clinic.AP_SHARE)
    log_syndrome = np.log(clinic.syndrome_given_age(cases.age) * ap) + evidence.sum(axis=2)
    log_syndrome -= log_syndrome.max(axis=1, keepdims=True)
    syndrome = np.exp(log_syndrome)
    syndrome /= syndrome.sum(axis=1, keepdims=True)
    none = np.exp(no - evidence)  # (n, z, f): P(finding absent | severity, syndrome)

    def all_absent(names: tuple[str, ...]) -> Floats:
        each = none[:, :, clinic.finding_indices(names)].prod(axis=2)
        return np.asarray((syndrome * each).sum(axis=1))

    columns = [
        all_absent(clinic.PATHOLOGY)
        if name == "No Finding"
        else 1.0 - all_absent(clinic.UNIONS.get(name, (name,)))
        for name in OBSERVATIONS
    ]
    return np.stack(columns, axis=1)


def ideal_auroc(cases: Cases) -> dict[str, float]:
    """Per observation the ideal observer's AUROC on these studies, to six decimals.

    An observation that all or none of the studies have has no AUROC and no entry.
    """
    labels = clinic.truth(cases.present).astype(np.float64)
    scores = posterior(cases)
    values: dict[str, float] = {}
    for i, name in enumerate(OBSERVATIONS):
        value = auroc(labels[:, i], scores[:, i])
        if not np.isnan(value):
            values[name] = round(float(value), 6)
    return values


@lru_cache(maxsize=1)
def population_auroc() -> dict[str, float]:
    """``ideal_auroc`` of the clinic itself, whatever a phantom's size and seed."""
    return ideal_auroc(clinic.draw_population(POPULATION, seed=0))


def gather(studies: list[clinic.Study]) -> Cases:
    """The drawn studies as arrays."""
    return Cases(
        age=np.array([s.age for s in studies], dtype=np.float64),
        male=np.array([s.male for s in studies], dtype=np.bool_),
        ap=np.array([s.ap for s in studies], dtype=np.bool_),
        present=np.array([s.present for s in studies], dtype=np.bool_).reshape(len(studies), -1),
        severity=np.array([s.severity for s in studies]).reshape(len(studies), -1),
    )


def _log_beta(x: Floats, shape: NDArray[np.float64]) -> Floats:
    """(n, f) log density of Beta(a, b) per column."""
    from scipy.special import betaln

    a, b = shape.T
    x = np.clip(x, 1e-12, 1.0 - 1e-12)
    return np.asarray((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - betaln(a, b))
