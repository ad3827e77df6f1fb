"""What a value may be: each kind reads a plain value, says what it takes, and has a JSON Schema.

One declaration therefore serves the check of a suite, its messages and ``bench schema``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from bench.errors import did_you_mean
from bench.suites.wording import enumerated, shown

YAML_1_1_BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}
"""Words that YAML 1.1 took for booleans and 1.2 does not; explained where one turns up."""
EXACT_WHOLE = 2**53
"""Up to here a float is the whole number that was written."""


class Mismatch(Exception):
    """A value is not of its kind; the caller knows in which file it stands.

    ``path`` leads from the value that was read to the part that is wrong, and ``on_key`` says that
    the last part is a key that should not be there.
    """

    def __init__(
        self,
        *,
        expected: str | None = None,
        found: str | None = None,
        what: str | None = None,
        mend: str | None = None,
        path: tuple[str | int, ...] = (),
        on_key: bool = False,
    ) -> None:
        super().__init__(what or expected)
        self.what, self.expected, self.found, self.mend = what, expected, found, mend
        self.path, self.on_key = path, on_key

    def under(self, *parts: str | int) -> Mismatch:
        """The same, seen from further up."""
        self.path = (*parts, *self.path)
        return self


class Kind(Protocol):
    """What a value may be."""

    def read(self, value: Any) -> Hashable:
        """The value in its one canonical form; raises Mismatch."""
        ...

    def words(self) -> str:
        """What is taken, as a message puts it after "expected"."""
        ...

    def schema(self) -> dict[str, Any]:
        """The kind as JSON Schema."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A finite number within bounds, kept as float; or, if ``whole``, an int."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    """Like ``low``, but itself left out."""
    below: float | None = None
    """Like ``high``, but itself left out."""
    whole: bool = False

    def read(self, value: Any) -> float | int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._mismatch(value)
        if self.whole and isinstance(value, float):
            exact = value.is_integer() and abs(value) <= EXACT_WHOLE
            raise self._mismatch(value, f"write {value:.0f}" if exact else None)
        if not math.isfinite(value) or not self._within(value):
            raise self._mismatch(value)
        return value if self.whole else float(value) + 0.0  # of -0.0 that makes 0.0

    def _within(self, value: float) -> bool:
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def _mismatch(self, value: Any, mend: str | None = None) -> Mismatch:
        if isinstance(value, str) and mend is None:
            mend = "remove the quotes" if _is_number(value) else None
        return Mismatch(expected=self.words(), found=shown(value), mend=mend)

    def words(self) -> str:
        bounds = [
            f"{word} {bound:g}" if isinstance(bound, float) else f"{word} {bound}"
            for word, bound in (
                ("at least", self.low),
                ("above", self.above),
                ("at most", self.high),
                ("below", self.below),
            )
            if bound is not None
        ]
        noun = "a whole number" if self.whole else "a number"
        return f"{noun} {' and '.join(bounds)}".strip()

    def schema(self) -> dict[str, Any]:
        bounds = {
            "minimum": self.low,
            "maximum": self.high,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        kept = {key: bound for key, bound in bounds.items() if bound is not None}
        return {"type": "integer" if self.whole else "number"} | kept


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise Mismatch(expected=self.words(), found=shown(value), mend=boolean_hint(value))

    def words(self) -> str:
        return "true or false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


def boolean_hint(value: Any) -> str | None:
    """What to write instead of YAML 1.1's yes, no, on and off."""
    if isinstance(value, str) and value.lower() in YAML_1_1_BOOLEANS:
        meant = str(YAML_1_1_BOOLEANS[value.lower()]).lower()
        return f"'{value}' is a word in YAML 1.2; write {meant}"
    return None


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words."""

    options: tuple[str, ...]

    def read(self, value: Any) -> str:
        if isinstance(value, str) and value in self.options:
            return value
        mend = did_you_mean(value, self.options) if isinstance(value, str) else None
        raise Mismatch(expected=self.words(), found=shown(value), mend=mend)

    def words(self) -> str:
        return enumerated(self.options)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.options)}


@dataclass(frozen=True, slots=True)
class Constant:
    """One word that stands for a value."""

    word: str
    value: Hashable

    def read(self, value: Any) -> Hashable:
        if value == self.word:
            return self.value
        raise Mismatch(expected=self.words(), found=shown(value))

    def words(self) -> str:
        return f"'{self.word}'"

    def schema(self) -> dict[str, Any]:
        return {"const": self.word}


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is not empty, matching ``pattern`` as a whole where one is given."""

    noun: str
    pattern: str = r"\S(.*\S)?"

    def read(self, value: Any) -> str:
        if isinstance(value, str) and re.fullmatch(self.pattern, value):
            return value
        raise Mismatch(expected=self.words(), found=shown(value))

    def words(self) -> str:
        return self.noun

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True, slots=True)
class Listing:
    """A list with at least one value, all of one kind; kept as a tuple."""

    item: Kind

    def read(self, value: Any) -> tuple[Hashable, ...]:
        if not isinstance(value, list) or not value:
            raise Mismatch(expected=self.words(), found=shown(value))
        read = []
        for index, item in enumerate(value):
            try:
                read.append(self.item.read(item))
            except Mismatch as bad:
                raise bad.under(index) from None
        return tuple(read)

    def words(self) -> str:
        return f"a list, each of whose values is {self.item.words()}"

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "minItems": 1}


@dataclass(frozen=True, slots=True)
class Either:
    """The first of several kinds that takes the value."""

    kinds: tuple[Kind, ...]

    def read(self, value: Any) -> Hashable:
        for kind in self.kinds:
            try:
                return kind.read(value)
            except Mismatch:
                continue
        raise Mismatch(expected=self.words(), found=shown(value), mend=boolean_hint(value))

    def words(self) -> str:
        return " or ".join(kind.words() for kind in self.kinds)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [kind.schema() for kind in self.kinds]}
