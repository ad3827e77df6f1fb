"""``-s key=value``: values from the command line, which win over everything in a suite."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import SuiteError
from bench.suites.document import read
from bench.suites.layers import Cell, Layer, OnCommandLine, Patch, entry, layer


def override_layer(texts: Sequence[str]) -> Layer:
    """The overrides as one layer; of two for the same key the later counts.

    The value is YAML: ``rounds=3``, ``optimizer.lr=1e-3``, ``strategy=local``,
    ``partition={name: dirichlet, alpha: 0.3}``. Raises SuiteError.
    """
    return layer([_override(text) for text in texts])


def _override(text: str) -> Cell | Patch:
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise SuiteError(
            "an override is not what it must be",
            where=f"-s {text}",
            expected="key=value, such as rounds=3 or optimizer.lr=1e-3",
        )
    try:
        raw = read(value, "").data
    except SuiteError as bad:
        raise SuiteError(
            f"the value of an override cannot be read: {bad.what}",
            where=f"-s {text}",
            expected=bad.expected,
            found=bad.found,
            mend=bad.mend or "put the whole override in quotes",
        ) from None
    return entry(key.strip(), raw, OnCommandLine(text), f"-s {text}")
