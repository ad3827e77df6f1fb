"""The JSON Schema: printed, committed, and in agreement with the reader."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bench.errors import SuiteError
from bench.locations import shipped
from bench.suites.document import load, read
from bench.suites.schema import suite_schema
from tests.test_suites_malformed import CASES

SUITES = shipped("suites")
FIRST_LINE = "# yaml-language-server: $schema=schema.json"


@cache
def validator() -> Draft202012Validator:
    schema = suite_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_committed_schema_is_what_the_command_prints() -> None:
    code = "from bench.cli import main; import sys; sys.argv = ['bench', 'schema']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode("utf-8") == (SUITES / "schema.json").read_text(encoding="utf-8")
    assert json.loads(done.stdout) == suite_schema()


@pytest.mark.parametrize("file", sorted(SUITES.glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_suites_name_the_schema_and_follow_it(file: Path) -> None:
    assert file.read_text(encoding="utf-8").splitlines()[0] == FIRST_LINE
    assert [e.message for e in validator().iter_errors(load(file).data)] == []


@pytest.mark.parametrize(
    "suite",
    [
        {
            "suite": "s",
            "defaults": {"optimizer.lr": 0.1, "label_policy.Pleural Effusion": "u-ones"},
        },
        {"suite": "s", "grid": {"strategy": ["fedavg", {"name": "ditto", "lambda": 0.5}]}},
        {"suite": "s", "include": [{"seed": 1, "grid": {"batch_size": ["all", 8]}}]},
        {"suite": "s", "exclude": [{"strategy": {"mu": 0.1}, "partition.alpha": 0.1}]},
        {"suite": "s", "gates": {"throughput": {"minimum_samples": 8}}},
    ],
)
def test_what_the_reader_takes_the_schema_takes(suite: dict[str, object]) -> None:
    assert [e.message for e in validator().iter_errors(suite)] == []


UNSEEN = {"parameter of another law", "exclude parameter", "too many", "float", "NaN"}
"""What a schema of single keys cannot see; to JSON Schema 1000.0 is whole, and JSON has no NaN."""


def as_data(text: str) -> object:
    """The plain data of a suite, or None where it is not YAML and no schema's business."""
    try:
        return read(text, "x").data
    except SuiteError:
        return None


REFUSED = {
    str(case.id): data
    for case in CASES
    if case.id not in UNSEEN and (data := as_data(str(case.values[0]))) is not None
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_reader_refuses_the_schema_refuses(name: str) -> None:
    assert not validator().is_valid(REFUSED[name])
