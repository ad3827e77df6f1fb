"""Whether a scenario has a value: what ``exclude`` rows and ``-k key=value`` ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.errors import did_you_mean
from bench.suites.choice import Choice
from bench.suites.family import Family
from bench.suites.fields import canonical, find
from bench.suites.kinds import Mismatch
from bench.suites.policies import (
    OTHERS,
    LabelPolicies,
    LabelPolicy,
    PerClient,
    PerSite,
    Policies,
    policy_sets,
)
from bench.suites.wording import enumerated

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
    if not given:
        raise Mismatch(expected=family.words(), found="a mapping with nothing in it")
    candidates = family.variants
    if "name" in given:
        variant, given = family.named(wanted)
        variant.check_names(given)
        candidates = (variant,)
    plain: dict[str, Any] = {}
    for part, raw in given.items():
        parameters = [p for v in candidates if (p := v.parameter(part)) is not None]
        if not parameters:
            known = list(family.parts())
            raise Mismatch(
                what=f"no {family.noun} has a parameter '{part}'",
                expected=enumerated(known),
                mend=did_you_mean(part, known),
                path=(part,),
                on_key=True,
            )
        plain[part] = _first_read(parameters, part, raw)

    names = {variant.name for variant in candidates}

    def test(found: Choice) -> bool:
        if found.name not in names:
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
    """What is wanted of everybody has to hold for each client; a list, or a mapping from sites,
    asks for clients that each have their own."""
    read = kind.read(wanted)

    def test(found: LabelPolicy) -> bool:
        have = policy_sets(found)
        if isinstance(read, PerClient):
            alike = isinstance(found, PerClient) and len(have) == len(read.entries)
            return alike and all(map(_holds, read.entries, have))
        if isinstance(read, PerSite):
            own = dict(found.entries) if isinstance(found, PerSite) else {}
            return all(site in own and _holds(one, own[site]) for site, one in read.entries)
        return all(_holds(read, one) for one in have)

    return test


def _holds(wanted: Policies, found: Policies) -> bool:
    """Whether every observation has the policy that it is named with, or that of the others."""
    named = dict(wanted)
    given = [n for n in named if n != OTHERS]
    have = dict(found)
    return (
        bool(have)
        and all(have.get(name, have.get(OTHERS)) == named[name] for name in given)
        and all(p == named[OTHERS] for n, p in found if OTHERS in named and n not in given)
    )
