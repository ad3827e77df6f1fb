"""Tables as JSON: the rows' plain values, not the written cells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from bench.report.table import Table

MANY = 1000
"""Elements of a list that nobody reads by eye."""
SIMPLE = frozenset({type(None), bool, int, str})
"""Types whose values stand in JSON as they are."""


def write(tables: Sequence[Table]) -> str:
    """One table as its object; several as ``{"synthetic": …, "tables": […]}``."""
    if len(tables) == 1:
        return dump(as_object(tables[0]))
    synthetic = any(table.synthetic for table in tables)
    return dump({"synthetic": synthetic, "tables": [as_object(table) for table in tables]})


def as_object(table: Table) -> dict[str, Any]:
    """``title``, ``notes``, ``synthetic`` and ``rows``; every row has every column's key."""
    missing = {column.key: None for column in table.columns}
    return {
        "title": table.title,
        "notes": list(table.notes),
        "synthetic": table.synthetic,
        "rows": [missing | dict(row) for row in table.rows],
    }


def dump(value: Mapping[str, Any]) -> str:
    """Indented JSON that every reader accepts: NaN and infinities are null.

    A long list has an element a line, which Python writes four times as fast.
    """
    parts = [f"  {_text(str(key))}: {_block(inner)}" for key, inner in value.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _block(value: Any) -> str:
    """A value of the outermost object, two spaces in."""
    if isinstance(value, list) and len(value) > MANY:
        return "[\n    " + ",\n    ".join(map(_line, value)) + "\n  ]"
    return _text(plain(value), indent=2).replace("\n", "\n  ")


def _line(value: Any) -> str:
    """The value without a line break. Nearly all values are JSON's already and need no copy."""
    try:
        return _encode(value)
    except ValueError:  # NaN or an infinity
        return _encode(plain(value))


def _text(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """The value in JSON's types. Raises TypeError for what has no such form."""
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind is dict:
        return {str(k): v if type(v) in SIMPLE else plain(v) for k, v in value.items()}
    if kind is list:
        return [v if type(v) in SIMPLE else plain(v) for v in value]
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=plain).encode
