"""What ``run.json`` and ``rounds.jsonl`` have to hold, so that no reader stumbles later."""

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

ROUND: dict[str, Kind] = {
    "round": int,
    "seconds": NUMBER,
    "examples": int,
    "bytes_up": int,
    "bytes_down": int,
}
"""One line of the log, as far as its readers rely on it."""

MEASURED: dict[str, Kind] = {
    "loss": NUMBER,
    "images_per_second": NUMBER,
    "yardstick": NUMBER,
    "mean_auroc": NUMBER,
    "accuracy": NUMBER,
    "auroc": dict,
}
"""What a line may have as well; null where it was not measured or is undefined."""

OBJECTS = {"environment": ("machine", "versions"), "": ("error",)}
"""What may be left out or null, and else is an object."""


def check(path: Path, document: Mapping[str, Any]) -> None:
    """Raises ResultsError, naming the key, where a part of a run is not what its readers expect."""
    _keys(path, "data", document["data"], DATA)
    for place, keys in OBJECTS.items():
        for key in keys:
            value = (document[place] if place else document).get(key)
            if not isinstance(value, (dict, type(None))):
                raise wrong(path, f"{place}.{key}".strip("."), "an object or null", value)
    for split, block in document["metrics"].items():
        place = f"metrics.{split}"
        _keys(path, place, block, BLOCK)
        _share(path, f"{place}.mean_auroc", block["mean_auroc"])
        _interval(path, f"{place}.mean_ci", block["mean_ci"])
        for name, entry in block["observations"].items():
            _keys(path, f"{place}.observations.{name}", entry, ENTRY)
            _share(path, f"{place}.observations.{name}.auroc", entry["auroc"])
            _interval(path, f"{place}.observations.{name}.ci", entry["ci"])
    if document["status"] == "done":
        _keys(path, "totals", document["totals"], TOTALS)
        judged = judged_split(document["scenario"])
        if judged not in document["metrics"]:
            raise wrong(path, f"metrics.{judged}", "the scores of a finished run", None)


def judged_split(scenario: Mapping[str, Any]) -> str:
    """The split that every finished run of the scenario's row is scored on, and is judged by."""
    return "test" if scenario.get("dataset") == "mnist" else "valid"


def _keys(path: Path, place: str, value: Any, kinds: Mapping[str, Kind]) -> None:
    if not isinstance(value, dict):
        raise wrong(path, place, "an object", value)
    for key, kind in kinds.items():
        if key not in value or not isinstance(value[key], kind):
            raise wrong(path, f"{place}.{key}", _words(kind), value.get(key))


def refuse_constant(name: str) -> None:
    """For ``json.loads``: NaN and infinity are no JSON, and would pass every comparison unseen."""
    raise ValueError(f"{name} is not JSON")


def flaw_of_round(record: Any) -> str | None:
    """What a line of the log, read from JSON, is not, else None."""
    if not isinstance(record, dict):
        return "a JSON object"
    for key, kind in ROUND.items():
        if not isinstance(record.get(key), kind):
            return f'{_words(kind)} under "{key}"'
    for key, kind in MEASURED.items():
        if record.get(key) is not None and not isinstance(record[key], kind):
            return f'{_words(kind)} or nothing under "{key}"'
    return None


def _share(path: Path, place: str, value: float | None) -> None:
    """NaN is in no range, so it is refused as well."""
    if value is not None and not 0.0 <= value <= 1.0:
        raise wrong(path, place, "a number from 0 to 1, or null", value)


def _interval(path: Path, place: str, value: Any) -> None:
    if value is not None and not (
        len(value) == 2
        and all(isinstance(bound, (int, float)) for bound in value)
        and 0.0 <= value[0] <= value[1] <= 1.0
    ):
        raise wrong(path, place, "two numbers from 0 to 1, the lower first, or null", value)


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
