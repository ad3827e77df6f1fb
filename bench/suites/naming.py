"""Names of a suite's scenarios: short, unique, safe as folders, made of what varies.

The keys that have more than one value in the suite stand in :data:`ORDER`; a key that ``grid`` does
not list is left out where it has the suite's default. Parameters are shown where they vary or are
not bench's default: ``fedavg-dirichlet-alpha0.3-u-ones``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import PurePath
from typing import Any

from bench.observations import COMPETITION, OBSERVATIONS
from bench.suites.choice import Choice
from bench.suites.fields import FIELDS, in_order
from bench.suites.policies import LabelPolicy, PerClient, PerSite, policy_sets
from bench.suites.scenario import FAMILIES, Scenario

LONGEST = 80
"""Characters; a folder name adds nine, and file systems allow 255 bytes."""
DIGITS = 8
"""Of a hash, where a name would be too long or is taken."""

FIRST = ("dataset", "backbone", "strategy", "partition", "label_policy")
ORDER = (*FIRST, *(key for key in FIELDS if key not in FIRST))
"""The keys as they follow each other in a name."""
_in_order = attrgetter(*ORDER)

_PREFIXES = {
    "image_size": "size",
    "batch_size": "batch",
    "local_epochs": "epochs",
    "local_steps": "steps",
    "evaluate_every": "every",
    "stop_at": "until",
    "dataset": "",
    "backbone": "",
    "label_policy": "",
    "observations": "",
    "pretrained": "",
}
"""What stands before the value, where it is not the key itself."""

_NONE = {"stragglers": "no-stragglers", "compression": "uncompressed"}
"""By key, what the choice ``none`` is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A scenario, and the keys that have no meaning in it, which no name shows."""

    scenario: Scenario
    without: Collection[str] = ()

    def values(self, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Those of its keys that mean something, with their values."""
        return ((k, getattr(self.scenario, k)) for k in keys if k not in self.without)


def names(
    rows: Sequence[Named],
    *,
    always: Collection[str],
    defaults: Mapping[str, Any],
    only: Collection[str] = (),
) -> list[str]:
    """A unique name for each scenario, equal whatever their order.

    ``always`` are the keys to show wherever they vary; ``defaults`` the suite's own values, which
    are left out of the other keys. Where ``only`` names keys, names are made of those alone, each
    shown wherever it varies, as long as that tells the scenarios apart.
    """
    columns = zip(*(_in_order(row.scenario) for row in rows), strict=True)
    distinct = {
        key: _distinct(v for v, row in zip(column, rows, strict=True) if key not in row.without)
        for key, column in zip(ORDER, columns, strict=False)
    }
    write = {key: _writer(key, values) for key, values in distinct.items() if len(values) > 1}

    def full(row: Named) -> str:
        return _safe("-".join(write[key](value) for key, value in row.values(write)))

    def short(row: Named) -> str:
        shown = (
            write[key](value)
            for key, value in row.values(write)
            if (key in only if only else key in always or value != defaults[key])
        )
        return _safe("-".join(shown)) or row.scenario.strategy.name

    made = [short(row) for row in rows]
    taken = _taken(made)
    made = [
        full(row) if name.lower() in taken else name for row, name in zip(rows, made, strict=True)
    ]
    taken = _taken(made)
    return [
        _hashed(name, row.scenario) if name.lower() in taken or len(name) > LONGEST else name
        for row, name in zip(rows, made, strict=True)
    ]


def _distinct(values: Iterable[Any]) -> set[Any]:
    """Many scenarios share one object, which then is hashed once."""
    return set({id(value): value for value in values}.values())


def _taken(made: list[str]) -> set[str]:
    """Names that several scenarios have, as file systems that ignore case see them."""
    return {name for name, n in Counter(name.lower() for name in made).items() if n > 1}


def _hashed(name: str, scenario: Scenario) -> str:
    short = name[: LONGEST - DIGITS - 1].rstrip("-.")
    return f"{short}-{scenario.identity('')[:DIGITS]}"


def _safe(name: str) -> str:
    """Letters, digits and ``. + _ -`` only, beginning and ending with a letter or digit."""
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9.+_-]", "-", name)).strip("-._+")


def _writer(key: str, values: Collection[Any]) -> Callable[[Any], str]:
    """From a value of ``key`` to its part of a name; ``values`` are all there are in the suite."""
    if key in FAMILIES:
        return _choice_writer(key, values)
    prefix = _PREFIXES.get(key, key)
    plain: dict[str, Callable[[Any], str]] = {
        "label_policy": _policies,
        "observations": _observations,
        "pretrained": _pretrained,
        "local_steps": lambda value: "none" if value is None else _scalar(value),
        "stop_at": lambda value: "never" if value is None else _scalar(value),
    }
    write = plain.get(key, _scalar)

    def written(value: Any) -> str:
        text = write(value)
        separator = "-" if prefix and not text[:1].isdigit() else ""
        return f"{prefix}{separator}{text}"

    return written


def _choice_writer(key: str, values: Collection[Choice]) -> Callable[[Choice], str]:
    seen: defaultdict[tuple[str, str], set[Any]] = defaultdict(set)
    for choice in values:
        for name, value in choice.parameters:
            seen[choice.name, name].add(value)
    family = FAMILIES[key]
    cache: dict[Choice, str] = {}

    def written(choice: Choice) -> str:
        if choice not in cache:
            unusual = family.without_defaults(choice)
            cache[choice] = "-".join(
                [_named(key, choice.name)]
                + [
                    _parameter(name, value)
                    for name, value in choice.parameters
                    if len(seen[choice.name, name]) > 1 or name in unusual
                ]
            )
        return cache[choice]

    return written


def _named(key: str, name: str) -> str:
    if name == "none":
        return _NONE[key]
    return f"stragglers-{name}" if key == "stragglers" else name


def _parameter(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"not-{name}"
    text = "_".join(map(_scalar, value)) if isinstance(value, tuple) else _scalar(value)
    return f"{name}{text}" if text[:1].isdigit() else f"{name}-{text}"


def _scalar(value: Any) -> str:
    if value is None:
        return "all"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _policies(value: LabelPolicy) -> str:
    if isinstance(value, PerClient | PerSite):
        return "+".join(map(_policies, dict.fromkeys(policy_sets(value))))
    distinct = {policy for _, policy in value}
    return distinct.pop() if len(distinct) == 1 else "per-observation" if distinct else ""


def _observations(value: tuple[str, ...]) -> str:
    if value == OBSERVATIONS:
        return "all"
    if value == in_order(COMPETITION):
        return "competition"
    return value[0].lower() if len(value) == 1 else f"{len(value)}-observations" if value else ""


def _pretrained(value: bool | str) -> str:
    if isinstance(value, str):
        return PurePath(value).stem
    return "pretrained" if value else "scratch"
