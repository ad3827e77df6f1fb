"""Partitions that leave the mix of patients alone: ``iid`` and ``quantity``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.errors import SuiteError
from bench.federation.partitions.division import divide, line
from bench.federation.partitions.draw import Draw
from bench.federation.partitions.units import Units

SUM_TOLERANCE = 1e-6
"""How far explicit shares may be from 1: decimals such as 0.333333 are written by people."""


def iid(units: Units, clients: int, random: np.random.Generator) -> Draw:
    """Units in random order, cut into parts of equal numbers of images.

    McMahan et al. 2017, section 3: "shuffled, and then partitioned"; where units are patients the
    parts differ from equal by less than the largest patient.
    """
    order = line(units, random)
    client = np.empty(len(units), dtype=np.int64)
    client[order] = divide(units.weight[order], np.ones(clients), filled=True)
    return Draw(client=client, text="equal sizes; random order, no skew")


def quantity(
    units: Units,
    clients: int,
    random: np.random.Generator,
    *,
    law: str,
    exponent: float | None = None,
    sigma: float | None = None,
    alpha: float | None = None,
    sizes: Sequence[float] | None = None,
) -> Draw:
    """Units in random order, cut into parts of unequal numbers of images.

    ``law`` gives the parts' relative sizes:

    - ``power``: client k (from 1) has k ** -``exponent``; client 0 is the largest. Exponents -1
      and -2 are the LinearPartitioner and SquarePartitioner of flwr-datasets.
    - ``lognormal``: exp(``sigma`` · z), z standard normal, independent for each client.
    - ``dirichlet``: one draw of Dir(``alpha``, …, ``alpha``).
    - ``explicit``: ``sizes``, either whole numbers of units (patients; images for MNIST) that sum
      to all of them, or shares of the images that sum to 1.

    Every client gets at least one unit. Raises SuiteError where explicit sizes do not fit.
    """
    weight = units.weight
    if law == "power":
        assert exponent is not None
        targets = np.arange(1, clients + 1, dtype=np.float64) ** -exponent
        text = f"sizes by a power law: client k has k^{-exponent:g}"
    elif law == "lognormal":
        assert sigma is not None
        targets = np.exp(sigma * random.standard_normal(clients))
        text = f"sizes log-normal with sigma {sigma:g}"
    elif law == "dirichlet":
        assert alpha is not None
        targets = random.dirichlet(np.full(clients, alpha))
        text = f"sizes from Dir({alpha:g})"
    else:
        assert law == "explicit"
        targets, counted = _explicit(units, clients, sizes or ())
        if counted:
            weight = np.ones_like(weight)
        text = f"sizes as given, in {units.noun}s" if counted else "sizes as given, in shares"
    order = line(units, random)
    client = np.empty(len(units), dtype=np.int64)
    client[order] = divide(weight[order], targets, filled=True)
    return Draw(client=client, text=f"{text}; random order, no label skew")


def _explicit(
    units: Units, clients: int, sizes: Sequence[float]
) -> tuple[NDArray[np.float64], bool]:
    """(targets, whether they count units)."""
    targets = np.asarray(sizes, dtype=np.float64)
    total = float(targets.sum())
    expected = (
        f"{clients} positive sizes that sum to {len(units):,} {units.noun}s, or to 1 as shares"
    )
    if len(targets) != clients or not (targets > 0).all():
        raise SuiteError(
            "explicit sizes do not fit the number of clients",
            expected=expected,
            found=f"{len(targets)} sizes: {', '.join(f'{s:g}' for s in targets)}",
            mend=f"give one positive size for each of the {clients} clients",
        )
    if abs(total - 1) <= SUM_TOLERANCE and clients > 1:
        return targets, False
    if total == len(units) and (targets == np.floor(targets)).all():
        return targets, True
    raise SuiteError(
        "explicit sizes do not add up",
        expected=expected,
        found=f"sum {total:,.10g}",
        mend=_remedy(targets, total, units),
    )


def _remedy(targets: NDArray[np.float64], total: float, units: Units) -> str:
    """What makes explicit sizes fit; where all are below 1, they were meant for shares."""
    if total == len(units):
        return f"give whole numbers of {units.noun}s"
    if total == units.images:
        return f"{total:,.0f} is the number of images; sizes count {units.noun}s, which stay whole"
    missing = (1 if (targets < 1).all() else len(units)) - total
    return f"{'raise' if missing > 0 else 'lower'} sizes by {abs(missing):,.6g} in all"
