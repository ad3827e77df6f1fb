"""What holds between the keys that say which clients take part in a round, and what they do.

Combinations that have no sensible meaning are refused; a key without a meaning beside the others is
set to one value (see :mod:`bench.suites.rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.suites.kinds import Mismatch
from bench.suites.scenario import FAMILIES, Scenario

Values = dict[str, Any]
Fixed = dict[str, tuple[Any, str]]
"""By key, the value it is set to and why."""

_NO_STRAGGLERS = FAMILIES["stragglers"].read("none")
_NO_COMPRESSION = FAMILIES["compression"].read("none")
_UNCOMPRESSED = {
    "scaffold": "scaffold's clients send a control variate beside their model",
    "dpfedavg": "dpfedavg bounds the size of what clients send",
}
"""By strategy, why what its clients send is not compressed."""

CLIENT_KEYS = ("sampling", "dropout", "stragglers", "weights", "local_steps", "compression")
"""The keys that say which clients take part and what they do, beside how many there are."""


def all_plain(row: Mapping[str, Any]) -> bool:
    """Whether a scenario, as a row, leaves :data:`CLIENT_KEYS` as McMahan et al. 2017 have them.

    Rows of runs that are older than a key do not have it.
    """
    plain = Scenario().row()
    return all(row.get(key, plain[key]) == plain[key] for key in CLIENT_KEYS)


def without_rounds(why: str) -> Fixed:
    """Nobody is drawn, nobody reports and nothing is averaged."""
    return {
        "sampling": ("uniform", why),
        "dropout": (0.0, why),
        "stragglers": (_NO_STRAGGLERS, why),
        "weights": ("samples", why),
        "compression": (_NO_COMPRESSION, why),
    }


def settle_clients(values: Values) -> Fixed:
    """The keys without a meaning; raises Mismatch whose path begins with the key at fault."""
    strategy = values["strategy"].name
    fixed = _one_step(values) if strategy == "fedsgd" else _local_work(values)
    if strategy not in ("centralized", "local"):
        fixed |= _sampling(values)
    if strategy == "krum":
        _as_many_each_round(values)
    if strategy in _UNCOMPRESSED and values["compression"] != _NO_COMPRESSION:
        raise Mismatch(
            what=f"{_UNCOMPRESSED[strategy]}, which cannot be compressed",
            expected="compression: none",
            found=f"compression: {values['compression']}",
            mend="leave compression out, or choose another strategy",
            path=("compression",),
        )
    return fixed


def _one_step(values: Values) -> Fixed:
    if values["stragglers"].name == "partial":
        raise Mismatch(
            what="fedsgd's stragglers have a single step to make, which has no part",
            expected="{name: dropped, share: …}, or none",
            found=str(values["stragglers"]),
            mend="drop the stragglers, or choose the strategy fedavg",
            path=("stragglers",),
        )
    return {"local_steps": (None, "fedsgd is one step a round on all of a client's data")}


def _local_work(values: Values) -> Fixed:
    if values["local_steps"] is None:
        return {}
    return {"local_epochs": (1, "local_steps takes its place")}


def _sampling(values: Values) -> Fixed:
    private = values["strategy"].name == "dpfedavg"
    if private and values["sampling"] == "size":
        raise Mismatch(
            what="dpfedavg's privacy is accounted for Poisson sampling",
            expected="sampling: poisson, or no 'sampling' at all",
            found="sampling: size",
            mend="leave sampling out",
            path=("sampling",),
        )
    if private:
        return {"sampling": ("poisson", "dpfedavg's privacy is accounted for Poisson sampling")}
    if values["sampling"] == "poisson" and values["fraction"] == 0.0:
        raise Mismatch(
            what="Poisson sampling draws nobody with 'fraction: 0'",
            expected="a fraction above 0: the probability with which a client is drawn",
            found="fraction: 0",
            mend="raise fraction, or sample 'uniform', which then draws one client",
            path=("fraction",),
        )
    if values["fraction"] == 1.0:
        return {"sampling": ("uniform", "every client is drawn in every round")}
    return {}


def _as_many_each_round(values: Values) -> None:
    """Krum outvotes a number of hostile clients that depends on how many report."""
    varied = {
        "sampling": values["sampling"] == "poisson" and values["fraction"] < 1.0,
        "dropout": values["dropout"] > 0.0,
        "stragglers": values["stragglers"].name == "dropped",
    }
    for key, does in varied.items():
        if does:
            raise Mismatch(
                what="krum needs as many clients to report in every round",
                expected=f"another '{key}', or median or trimmed_mean in krum's place",
                found=f"{key}: {values[key]}",
                mend=f"leave {key} out, or choose one of those strategies",
                path=(key,),
            )
