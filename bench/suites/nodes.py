"""YAML 1.2 text → plain values that remember where they were written.

ruamel.yaml finds the structure (its events); what a scalar means is decided here by the core schema
of YAML 1.2.2, section 10.3.2: ``1e-4`` is a number, ``no`` and ``on`` are words. No tag makes an
object, every key is text (as in JSON), and a key may be written once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bench.suites.wording import shown

DEEPEST = 40
"""Levels of nesting; no file of ours needs ten, and Python's stack ends near a thousand."""
MOST_VALUES = 200_000
"""Values after aliases are followed: nine nested aliases can otherwise stand for a billion."""
LARGEST_WHOLE = 2**63 - 1
"""Whole numbers beyond 64 bits fit neither NumPy nor a float, and Python refuses to print some."""

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NOT_A_NUMBER = (".nan", ".NaN", ".NAN")
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {text: text[0] in "tT" for w in ("true", "false") for text in (w, w.title(), w.upper())}
_TAG = "tag:yaml.org,2002:"


class Malformed(Exception):
    """The text is not YAML 1.2 as it is read here; turned into a BenchError by ``document``."""

    def __init__(
        self,
        what: str,
        line: int,
        column: int,
        *,
        expected: str | None = None,
        found: str | None = None,
        mend: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.line, self.column = what, line, column
        self.expected, self.found, self.mend = expected, found, mend


@dataclass(slots=True, kw_only=True)
class Node:
    """A value and the place it begins, both counted from 1."""

    line: int
    column: int
    value: Any
    """Plain data: dict, list, str, int, float, bool or None."""
    children: dict[str | int, Node] = field(default_factory=dict)
    """By key of a mapping or index of a sequence."""
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where each key of a mapping stands."""
    size: int = 1
    """Values in it, itself included, aliases followed."""


def parse(text: str) -> Node | None:
    """The single document of ``text``; None where there is none. Raises Malformed."""
    bad = _FORBIDDEN.search(text)
    if bad:
        line, column = (
            text.count("\n", 0, bad.start()) + 1,
            bad.start() - text.rfind("\n", 0, bad.start()),
        )
        raise Malformed(
            "a character that YAML does not allow",
            line,
            column,
            expected="printable text",
            found=f"U+{ord(bad.group()):04X}",
        )
    events = YAML(typ="safe", pure=True).parse(text)
    try:
        return _Builder(events).document()
    except MarkedYAMLError as error:
        raise _syntax(error) from None
    except YAMLError as error:
        raise Malformed(f"this is not YAML: {error}".splitlines()[0], 1, 1) from None


def scalar(text: str) -> Any:
    """What an unquoted scalar means in the core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if _INFINITY.fullmatch(text):
        return float("-inf") if text[0] == "-" else float("inf")
    return float("nan") if text in _NOT_A_NUMBER else text


class _Builder:
    """Turns ruamel's events into nodes."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        root: Node | None = None
        empty = True
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                if root is not None:
                    raise _at(event, "a second document", expected="one document in the file")
                if event.version not in (None, (1, 2)):
                    found = "YAML {}.{}".format(*event.version)
                    raise _at(event, "another version of YAML", expected="YAML 1.2", found=found)
                first = next(self._events)
                empty = _is_empty(first)
                root = self._node(first, 0)
        return None if empty else root

    def _node(self, event: Any, depth: int) -> Node:
        if depth > DEEPEST:
            raise _at(event, f"nested more than {DEEPEST} levels deep")
        make: Callable[[Any, int], Node] = {
            "AliasEvent": self._alias,
            "ScalarEvent": self._scalar,
            "SequenceStartEvent": self._sequence,
            "MappingStartEvent": self._mapping,
        }[type(event).__name__]
        node = make(event, depth)
        if node.size > MOST_VALUES:
            raise _at(
                event,
                "too many values",
                expected=f"at most {MOST_VALUES:,}",
                found=f"{node.size:,} once every alias is followed",
            )
        if type(event).__name__ != "AliasEvent" and event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise _at(
                event,
                f"*{event.anchor} refers to nothing",
                expected=f"&{event.anchor} on a value that ends before this place",
            )
        return target

    def _scalar(self, event: Any, depth: int) -> Node:
        line, column = _place(event)
        plain = event.style is None and event.tag is None
        try:
            value = scalar(event.value) if plain else _tagged(event)
        except ValueError:
            if plain:  # all that can fail then is to read more digits than Python does
                raise _too_large(event) from None
            raise _at(
                event, "not a value of its type", expected=event.tag, found=shown(event.value)
            ) from None
        if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
            raise _too_large(event)
        return Node(line=line, column=column, value=value)

    def _sequence(self, event: Any, depth: int) -> Node:
        _check_tag(event, "seq")
        line, column = _place(event)
        node = Node(line=line, column=column, value=[])
        while type(inner := next(self._events)).__name__ != "SequenceEndEvent":
            self._add(node, len(node.value), self._node(inner, depth + 1), event)
        node.value = [child.value for child in node.children.values()]
        return node

    def _mapping(self, event: Any, depth: int) -> Node:
        _check_tag(event, "map")
        line, column = _place(event)
        node = Node(line=line, column=column, value={})
        while type(inner := next(self._events)).__name__ != "MappingEndEvent":
            key = self._key(inner, node)
            node.keys[key] = _place(inner)
            child = self._node(next(self._events), depth + 1)
            self._add(node, key, child, event)
            node.value[key] = child.value
        return node

    def _add(self, node: Node, key: str | int, child: Node, event: Any) -> None:
        node.children[key] = child
        node.size += child.size
        if isinstance(key, int):
            node.value.append(None)

    def _key(self, event: Any, node: Node) -> str:
        if type(event).__name__ != "ScalarEvent":
            raise _at(event, "a key that is not a word", expected="text before the colon")
        key = str(event.value)
        if not key:
            raise _at(event, "an empty key", expected="text before the colon")
        if key == "<<" and event.style is None:
            raise _at(
                event,
                "a merge key, which YAML 1.2 does not have",
                expected="keys of the mapping itself",
                mend="write the merged values out",
            )
        if key in node.keys:
            line, column = node.keys[key]
            raise _at(
                event,
                f"'{key}' is written twice",
                expected="every key once",
                found=f"the first at line {line}, column {column}",
                mend="remove one of them",
            )
        return key


def _tagged(event: Any) -> Any:
    """A quoted or tagged scalar."""
    if event.tag is None or event.tag in ("!", _TAG + "str"):
        return event.value
    readers: dict[str, Callable[[str], Any]] = {"int": int, "float": float}
    name = event.tag.removeprefix(_TAG)
    if name in readers:
        return readers[name](event.value)
    if name in ("bool", "null"):
        value = scalar(event.value)
        if isinstance(value, bool) if name == "bool" else value is None:
            return value
        raise ValueError
    raise _unknown_tag(event)


def _check_tag(event: Any, own: str) -> None:
    if event.tag not in (None, "!", _TAG + own):
        raise _unknown_tag(event)


def _unknown_tag(event: Any) -> Malformed:
    return _at(
        event,
        "a tag that means nothing here",
        expected="plain values: mappings, lists, text, numbers, true, false, null",
        found=str(event.tag),
        mend="remove the tag, or put quotes round text that begins with '!'",
    )


def _is_empty(event: Any) -> bool:
    """Whether a document's first event is all of it and stands for nothing written."""
    if type(event).__name__ != "ScalarEvent":
        return False
    return bool((event.anchor, event.value, event.style, event.tag) == (None, "", None, None))


def _too_large(event: Any) -> Malformed:
    return _at(
        event,
        "a whole number that is too large",
        expected=f"one from -{LARGEST_WHOLE} to {LARGEST_WHOLE}",
        found=shown(event.value),
    )


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _at(
    event: Any,
    what: str,
    *,
    expected: str | None = None,
    found: str | None = None,
    mend: str | None = None,
) -> Malformed:
    line, column = _place(event)
    return Malformed(what, line, column, expected=expected, found=found, mend=mend)


def _syntax(error: MarkedYAMLError) -> Malformed:
    """ruamel's complaint, at its place, with the mend where the cause is a common one."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = str(error.problem or error.context)
    opened = error.context_mark
    found = problem
    if error.context and opened is not None:
        found += f" ({error.context} that begins at line {opened.line + 1})"
    return Malformed("this is not YAML", line, column, found=found, mend=_syntax_mend(problem))


def _syntax_mend(problem: str) -> str | None:
    if "'\\t'" in problem:
        return "indent with spaces; YAML does not allow tabs there"
    if "mapping values are not allowed" in problem:
        return "line keys up under each other, and put quotes round text that contains ': '"
    if "cannot start any token" in problem:
        return "put quotes round text that begins with that character"
    if "<stream end>" in problem or "end of stream" in problem:
        return "close what is left open"
    return None
