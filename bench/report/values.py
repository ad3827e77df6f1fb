"""Settings of a scenario in words, for tables and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SITES = "sites"
"""The key of label policies by site, see :mod:`bench.suites.policies`."""
FEW = 3
"""Elements of a list that a narrow cell names; of more it says how many there are."""


def setting_text(key: str, value: Any) -> str:
    """The value of a scenario's key, as :meth:`Scenario.row` has it, in words.

    ``dirichlet(alpha=0.3)``; a mapping with one value throughout is that; None is the word that a
    suite has for it under that key, such as ``all`` or ``never``.
    """
    return _word_for_none(key) if value is None else value_text(value)


def short_setting(key: str, value: Any) -> str:
    """The same for a narrow cell: long lists are counted, and mixed mappings only named so."""
    if isinstance(value, Mapping) and SITES in value:
        return "per site"
    if isinstance(value, Mapping) and "name" not in value and len(_distinct(value)) > 1:
        return "per observation"
    if isinstance(value, list | tuple) and len(value) > FEW:
        return f"{len(value)} of them"
    if isinstance(value, list | tuple) and value:
        return ", ".join(short_setting(key, one) for one in value)
    return setting_text(key, value)


def column_settings(key: str, values: Sequence[Any]) -> list[str]:
    """:func:`short_setting` of every value of a column.

    Of strategies, optimisers and other choices by name a cell has the parameters that vary among
    the column's choices of that name or are not bench's default.
    """
    from bench.suites.scenario import FAMILIES

    if key not in FAMILIES:
        return [short_setting(key, value) for value in values]
    first: dict[tuple[str, str], Any] = {}
    usual = {
        (variant.name, parameter.name): parameter.default
        for variant in FAMILIES[key].variants
        for parameter in variant.parameters
    }
    varying = {
        (value["name"], name)
        for value in values
        for name, inner in value.items()
        if first.setdefault((value["name"], name), inner) != inner
    }

    def telling(choice: str, name: str, inner: Any) -> bool:
        place = choice, name
        return name == "name" or place in varying or inner != usual.get(place, inner)

    return [
        value_text({k: v for k, v in value.items() if telling(value["name"], k, v)})
        for value in values
    ]


def value_text(value: Any) -> str:
    """A value in words, whatever key it stands under."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        if "name" in value:
            inner = ", ".join(f"{k}={value_text(v)}" for k, v in value.items() if k != "name")
            return f"{value['name']}({inner})" if inner else str(value["name"])
        if SITES in value:
            return value_text(value[SITES])
        distinct = _distinct(value)
        if len(distinct) == 1:
            return distinct[0]
        return ", ".join(f"{k}: {_inner(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_inner, value)) or "none"
    return str(value)


def _inner(value: Any) -> str:
    """A value among others: what has commas of its own stands in braces."""
    mixed = isinstance(value, Mapping) and "name" not in value and len(_distinct(value)) > 1
    return f"{{{value_text(value)}}}" if mixed else value_text(value)


def _distinct(value: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(map(_inner, value.values())))


def _word_for_none(key: str) -> str:
    from bench.suites.fields import FIELDS
    from bench.suites.kinds import Constant, Either

    kind = FIELDS[key].kind if key in FIELDS else None
    for one in kind.kinds if isinstance(kind, Either) else ():
        if isinstance(one, Constant) and one.value is None:
            return one.word
    return value_text(None)
