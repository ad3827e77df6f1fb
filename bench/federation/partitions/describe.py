"""What each client holds: sizes, prevalences, uncertain shares and distance from the pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.split import Split
from bench.federation.partitions.allocation import Partition
from bench.federation.partitions.units import Units, patients


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport:
    """Counts per client; row k of every array is client k. Shares are derived from the counts."""

    description: str
    fingerprint: str
    noun: str
    """``patient`` or ``image``: what was never divided."""
    names: tuple[str, ...]
    """(k,) the clients' names."""
    images: NDArray[np.int64]
    """(k,)"""
    studies: NDArray[np.int64] | None
    """(k,) None where the data has no studies."""
    units: NDArray[np.int64]
    """(k,) patients; images again where a unit is an image."""
    labels: tuple[str, ...]
    """(o,) the conditions."""
    positive: NDArray[np.int64]
    """(k, o) images with a positive label."""
    uncertain: NDArray[np.int64]
    """(k, o) images with an uncertain label."""
    keys: tuple[str, ...]
    by_key: NDArray[np.int64]
    """(k, q) images whose patient has that key."""
    divergence: NDArray[np.float64]
    """(k,) see :func:`divergence_from_pool`, in bits, from 0 to 1."""
    overall: float
    """See :func:`overall_divergence`, in bits."""

    def prevalence(self) -> NDArray[np.float64]:
        """(k, o) share of a client's images with a positive label; blank counts as not positive."""
        return self.positive / self.images[:, None]

    def pool_prevalence(self) -> NDArray[np.float64]:
        """(o,) the same of all clients together."""
        return self.positive.sum(axis=0) / self.images.sum()

    def uncertain_share(self) -> NDArray[np.float64]:
        """(k, o) share of a client's images with an uncertain label."""
        return self.uncertain / self.images[:, None]

    def pool_uncertain_share(self) -> NDArray[np.float64]:
        """(o,) the same of all clients together."""
        return self.uncertain.sum(axis=0) / self.images.sum()


def describe(partition: Partition, pool: Split | Units) -> PartitionReport:
    """Counts what each client of ``partition`` holds of the pool it was made from."""
    clients = len(partition.clients)
    rows = np.concatenate(partition.clients)
    holder = np.repeat(np.arange(clients), partition.sizes)
    units = patients(pool, rows) if isinstance(pool, Split) else pool
    by_row = np.argsort(rows)
    assert np.array_equal(rows[by_row], units.rows), "the partition is of another pool"
    client = np.empty(len(units), dtype=np.int64)
    client[units.unit] = holder[by_row]
    by_key = np.bincount(
        client * len(units.keys) + units.key,
        weights=units.weight,
        minlength=clients * len(units.keys),
    )
    by_key = by_key.reshape(clients, len(units.keys)).astype(np.int64)
    return PartitionReport(
        description=partition.description,
        fingerprint=partition.fingerprint,
        noun=units.noun,
        names=partition.names,
        images=np.array(partition.sizes, dtype=np.int64),
        studies=None if units.studies is None else _sum(units.studies, client, clients),
        units=np.bincount(client, minlength=clients),
        labels=units.labels,
        positive=_sum(units.positive, client, clients),
        uncertain=_sum(units.uncertain, client, clients),
        keys=units.keys,
        by_key=by_key,
        divergence=divergence_from_pool(by_key),
        overall=overall_divergence(by_key),
    )


def divergence_from_pool(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k,) Jensen–Shannon divergence, base 2, of each row of (k, q) from the sum of the rows.

    H((p + pool) / 2) - (H(p) + H(pool)) / 2 with H the Shannon entropy of the mix of label keys:
    0 for the pool's own mix, 1 for no overlap (Lin 1991, equation 3.1).
    """
    mixes = counts / counts.sum(axis=1, keepdims=True)
    pool = counts.sum(axis=0) / counts.sum()
    halves = _entropy((mixes + pool) / 2) - (_entropy(mixes) + _entropy(pool)) / 2
    return np.maximum(halves, 0.0)


def overall_divergence(counts: NDArray[np.int64]) -> float:
    """Jensen–Shannon divergence, base 2, of all rows of (k, q), weighted by their sums.

    H(pool) - Σ n_i/n · H(p_i): how many bits of its label key a patient's client tells; at most
    the entropy of the keys (Lin 1991, equation 5.1).
    """
    weight = counts.sum(axis=1) / counts.sum()
    mixes = counts / counts.sum(axis=1, keepdims=True)
    pool = counts.sum(axis=0) / counts.sum()
    return max(float(_entropy(pool) - weight @ _entropy(mixes)), 0.0)


def _entropy(mix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shannon entropy in bits over the last axis; 0 · log 0 is 0."""
    return -np.sum(mix * np.log2(mix, out=np.zeros_like(mix), where=mix > 0), axis=-1)


def _sum(values: NDArray[np.int64], client: NDArray[np.int64], clients: int) -> NDArray[np.int64]:
    """Sums of (u,) or (u, o) over the units of each client; every client has a unit."""
    order = np.argsort(client, kind="stable")
    starts = np.searchsorted(client[order], np.arange(clients))
    return np.add.reduceat(values[order], starts, axis=0)
