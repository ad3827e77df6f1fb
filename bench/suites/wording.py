"""How messages quote values and list words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LONGEST_SHOWN = 60
"""Characters of a value that a message quotes."""


def shown(value: Any) -> str:
    """A value as a message quotes it: what kind it is, and the beginning of its text."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping with {_counted(len(value), 'key')}"
    if isinstance(value, list):
        return f"a list of {_counted(len(value), 'value')}"
    text = repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def enumerated(words: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
