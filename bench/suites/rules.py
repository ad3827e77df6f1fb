"""What holds between the keys of a scenario: combinations refused, and keys without a meaning.

A key that means nothing in a scenario is set to one fixed value, so that it cannot make two runs
of one experiment: a centralised run has no clients, however many its suite asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bench.suites.client_rules import Fixed, Values, settle_clients, without_rounds
from bench.suites.kinds import Mismatch
from bench.suites.policies import resolve_policies, settle_policies, trains_twice
from bench.suites.scenario import FAMILIES, Scenario

_IID = FAMILIES["partition"].read("iid")


def settle(values: Mapping[str, Any]) -> tuple[Scenario, dict[str, str]]:
    """The scenario of canonical values, one for every key of a scenario.

    Returns it with, by key, the reason why that key has no meaning in it. Raises Mismatch whose
    path begins with the key that is at fault.
    """
    settled = dict(values)
    fixed: Fixed = {}
    if settled["dataset"] == "mnist":
        fixed |= _mnist(settled)
        settled |= {key: value for key, (value, _) in fixed.items()}
    else:
        try:
            settled["label_policy"] = resolve_policies(
                settled["label_policy"], settled["observations"]
            )
        except Mismatch as bad:
            raise bad.under("label_policy") from None
    for rule in (STRATEGY_RULES.get(settled["strategy"].name, _none), settle_clients):
        found = rule(settled)
        settled |= {key: value for key, (value, _) in found.items()}
        fixed |= found
    try:
        settled["label_policy"] = settle_policies(settled["label_policy"], settled)
    except Mismatch as bad:
        raise bad.under("label_policy") from None
    _check_partition(settled)
    _check_optimizer(settled)
    _check_stop(settled)
    return Scenario(**settled), {key: why for key, (_, why) in fixed.items()}


def _mnist(values: Values) -> Fixed:
    partition = values["partition"]
    if partition.name in ("attribute", "uncertainty", "natural"):
        raise Mismatch(
            what=f"the partition '{partition.name}' needs what MNIST does not have",
            expected="iid, shards, pathological, dirichlet, prevalence or quantity",
            found=f"partition: {partition}",
            mend="choose one of these, or 'dataset: chexpert'",
            path=("partition",),
        )
    why = "mnist has no observations and no views"
    return {"observations": ((), why), "label_policy": ((), why), "views": ("max", why)}


def _none(values: Values) -> Fixed:
    return {}


def _centralized(values: Values) -> Fixed:
    why = "centralized has no clients"
    own = {"clients": (1, why), "partition": (_IID, why), "fraction": (1.0, why)}
    return own | without_rounds(why) | _unshared_buffers(values)


def _local(values: Values) -> Fixed:
    why = "local trains every client in every round"
    return {"fraction": (1.0, why)} | without_rounds(why) | _unshared_buffers(values)


def _unshared_buffers(values: Values) -> Fixed:
    if values["buffers"] not in ("average", "local"):
        return {}
    return {"buffers": ("average", "nothing is shared, so average and local are the same")}


def _fedsgd(values: Values) -> Fixed:
    _needs_sgd(values, "fedsgd takes one gradient step a round")
    why = "fedsgd is one step a round on all of a client's data"
    return {"local_epochs": (1, why), "batch_size": (None, why)}


def _fedbn(values: Values) -> Fixed:
    if values["buffers"] not in ("average", "local"):
        raise Mismatch(
            what="fedbn keeps each client's batch normalisation local",
            expected="'buffers: local', or no 'buffers' at all",
            found=f"buffers: {values['buffers']}",
            mend="choose the strategy fedavg to go with these buffers",
            path=("buffers",),
        )
    return {"buffers": ("local", "fedbn keeps batch normalisation local")}


def _scaffold(values: Values) -> Fixed:
    if values["strategy"]["option"] == 2:
        _needs_sgd(values, "scaffold's option 2 reads control variates off plain SGD steps")
    return {}


def _krum(values: Values) -> Fixed:
    hostile, multi = values["strategy"]["byzantine"], values["strategy"]["multi"]
    chosen = max(math.floor(values["fraction"] * values["clients"] + 0.5), 1)
    if chosen < 2 * hostile + 3:
        raise Mismatch(
            what="krum has too few clients in a round to outvote the hostile ones",
            expected=f"2·byzantine + 3 = {2 * hostile + 3} clients at least (Blanchard et al. "
            "2017, Proposition 1)",
            found=f"{chosen} of {values['clients']} clients a round",
            mend="raise clients or fraction, or lower byzantine",
            path=("strategy",),
        )
    if multi > chosen:
        raise Mismatch(
            what="krum cannot average more updates than there are in a round",
            expected=f"multi at most {chosen}",
            found=f"multi: {multi}",
            mend="lower multi, or raise clients or fraction",
            path=("strategy",),
        )
    return {}


STRATEGY_RULES: dict[str, Callable[[Values], Fixed]] = {
    "centralized": _centralized,
    "local": _local,
    "fedsgd": _fedsgd,
    "fedbn": _fedbn,
    "scaffold": _scaffold,
    "krum": _krum,
}
"""What each strategy asks of the other keys, and which of them it leaves without a meaning."""


def _needs_sgd(values: Values, reason: str) -> None:
    optimizer = values["optimizer"]
    if optimizer.name != "sgd" or optimizer["momentum"]:
        raise Mismatch(
            what=f"{reason}, and the optimizer is another",
            expected="{name: sgd, lr: …} without momentum",
            found=str(optimizer),
            mend="-s 'optimizer={name: sgd, lr: 0.01}', or another strategy",
            path=("optimizer",),
        )


def _check_partition(values: Values) -> None:
    partition = values["partition"]
    if partition.name == "quantity" and partition["law"] == "explicit":
        sizes = partition["sizes"]
        if len(sizes) != values["clients"]:
            raise Mismatch(
                what="explicit sizes are one a client",
                expected=f"{values['clients']} sizes",
                found=f"{len(sizes)} sizes",
                mend=f"set 'clients: {len(sizes)}', or give {values['clients']} sizes",
                path=("partition",),
            )


def _check_optimizer(values: Values) -> None:
    optimizer = values["optimizer"]
    if optimizer.name == "sgd" and optimizer["nesterov"] and not optimizer["momentum"]:
        raise Mismatch(
            what="Nesterov's momentum needs a momentum",
            expected="momentum above 0",
            found="momentum: 0",
            mend="add 'momentum: 0.9', or leave nesterov out",
            path=("optimizer",),
        )


def _check_stop(values: Values) -> None:
    if values["stop_at"] is not None and trains_twice(values["label_policy"]):
        raise Mismatch(
            what="stop_at cannot be used with u-selftrained, which trains twice",
            expected="stop_at: never",
            found=f"stop_at: {values['stop_at']}",
            mend="leave stop_at out, or choose another label policy",
            path=("stop_at",),
        )
