"""YAML 1.2 as it is read, positions, and a model's complaints as messages."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from bench.errors import BaselineError, SuiteError
from bench.suites.document import Document, load, read, validate
from bench.suites.nodes import scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-.5e3", -500.0),
        ("1.", 1.0),
        ("+1", 1),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("null", None),
        ("", None),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        (".", "."),
        ("=", "="),
        ("0b1", "0b1"),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    found = scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number(text: str) -> None:
    assert math.isnan(scalar(text))


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_come_back_as_python_writes_them(number: float | int) -> None:
    assert scalar(repr(number)) == number


def test_quotes_and_tags_decide_over_the_schema() -> None:
    text = "{a: '1', b: \"no\", c: !!str 1e-4, d: !!float 1, e: !!int 2, f: !!bool true}"
    assert read(text, "x").data == {
        "a": "1",
        "b": "no",
        "c": "1e-4",
        "d": 1.0,
        "e": 2,
        "f": True,
    }


def test_keys_are_text_and_aliases_are_followed() -> None:
    data = read("base: &b {1: x, no: y}\nsame: *b\n", "x").data
    assert data == {"base": {"1": "x", "no": "y"}, "same": {"1": "x", "no": "y"}}


def test_every_key_and_value_has_its_place() -> None:
    document = read("a: 1\nb:\n  - c: {d: x}\n  - [1,  2]\n", "f.yaml")
    assert str(document.where()) == "f.yaml:1:1"
    assert str(document.where(("a",))) == "f.yaml:1:4"
    assert str(document.where(("b", 0, "c", "d"))) == "f.yaml:3:12"
    assert str(document.where_key(("b", 0, "c", "d"))) == "f.yaml:3:9"
    assert str(document.where(("b", 1, 1))) == "f.yaml:4:10"
    assert str(document.where(("b", 1, 7))) == "f.yaml:4:5"
    assert str(document.where_key(("nothing", "here"))) == "f.yaml:1:1"


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes("\ufeffa: 1\r\nb: [2]\r\n".encode())
    document = load(file)
    assert document.data == {"a": 1, "b": [2]}
    assert document.where(("b", 0)).line == 2


def test_errors_are_of_the_class_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="no such file"):
        load(tmp_path / "none.yaml", BaselineError)
    with pytest.raises(BaselineError):
        validate(read("x: 1", "f"), Table, BaselineError)


class Value(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    auroc: float
    ci: tuple[float, float] | None = None


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    level: Literal["study", "image"] = "study"
    values: dict[str, Value] = {}
    rows: list[Value] = []
    either: Value | str | None = None


def problem(text: str) -> str:
    document: Document = read(text, "f.yaml")
    with pytest.raises(SuiteError) as caught:
        validate(document, Table)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "fragments"),
    [
        ("nam: x", "1:1", ["unknown key 'nam'", "one of name, level", "did you mean 'name'?"]),
        ("name: 3", "1:7", ["name is not", "expected: text", "found: 3"]),
        ("name: x\nvalues: 3", "2:9", ["values is not", "expected: a mapping", "found: 3"]),
        ("name: x\nlevel: studdy", "2:8", ["'study' or 'image'", "did you mean 'study'?"]),
        ("name: x\nvalues: {E: {auroc: x}}", "2:21", ["values.E.auroc", "number", "'x'"]),
        ("name: x\nvalues: {E: {aurok: 1}}", "2:14", ["unknown key 'aurok' in values.E", "auroc"]),
        ("name: x\nvalues: {E: {ci: null}}", "2:13", ["'auroc' is missing in values.E"]),
        ("name: x\nrows: [{auroc: 1}, {auroc: 1, c: 2}]", "2:31", ["'c' in rows.1"]),
        ("name: x\nrows: {}", "2:7", ["rows", "list", "a mapping with 0 keys"]),
        ("name: x\nrows:", "2:6", ["rows", "list", "found: nothing"]),
        ("name: x\neither: [1]", "2:9", ["either", "found: a list of 1 value"]),
        ("name: x\neither: {auroc: 1, cii: 2}", "2:20", ["unknown key 'cii'", "mean 'ci'?"]),
    ],
)
def test_a_model_s_complaint_is_a_message_at_its_place(
    text: str, place: str, fragments: list[str]
) -> None:
    message = problem(text)
    assert message.startswith(f"f.yaml:{place}: "), message
    for fragment in fragments:
        assert fragment in message


def test_what_is_right_becomes_the_model() -> None:
    table = validate(read("{name: x, values: {E: {auroc: 1, ci: null}}}", "f"), Table)
    assert table.values == {"E": Value(auroc=1.0)}
