"""A scenario: one flat, frozen row that says everything that decides a run's numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import Any

from bench.suites.catalog import COMPRESSIONS, OPTIMIZERS, PARTITIONS, STRAGGLERS, STRATEGIES
from bench.suites.choice import Choice
from bench.suites.family import Family
from bench.suites.policies import LabelPolicy, policy_from_row, policy_row

SEMANTICS = 1
"""Raised when the same row would train differently; part of every scenario's identity."""

FAMILIES: dict[str, Family] = {
    "strategy": STRATEGIES,
    "partition": PARTITIONS,
    "optimizer": OPTIMIZERS,
    "stragglers": STRAGGLERS,
    "compression": COMPRESSIONS,
}
"""The fields that are a :class:`Choice`, and what can be chosen."""

IMPLIED: dict[str, dict[str, Any]] = {"dpfedavg": {"sampling": "poisson"}}
"""By strategy, the fields it leaves no choice about: there this is as good as a default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. Every field is a key of a suite's ``defaults``, ``grid`` and ``include``."""

    dataset: str = "chexpert"
    """``chexpert`` (a CheXpert tree) or ``mnist`` (idx files)."""
    observations: tuple[str, ...] = ()
    """The observations trained on, in ``train.csv`` order; empty for ``mnist``."""
    label_policy: LabelPolicy = ()
    """(observation, policy) for every observation trained on; or such pairs by client or site."""
    backbone: str = "densenet121"
    """Any timm model, or ``densenet-tiny``, ``2nn`` and ``mcmahan-cnn``."""
    pretrained: bool | str = False
    """False, True (timm's hub) or the path of a local safetensors file."""
    image_size: int = 320
    """Side of the square network input, pixels."""
    augment: str = "none"
    """``none``, ``flip``, ``shift`` or ``flip+shift``, drawn on the device."""
    strategy: Choice = field(default=STRATEGIES.read("fedavg"))
    clients: int = 5
    partition: Choice = field(default=PARTITIONS.read("iid"))
    fraction: float = 1.0
    """C of McMahan et al. 2017: max(round(C·K), 1) clients train in a round."""
    sampling: str = "uniform"
    """``uniform``, ``size`` or ``poisson``: how the round's clients are drawn."""
    dropout: float = 0.0
    """The probability with which a client that was drawn never reports."""
    stragglers: Choice = field(default=STRAGGLERS.read("none"))
    """The clients that run out of time, and what becomes of their work."""
    weights: str = "samples"
    """``samples``, ``uniform`` or ``steps``: how much a client counts in the mean."""
    rounds: int = 10
    local_epochs: int = 1
    """E of McMahan et al. 2017."""
    local_steps: int | None = None
    """Updates of a client in a round, in place of ``local_epochs``; None (written ``none``) where
    those count."""
    batch_size: int | None = 16
    """B of McMahan et al. 2017; None (written ``all``) is the client's whole data."""
    optimizer: Choice = field(default=OPTIMIZERS.read("adam"))
    """The local optimiser with its parameters."""
    buffers: str = "average"
    """``average``, ``local``, ``frozen``, ``recalibrate`` or ``groupnorm``."""
    compression: Choice = field(default=COMPRESSIONS.read("none"))
    """Of what clients send."""
    precision: str = "auto"
    """``fp32``, ``bf16`` or ``auto``: bf16 where the device computes it natively."""
    compile: bool | str = "auto"
    """Whether ``torch.compile`` makes the network; ``auto`` for long runs on a GPU."""
    views: str = "max"
    """How a study's views are combined: ``max``, ``mean`` or ``frontal``."""
    evaluate_every: int = 1
    """Rounds between evaluations; the last round is always evaluated."""
    stop_at: float | None = None
    """Training ends after the round that reaches this; None (written ``never``) trains them all."""
    seed: int = 0

    def row(self) -> dict[str, Any]:
        """The scenario as JSON-able values, every field present, as run.json keeps it."""
        return {k: v if type(v) in PLAIN else plain(k, v) for k, v in self.items()}

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every field's name and value."""
        return zip(KEYS, _values(self), strict=True)

    def identity(self, data_digest: str) -> str:
        """16 hex digits: the canonical row, ``SEMANTICS`` and the data's digest, hashed.

        A field or parameter that holds its default is left out, so one added later, with a default
        that keeps today's behaviour, does not rename yesterday's runs.
        """
        usual = _defaults() | IMPLIED.get(self.strategy.name, {})
        row = {
            key: FAMILIES[key].without_defaults(value) if key in FAMILIES else plain(key, value)
            for key, value in self.items()
            if value is not usual[key] and value != usual[key]
        }
        payload = {"scenario": row, "semantics": SEMANTICS, "data": data_digest}
        return hashlib.sha256(_canonical(payload).encode()).hexdigest()[:16]

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Scenario:
        """The inverse of :meth:`row`; for rows read back from run.json."""
        strategy = row.get("strategy", {}).get("name")
        values = {**IMPLIED.get(strategy, {}), **row}
        for key in FAMILIES:
            if key in values:
                choice = dict(values[key])
                name = choice.pop("name")
                pairs = ((k, tuple(v) if isinstance(v, list) else v) for k, v in choice.items())
                values[key] = Choice(name, tuple(sorted(pairs)))
        if "label_policy" in values:
            values["label_policy"] = policy_from_row(values["label_policy"])
        if "observations" in values:
            values["observations"] = tuple(values["observations"])
        return Scenario(**values)


KEYS = tuple(f.name for f in fields(Scenario))
PLAIN = frozenset({str, int, float, bool, type(None)})
"""The types of values that JSON has as they are."""
_values = attrgetter(*KEYS)
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def plain(key: str, value: Any) -> Any:
    """The value of that key as JSON has it."""
    if isinstance(value, Choice):
        return value.row()
    if key == "label_policy":
        return policy_row(value)
    return list(value) if isinstance(value, tuple) else value


@cache
def _defaults() -> dict[str, Any]:
    return dict(Scenario().items())
