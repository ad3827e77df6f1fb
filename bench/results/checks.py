"""What ``run.json`` has to hold beyond its keys, so that no reader of it stumbles later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import ResultsError

Kind = type | tuple[type, ...]
NUMBER: Kind = (int, float)
MAYBE: Kind = (int, float, type(None))
PAIR: Kind = (list, type(None))

BLOCK: dict[str, Kind] = {
    "level": str,
    "views": (str, type(None)),
    "n": int,
    "members": int,
    "observations": dict,
    "mean_auroc": MAYBE,
    "mean_ci": PAIR,
    "mean_over": list,
}
"""One split's metrics."""

ENTRY: dict[str, Kind] = {
    "auroc": MAYBE,
    "ci": PAIR,
    "positives": int,
    "n": int,
    "undefined": (str, type(None)),
    "unreliable": bool,
}
"""One observation's."""

TOTALS: dict[str, Kind] = {
    "seconds": NUMBER,
    "examples": int,
    "images_per_second": MAYBE,
    "bytes_up": int,
    "bytes_down": int,
}

DATA: dict[str, Kind] = {"name": str, "digest": str, "synthetic": bool}


def check(path: Path, document: Mapping[str, Any]) -> None:
    """Raises ResultsError, naming the key, where a part of a run is not what its readers expect."""
    _keys(path, "data", document["data"], DATA)
    for split, block in document["metrics"].items():
        place = f"metrics.{split}"
        _keys(path, place, block, BLOCK)
        _interval(path, f"{place}.mean_ci", block["mean_ci"])
        for name, entry in block["observations"].items():
            _keys(path, f"{place}.observations.{name}", entry, ENTRY)
            _interval(path, f"{place}.observations.{name}.ci", entry["ci"])
    if document["status"] == "done":
        _keys(path, "totals", document["totals"], TOTALS)
        judged = "test" if document["scenario"].get("dataset") == "mnist" else "valid"
        if judged not in document["metrics"]:
            raise wrong(path, f"metrics.{judged}", "the scores of a finished run", None)


def _keys(path: Path, place: str, value: Any, kinds: Mapping[str, Kind]) -> None:
    if not isinstance(value, dict):
        raise wrong(path, place, "an object", value)
    for key, kind in kinds.items():
        if key not in value or not isinstance(value[key], kind):
            raise wrong(path, f"{place}.{key}", _words(kind), value.get(key))


def _interval(path: Path, place: str, value: Any) -> None:
    if value is not None and not (
        len(value) == 2 and all(isinstance(bound, (int, float)) for bound in value)
    ):
        raise wrong(path, place, "two numbers or null", value)


def wrong(path: Path, key: str, expected: str, found: Any) -> ResultsError:
    """The key is missing or holds something else."""
    return ResultsError(
        f"the key '{key}' is missing or of the wrong kind",
        where=path,
        expected=expected,
        found=repr(found)[:80],
        mend="run the scenario again with --fresh",
    )


def _words(kind: Kind) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
