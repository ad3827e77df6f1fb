"""Whether a scenario has a value: what ``exclude`` rows and ``-k key=value`` ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.suites.choice import Choice
from bench.suites.family import Family
from bench.suites.fields import OTHERS, LabelPolicies, canonical, find
from bench.suites.kinds import Mismatch

Test = Callable[[Any], bool]
"""From a key's canonical value to whether it is what is looked for."""


def matcher(key: str, wanted: Any) -> tuple[str, Test]:
    """The key of a scenario that ``key`` (or ``key.part``) looks at, and the test of its value.

    A strategy, partition or optimiser matches by name alone, or by the parameters that are named;
    a label policy by one policy that every observation has, or by those that are named; everything
    else by equality. Raises Mismatch where nothing could ever match.
    """
    field, part = find(key)
    if part is not None:
        wanted = {part: wanted}
    if isinstance(field.kind, Family):
        return field.name, _family(field.kind, wanted)
    if isinstance(field.kind, LabelPolicies):
        return field.name, _policies(field.kind, wanted)
    value = canonical(field, wanted)
    return field.name, lambda found: found == value


def _family(family: Family, wanted: Any) -> Test:
    given = family.written_out(wanted)
    name = given.pop("name", None)
    if name is not None and name not in family.by_name:
        family.read(name)  # raises, naming what there is
    candidates = [v for v in family.variants if name in (None, v.name)]
    plain: dict[str, Any] = {}
    for part, raw in given.items():
        parameters = [p for v in candidates if (p := v.parameter(part)) is not None]
        if not parameters:
            family.by_name[candidates[0].name].choice(given)  # raises, naming what there is
        plain[part] = _first_read(parameters, part, raw)

    def test(found: Choice) -> bool:
        if name is not None and found.name != name:
            return False
        have = dict(found.parameters)
        return all(part in have and have[part] == value for part, value in plain.items())

    return test


def _first_read(parameters: list[Any], part: str, raw: Any) -> Any:
    """The value as the first parameter that takes it reads it."""
    problem: Mismatch | None = None
    for parameter in parameters:
        try:
            return parameter.kind.read(raw)
        except Mismatch as bad:
            problem = problem or bad.under(part)
    assert problem is not None
    raise problem


def _policies(kind: LabelPolicies, wanted: Any) -> Test:
    if not isinstance(wanted, dict):
        ((_, policy),) = kind.read(wanted)
        return lambda found: bool(found) and all(p == policy for _, p in found)
    named = dict(kind.read(wanted))

    def test(found: tuple[tuple[str, str], ...]) -> bool:
        have = dict(found)
        return all(have.get(n, have.get(OTHERS)) == policy for n, policy in named.items())

    return test
