"""Dividing a pool of patients among clients: one call for every rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.split import Split
from bench.errors import SuiteError
from bench.federation.partitions.division import fill
from bench.federation.partitions.draw import Draw
from bench.federation.partitions.groups import attribute, natural
from bench.federation.partitions.labels import dirichlet, pathological, shards
from bench.federation.partitions.sizes import iid, quantity
from bench.federation.partitions.tilts import prevalence, uncertainty
from bench.federation.partitions.units import ATTRIBUTES, Units, patients
from bench.randomness import generator
from bench.suites.scenario import Choice

RULES: Mapping[str, Callable[..., Draw]] = {
    "iid": iid,
    "shards": shards,
    "pathological": pathological,
    "dirichlet": dirichlet,
    "prevalence": prevalence,
    "quantity": quantity,
    "attribute": attribute,
    "uncertainty": uncertainty,
    "natural": natural,
}
"""Every rule by its name in a suite; parameters are keyword arguments of the same names."""

COLUMN_PARAMETERS = {"attribute": "by", "natural": "column"}
"""The parameter of a rule that names a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Who holds what."""

    clients: tuple[NDArray[np.int64], ...]
    """The rows of each client, ascending; no client is empty and no row stands twice."""
    names: tuple[str, ...]
    """A name for each client: its site, or its number from 0."""
    fingerprint: str
    """See :func:`fingerprint`."""
    description: str
    """The rule with its parameters, whether sizes are balanced, and the label key if used."""

    @property
    def sizes(self) -> list[int]:
        """Images of each client."""
        return [len(rows) for rows in self.clients]


def partition(
    choice: Choice,
    pool: Split | Units,
    *,
    clients: int,
    seed: int,
    rows: NDArray[np.int64] | None = None,
) -> Partition:
    """Divides a split (by patient), or any :class:`Units`, among ``clients``.

    Equal arguments give equal partitions; all randomness is at the address (seed, "partition").

    Parameters
    ----------
    choice
        A rule of :data:`RULES` with all of its parameters.
    pool
        A split, whose units are its patients, or units made otherwise.
    rows
        (r,) the rows of the split to divide, such as those whose images can be read; all if None.

    Raises
    ------
    SuiteError
        What is asked for cannot be had of this pool; the message says what could.
    """
    if isinstance(pool, Split):
        units = patients(pool, rows, attributes=_columns(choice))
    else:
        assert rows is None, "choose rows when making the units"
        units = pool
        _check_columns(choice, units)
    if len(units) == 0:
        raise SuiteError(
            f"there are no {units.noun}s to divide", expected="an image at least", found="none"
        )
    if not 1 <= clients <= len(units):
        raise SuiteError(
            f"{len(units):,} {units.noun}s cannot be divided among {clients:,} clients",
            expected=f"from 1 to {len(units):,} clients, one {units.noun} each at the most",
            found=f"clients: {clients}",
            mend="lower clients" if clients > 1 else "raise clients",
        )
    random = generator(seed, "partition")
    draw = _drawn(choice, units, clients, random)
    client, moved = fill(draw.client, units, clients=clients, least=draw.least, random=random)
    shares = _rows_of(client[units.unit], units.rows, clients)
    return Partition(
        clients=shares,
        names=draw.names or tuple(str(i) for i in range(clients)),
        fingerprint=fingerprint(shares),
        description=_describe(choice, draw, units, moved),
    )


def _drawn(choice: Choice, units: Units, clients: int, random: np.random.Generator) -> Draw:
    """What the rule draws; raises SuiteError rather than go on with infinity or NaN."""
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            return RULES[choice.name](units, clients, random, **dict(choice.parameters))
    except FloatingPointError:
        raise SuiteError(
            f"the partition '{choice.name}' is too extreme to be computed",
            expected="parameters with which no size or share leaves the range of floats",
            found=str(choice),
            mend="choose parameters nearer to the defaults",
        ) from None


def fingerprint(clients: Sequence[NDArray[np.int64]]) -> str:
    """SHA-256 (hex) of who holds which row, whatever the order of rows within a client.

    For each client in turn: the number of its rows, then the rows ascending, all as 64-bit
    little-endian integers.
    """
    digest = hashlib.sha256()
    for rows in clients:
        digest.update(np.array([len(rows)], dtype="<i8").tobytes())
        digest.update(np.sort(rows).astype("<i8").tobytes())
    return digest.hexdigest()


def _columns(choice: Choice) -> tuple[str, ...]:
    parameter = COLUMN_PARAMETERS.get(choice.name)
    return () if parameter is None else (choice[parameter],)


def _check_columns(choice: Choice, units: Units) -> None:
    for name in _columns(choice):
        if name not in units.attributes:
            raise SuiteError(
                f"'{choice.name}' goes by {name}, which these {units.noun}s do not have",
                expected=f"a CheXpert tree, whose columns are {', '.join(ATTRIBUTES)}",
                found=f"{units.noun}s with a class and no column",
                mend="use iid, shards, pathological, dirichlet or quantity",
            )


def _rows_of(
    client: NDArray[np.int64], rows: NDArray[np.int64], clients: int
) -> tuple[NDArray[np.int64], ...]:
    order = np.argsort(client, kind="stable")
    ends = np.cumsum(np.bincount(client, minlength=clients))[:-1]
    return tuple(np.split(rows[order], ends))


def _describe(choice: Choice, draw: Draw, units: Units, moved: int) -> str:
    parts = [f"{choice}: {draw.text}"]
    if draw.keyed:
        parts.append(units.key_rule)
    if moved:
        parts.append(
            f"{moved:,} {units.noun}s moved so that every client has at least {draw.least} images"
        )
    return "; ".join(parts)
