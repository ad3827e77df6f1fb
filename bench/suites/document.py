"""Files people write: read with positions, and checked against a model with messages for people."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bench.errors import FileFormatError, SuiteError, Where, did_you_mean
from bench.suites.nodes import Malformed, Node, parse
from bench.suites.wording import shown

Model = TypeVar("Model", bound=BaseModel)

_TYPES = {
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
}
"""By pydantic's kind of error, what was expected, as YAML calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The plain data of a file, and where each part of it stands."""

    file: str
    """The path as it was given."""
    data: Any
    """dict, list, str, int, float, bool or None, all the way down; every key is text."""
    root: Node

    def where(self, path: Sequence[str | int] = ()) -> Where:
        """The place of the value at ``path``, or of the nearest part of it that exists."""
        node = self.root
        for part in path:
            if part not in node.children:
                break
            node = node.children[part]
        return Where(self.file, node.line, node.column)

    def where_key(self, path: Sequence[str | int]) -> Where:
        """The place of the key that ``path`` ends in; of the value where that is no key."""
        node = self.root
        for part in path[:-1]:
            if part not in node.children:
                return self.where(path)
            node = node.children[part]
        place = node.keys.get(str(path[-1])) if path else None
        return self.where(path) if place is None else Where(self.file, *place)


def load(
    path: str | Path, error: type[FileFormatError] = SuiteError, *, name: str | None = None
) -> Document:
    """Reads a YAML 1.2 file whose top is a mapping; messages call it ``name``, else its path.

    Raises ``error`` with ``file:line:col`` where the file cannot be read, is not UTF-8, is not
    YAML, is empty, repeats a key or does not have a mapping at its top.
    """
    document = read(_text(Path(path), error), name or str(path), error)
    if not isinstance(document.data, dict):
        raise error(
            "the top of the file is not a mapping",
            where=document.where(),
            expected="lines of the form 'key: value'",
            found=shown(document.data),
        )
    return document


def read(text: str, name: str, error: type[FileFormatError] = SuiteError) -> Document:
    """The same for text; ``name`` stands for the file in messages, and the top may be anything."""
    try:
        root = parse(text)
    except Malformed as bad:
        raise error(
            bad.what,
            where=Where(name, bad.line, bad.column),
            expected=bad.expected,
            found=bad.found,
            mend=bad.mend,
        ) from None
    if root is None:
        raise error("there is nothing in it", where=Where(name, 1, 1), expected="YAML 1.2")
    return Document(file=name, data=root.value, root=root)


