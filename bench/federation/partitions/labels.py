"""Partitions by the label key: ``shards``, ``pathological`` and ``dirichlet``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.errors import SuiteError
from bench.federation.partitions.division import apportion, divide, line
from bench.federation.partitions.draw import Draw
from bench.federation.partitions.units import Units


def shards(units: Units, clients: int, random: np.random.Generator, *, per_client: int) -> Draw:
    """Units sorted by key, cut into equal shards, ``per_client`` random shards to each client.

    McMahan et al. 2017, section 3 (MNIST: 200 shards of 300, two to each of 100 clients). Keys
    stand in their order in ``Units.keys``, units of one key in random order; shards hold equal
    numbers of images as near as whole units allow.

    Raises SuiteError where there are fewer units than shards.
    """
    number = clients * per_client
    if number > len(units):
        most = len(units) // per_client
        fewer = f", or at most {most:,} clients with {per_client} shards each" if most else ""
        raise SuiteError(
            f"{number:,} shards cannot be made of {len(units):,} {units.noun}s",
            expected=f"per_client of at most {len(units) // clients} with {clients} clients{fewer}",
            found=f"{clients} clients with {per_client} shards each",
            mend="lower per_client or clients",
        )
    order = line(units, random, by=units.key)
    shard = divide(units.weight[order], np.ones(number), filled=True)
    holder = np.empty(number, dtype=np.int64)
    holder[random.permutation(number)] = np.arange(number) // per_client
    client = np.empty(len(units), dtype=np.int64)
    client[order] = holder[shard]
    return Draw(
        client=client,
        text=f"balanced sizes; {number} shards sorted by key, {per_client} to each client",
        keyed=True,
    )


def pathological(
    units: Units, clients: int, random: np.random.Generator, *, classes_per_client: int
) -> Draw:
    """Every client holds exactly ``classes_per_client`` keys, each key shared evenly by holders.

    The PathologicalPartitioner of flwr-datasets, with one difference: keys are given to clients
    so that their numbers of holders differ by at most one (a key with fewer units than that has
    as many holders as units), so that no key is left out and every image is used.

    Raises SuiteError where there are fewer keys than asked for, or where some key would have no
    holder.
    """
    present = np.flatnonzero(np.bincount(units.key, minlength=len(units.keys)))
    available = np.minimum(np.bincount(units.key, minlength=len(units.keys))[present], clients)
    _check_classes(units, clients, classes_per_client, len(present), int(available.sum()))
    quota = _even_quota(available, clients * classes_per_client, random)
    held = np.zeros((clients, len(present)), dtype=bool)
    for row in held:
        # Largest remaining quota first always succeeds (Gale 1957; Ryser 1957).
        chosen = np.lexsort((random.random(len(present)), -quota))[:classes_per_client]
        row[chosen] = True
        quota[chosen] -= 1
    client = np.empty(len(units), dtype=np.int64)
    order = line(units, random, by=units.key)
    for column, key in enumerate(present):
        members = order[units.key[order] == key]
        holders = random.permutation(np.flatnonzero(held[:, column]))
        client[members] = holders[divide(units.weight[members], np.ones(len(holders)), filled=True)]
    return Draw(
        client=client,
        text=f"sizes as they fall; {classes_per_client} keys to each client, "
        "each key shared evenly by its holders",
        keyed=True,
    )


def _check_classes(
    units: Units, clients: int, per_client: int, present: int, available: int
) -> None:
    found = f"classes_per_client {per_client} with {clients} clients"
    if per_client > present:
        raise SuiteError(
            f"a client cannot hold {per_client} keys where there are {present}",
            expected=f"classes_per_client of at most {present}",
            found=found,
            mend="lower classes_per_client",
        )
    if clients * per_client < present:
        raise SuiteError(
            f"{present - clients * per_client} of {present} keys would have no holder",
            expected=f"classes_per_client of at least {-(-present // clients)} with {clients} "
            f"clients, or at least {-(-present // per_client)} clients",
            found=found,
            mend="raise classes_per_client or clients; every image is given to some client",
        )
    if clients * per_client > available:
        raise SuiteError(
            f"too few {units.noun}s for {clients} holders of {per_client} keys each",
            expected=f"at most {available // per_client} clients, or classes_per_client of at most "
            f"{available // clients}: a key has no more holders than {units.noun}s",
            found=found,
            mend="lower classes_per_client or clients",
        )


def _even_quota(
    available: NDArray[np.int64], total: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """(k,) as equal as possible, none above ``available`` (k,), summing to ``total``."""
    level = np.arange(available.max() + 1)
    reached = np.minimum(available[:, None], level).sum(axis=0)
    full = int(np.searchsorted(reached, total, side="right")) - 1
    quota = np.minimum(available, full)
    open_ = random.permutation(np.flatnonzero(available > full))
    quota[open_[: total - int(quota.sum())]] += 1
    return quota


def dirichlet(
    units: Units,
    clients: int,
    random: np.random.Generator,
    *,
    alpha: float,
    balanced: bool,
    min_size: int,
) -> Draw:
    """Label skew from a Dirichlet distribution, in one of the two definitions in use.

    ``balanced: false`` — each key's images are divided over the clients in proportions
    p ~ Dir(α, …, α), so that sizes differ too (Yurochkin et al. 2019, section 4; the
    DirichletPartitioner of flwr-datasets with ``self_balancing=False``).

    ``balanced: true`` — clients have equal sizes, and client i's mix of keys is
    q_i ~ Dir(α·p), p the pool's mix; clients take their images one after the other, in random
    order, and a key that has run out is left out of the mixes of those that follow (Hsu et al.
    2019, section 3). Counts are q_i in largest remainders rather than drawn image by image.

    Clients with fewer than ``min_size`` images are filled up (:func:`division.fill`) instead of
    drawing again, which ends for every α.
    """
    if balanced:
        client = balanced_mixes(units, clients, random, units.key, alpha)
        text = f"balanced sizes; each client's mix of keys from Dir({alpha:g}·pool)"
    else:
        client = np.empty(len(units), dtype=np.int64)
        order = line(units, random, by=units.key)
        for members in _runs(order, units.key):
            proportions = random.dirichlet(np.full(clients, alpha))
            client[members] = divide(units.weight[members], proportions, filled=False)
        text = f"unbalanced sizes; each key divided over clients by Dir({alpha:g})"
    return Draw(client=client, text=text, keyed=True, least=max(min_size, 1))


def balanced_mixes(
    units: Units,
    clients: int,
    random: np.random.Generator,
    key: NDArray[np.int64],
    alpha: float,
) -> NDArray[np.int64]:
    """(u,) clients of equal sizes with mixes of ``key`` (u,) from Dir(alpha · the pool's mix).

    See ``balanced: true`` of :func:`dirichlet`.
    """
    order = line(units, random, by=key)
    runs = _runs(order, key)
    left = np.array([units.weight[members].sum() for members in runs])
    mix = alpha * left / left.sum()
    targets = np.zeros((clients, len(runs)), dtype=np.int64)
    sizes = apportion(units.images, np.ones(clients))
    for i in random.permutation(clients):
        targets[i] = _take(int(sizes[i]), mix, left, random)
        left -= targets[i]
    client = np.empty(len(units), dtype=np.int64)
    for column, members in enumerate(runs):
        client[members] = divide(units.weight[members], targets[:, column], filled=False)
    return client


def _take(
    size: int, mix: NDArray[np.float64], left: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """(k,) ``size`` images in shares from Dir(``mix``), none beyond what is ``left`` (k,)."""
    taken = np.zeros_like(left)
    share = random.dirichlet(mix)
    while (missing := size - int(taken.sum())) > 0:
        room = left - taken
        live = room > 0
        share = np.where(live, share, 0.0)
        if share.sum() <= 0:
            # For a small alpha the other shares are too small to be told from 0. What is left of
            # a Dirichlet vector, scaled to sum to 1, is itself one over the keys that are left.
            share[live] = random.dirichlet(mix[live])
        taken += np.minimum(apportion(missing, share), room)
    return taken


def _runs(order: NDArray[np.int64], key: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """A line sorted by key, cut where the key changes."""
    return np.split(order, np.flatnonzero(np.diff(key[order])) + 1)
