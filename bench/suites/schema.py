"""The JSON Schema (draft 2020-12) of a suite file, made from the declarations that check it.

Editors that know JSON Schema complete and check a suite by its first line,
``# yaml-language-server: $schema=schema.json``. The schema knows each key by itself; what must hold
between keys (see :mod:`bench.suites.rules`) is checked when the suite is read.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from bench.suites.family import Family
from bench.suites.fields import FIELDS, Composite
from bench.suites.gates import GatesBlock
from bench.suites.suite import NAME_PATTERN, PHANTOM_PROFILE, SuiteFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def suite_schema() -> dict[str, Any]:
    """The schema as plain values."""
    _, gates = models_json_schema([(GatesBlock, "validation")], ref_template="#/$defs/{model}")
    keys = {name: field.schema() for name, field in FIELDS.items()} | _dotted()
    row: dict[str, Any] = {
        "type": "object",
        "properties": _references(keys),
        "additionalProperties": False,
    }
    grid = {
        "type": "object",
        "properties": {
            key: {"type": "array", "items": reference, "minItems": 1}
            for key, reference in _references(keys).items()
        },
        "additionalProperties": False,
    }
    include = row | {"properties": row["properties"] | {"grid": _reference("grid")}}
    definitions = {f"key {key}": schema for key, schema in keys.items()}
    definitions |= {"row": row, "grid": grid, "include row": include, "exclude row": _exclude()}
    properties = _properties()
    assert list(properties) == list(SuiteFile.model_fields)
    return {
        "$schema": DIALECT,
        "title": "A suite of bench",
        "description": "Which scenarios to run: defaults × grid + include − exclude.",
        "type": "object",
        "properties": properties,
        "required": ["suite"],
        "additionalProperties": False,
        "$defs": definitions | gates["$defs"],
    }


def schema_text() -> str:
    """The schema as ``bench schema`` prints it and ``suites/schema.json`` keeps it."""
    return json.dumps(suite_schema(), indent=1, ensure_ascii=False) + "\n"


def _properties() -> dict[str, Any]:
    """The keys at the top of a suite."""
    return {
        "suite": {
            "description": "The suite's name, which is also its folder in the results.",
            "type": "string",
            "pattern": f"^{NAME_PATTERN}$",
            "maxLength": 60,
        },
        "description": {"description": "What it is for, in a sentence.", "type": "string"},
        "defaults": _described("row", "What every scenario is, unless said otherwise."),
        "grid": _described("grid", "Lists of values; every combination is a scenario."),
        "include": {
            "description": "One scenario more for each row, laid over the defaults.",
            "type": "array",
            "items": _described("include row", "Values that differ from the defaults."),
        },
        "exclude": {
            "description": "Scenarios that have all the values of a row are left out.",
            "type": "array",
            "items": _described("exclude row", "Values to look for."),
        },
        "names": {
            "description": "The keys that scenarios' names are made of; without it, all that vary.",
            "type": "array",
            "items": {"enum": list(FIELDS)},
        },
        "profiles": {
            "description": "Values laid over the defaults where they apply: 'phantom' where the "
            "data is synthetic.",
            "type": "object",
            "properties": {PHANTOM_PROFILE: _reference("row")},
            "additionalProperties": False,
        },
        "gates": _described("GatesBlock", "What bench check holds the suite's runs to."),
    }


def _dotted() -> dict[str, dict[str, Any]]:
    """``strategy.mu`` and its like."""
    return {
        f"{name}.{part}": schema
        for name, field in FIELDS.items()
        if isinstance(field.kind, Composite)
        for part, schema in field.kind.parts().items()
    }


def _exclude() -> dict[str, Any]:
    """Rows to look for: a choice may be named by any of its parameters alone."""
    partial = {
        name: {"anyOf": [_reference(f"key {name}"), _part_of(field.kind)]}
        for name, field in FIELDS.items()
        if isinstance(field.kind, Family)
    }
    keys = [*FIELDS, *_dotted()]
    return {
        "type": "object",
        "properties": {key: _reference(f"key {key}") for key in keys} | partial,
        "additionalProperties": False,
        "minProperties": 1,
    }


def _part_of(family: Family) -> dict[str, Any]:
    """Any of a choice's parameters, with its name or without."""
    return {
        "type": "object",
        "properties": {"name": {"enum": list(family.names)}} | family.parts(),
        "additionalProperties": False,
        "minProperties": 1,
    }


def _references(keys: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: _reference(f"key {key}") for key in keys}


def _reference(definition: str) -> dict[str, Any]:
    """A reference; ``%``, ``~``, ``/`` and spaces are written as a URI's fragment asks."""
    pointer = definition.replace("~", "~0").replace("/", "~1").replace(" ", "%20")
    return {"$ref": f"#/$defs/{pointer}"}


def _described(definition: str, text: str) -> dict[str, Any]:
    return {"description": text} | _reference(definition)