def _text(path: Path, error: type[FileFormatError]) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise error("no such file", where=path) from None
    except IsADirectoryError:
        raise error("a folder, not a file", where=path, expected="a YAML file") from None
    except OSError as reason:
        raise error(
            "the file cannot be read", where=path, found=reason.strerror or str(reason)
        ) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        before = raw[: bad.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        raise error(
            "the file is not UTF-8 text",
            where=Where(path, before.count(b"\n") + 1, column),
            found=f"the byte 0x{raw[bad.start]:02X}",
            mend="save the file as UTF-8",
        ) from None


def validate(
    document: Document, model: type[Model], error: type[FileFormatError] = SuiteError
) -> Model:
    """The document as ``model``, or one ``error`` about the first place that is wrong.

    Unknown keys at any depth come with the nearest known one; further problems are counted, with
    their places.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as invalid:
        found = [_problem(document, model, d) for d in invalid.errors(include_url=False)]
    problems = sorted(_merged(found), key=lambda p: (p.where.line or 0, p.where.column or 0))
    first = problems[0]
    what = first.what
    if len(problems) > 1:
        rest = sorted({(p.where.line or 0) for p in problems[1:]})
        lines = ", ".join(map(str, rest[:5])) + (" …" if len(rest) > 5 else "")
        what += f" (and {len(problems) - 1} more to mend, at line {lines})"
    raise error(
        what, where=first.where, expected=first.expected, found=first.found, mend=first.mend
    ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    kind: Literal["unknown key", "missing key", "value"]
    path: tuple[str | int, ...]
    """Of the value that is wrong, or of the mapping whose key is unknown or missing."""
    what: str
    where: Where
    expected: str | None = None
    found: str | None = None
    key: str | None = None
    """The key that is unknown or missing."""
    mend: str | None = None


def _problem(document: Document, model: type[BaseModel], details: ErrorDetails) -> _Problem:
    """One of pydantic's errors, in our words and at its place."""
    path = _path(document, details["loc"])
    kind = details["type"]
    if kind == "extra_forbidden":
        *inside, key = path
        known = _known_keys(model, details["loc"][:-1])
        return _Problem(
            kind="unknown key",
            path=tuple(inside),
            what=f"unknown key '{key}'{_inside(inside)}",
            where=document.where_key(path),
            expected=f"one of {', '.join(known)}",
            key=str(key),
            mend=did_you_mean(str(key), known),
        )
    if kind == "missing":
        missing = str(details["loc"][-1])
        return _Problem(
            kind="missing key",
            path=tuple(path),
            what=f"the key '{missing}' is missing{_inside(path)}",
            where=document.where(path),
            expected=f"a line '{missing}: …'",
            key=missing,
        )
    name = ".".join(map(str, path)) or "the file"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in ("value_error", "assertion_error"):
        what = f"{name}: {message}"
        return _Problem(kind="value", path=tuple(path), what=what, where=document.where(path))
    options = re.findall(r"'([^']*)'", str(details.get("ctx", {}).get("expected", "")))
    value = details["input"]
    return _Problem(
        kind="value",
        path=tuple(path),
        what=f"{name} is not what it must be",
        where=document.where(path),
        expected=_expected(kind, message),
        found=shown(value),
        mend=did_you_mean(value, options) if isinstance(value, str) else None,
    )


def _expected(kind: str, message: str) -> str:
    """What pydantic's message says was expected."""
    if kind == "string_pattern_mismatch":
        return message.replace("String should match pattern", "text that matches")
    plain = message.removeprefix("Input should be ").removeprefix("a valid ").strip()
    return _TYPES.get(kind, plain)


def _inside(path: Sequence[str | int]) -> str:
    return f" in {'.'.join(map(str, path))}" if path else ""


def _merged(problems: list[_Problem]) -> list[_Problem]:
    """The problems without those that only repeat another.

    A union complains once for each of its members: of one value their expectations are joined,
    and where a member got further into the value, its complaint is the one to read. A key that is
    misspelt is unknown and missing at once, and only the first is said.
    """
    unknown = [(p.path, p.key or "") for p in problems if p.kind == "unknown key"]
    deepest = {p.path[:n] for p in problems for n in range(len(p.path))}
    deepest |= {path for path, _ in unknown}
    values: dict[tuple[str | int, ...], _Problem] = {}
    others = []
    for p in problems:
        if p.kind != "value":
            key = p.key or ""
            misspelt = any(p.path == path and did_you_mean(k, [key]) for path, k in unknown)
            if p.kind == "unknown key" or not misspelt:
                others.append(p)
        elif p.path in values and p.expected:
            before = values[p.path]
            joined = f"{before.expected} or {p.expected}"
            values[p.path] = replace(before, expected=joined, mend=before.mend or p.mend)
        elif p.path not in deepest or p.expected is None:
            values[p.path] = p
    return [*values.values(), *others]


def _path(document: Document, loc: tuple[str | int, ...]) -> list[str | int]:
    """The parts of ``loc`` that are in the document: pydantic adds the names of union members."""
    node = document.root
    path: list[str | int] = []
    for part in loc:
        if part in node.children:
            node = node.children[part]
            path.append(part)
    return path


def _known_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the models at ``loc`` take."""
    at: list[Any] = [model]
    for part in loc:
        inner: list[Any] = []
        for candidate in at:
            inner += _step(candidate, part)
        at = inner or at
    known: dict[str, None] = {}
    for candidate in at:
        for found in _models(candidate):
            for key, info in found.model_fields.items():
                known[info.alias or key] = None
    return list(known)


def _step(annotation: Any, part: str | int) -> list[Any]:
    """What can stand under ``part`` of a value of that type."""
    found: list[Any] = []
    for model in _models(annotation, deep=False):
        for key, info in model.model_fields.items():
            if part in (key, info.alias):
                found.append(info.annotation)
    for inner in _unwrapped(annotation):
        origin, arguments = get_origin(inner), get_args(inner)
        if origin in (list, tuple, set, frozenset) and isinstance(part, int):
            one_for_all = len(arguments) == 1 or Ellipsis in arguments
            found += arguments[:1] if one_for_all else arguments[part : part + 1]
        elif isinstance(origin, type) and issubclass(origin, dict) and len(arguments) == 2:
            found.append(arguments[1])
        elif isinstance(origin, type) and arguments and not isinstance(part, int):
            found.append(arguments[-1])
    return found


def _unwrapped(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the type itself, without ``Annotated``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _unwrapped(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _unwrapped(member)
    else:
        yield annotation


def _models(annotation: Any, *, deep: bool = True) -> Iterator[type[BaseModel]]:
    """The pydantic models a type can be; with ``deep`` also the ones it contains."""
    for inner in _unwrapped(annotation):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield inner
        elif deep:
            for argument in get_args(inner):
                yield from _models(argument)
