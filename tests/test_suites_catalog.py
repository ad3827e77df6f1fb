"""The catalog against the paper's defaults, and against the modules that implement its names."""

from __future__ import annotations

import inspect

import pytest

from bench.federation.partitions import RULES
from bench.suites.catalog import OPTIMIZERS, PARTITIONS, STRATEGIES
from bench.suites.choice import Choice
from bench.suites.family import REQUIRED, Family
from bench.suites.fields import FIELDS, canonical
from bench.suites.kinds import Mismatch, Number
from bench.suites.scenario import Scenario


def test_the_partitions_are_those_that_are_implemented_with_those_parameters() -> None:
    assert set(PARTITIONS.names) == set(RULES)
    for variant in PARTITIONS.variants:
        taken = {
            p.name
            for p in inspect.signature(RULES[variant.name]).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }
        assert {p.name for p in variant.parameters} == taken, variant.name


@pytest.mark.parametrize("family", [STRATEGIES, PARTITIONS, OPTIMIZERS], ids=lambda f: f.noun)
def test_every_default_is_of_its_own_kind(family: Family) -> None:
    for variant in family.variants:
        assert variant.doc.endswith(".")
        for parameter in variant.parameters:
            assert parameter.doc.endswith(".")
            if parameter.default is not REQUIRED:
                read = parameter.kind.read(parameter.default)
                assert read == parameter.default
                assert type(read) is type(parameter.default)


def test_every_field_of_a_scenario_has_its_kind_in_order() -> None:
    assert list(FIELDS) == list(Scenario().row())
    for name, field in FIELDS.items():
        if name not in ("observations", "label_policy"):
            assert canonical(field, field.default) == getattr(Scenario(), name)


def test_defaults_are_filled_in_and_equal_choices_are_equal() -> None:
    written = [
        "adam",
        {"name": "adam"},
        {"lr": 1e-4, "name": "adam"},
        {"name": "adam", "eps": 1e-8, "lr": 0.0001},
    ]
    assert {OPTIMIZERS.read(w) for w in written} == {
        Choice(
            "adam",
            (
                ("beta1", 0.9),
                ("beta2", 0.999),
                ("eps", 1e-8),
                ("lr", 1e-4),
                ("weight_decay", 0.0),
            ),
        )
    }


def test_whole_numbers_become_floats_where_a_number_is_meant() -> None:
    choice = STRATEGIES.read({"name": "fedprox", "mu": 1})
    assert type(choice["mu"]) is float


def test_a_parameter_of_another_law_is_absent() -> None:
    assert PARTITIONS.read("quantity").parameters == (("exponent", 1.0), ("law", "power"))
    explicit = PARTITIONS.read({"name": "quantity", "law": "explicit", "sizes": [1, 2]})
    assert explicit.parameters == (("law", "explicit"), ("sizes", (1.0, 2.0)))
    assert Choice("quantity", explicit.parameters).row()["sizes"] == [1.0, 2.0]
    with pytest.raises(Mismatch, match="needs its parameter 'sizes'"):
        PARTITIONS.read({"name": "quantity", "law": "explicit"})


@pytest.mark.parametrize(
    ("number", "inside", "outside"),
    [
        (Number(low=0, high=1), [0, 0.5, 1], [-1e-9, 1.1]),
        (Number(above=0, below=1), [1e-9, 0.999], [0, 1]),
        (Number(low=1, whole=True), [1, 10**9], [0, 1.0, True, "1", None]),
        (Number(), [-1e300, 0], [float("inf"), float("nan"), True]),
    ],
)
def test_bounds(number: Number, inside: list[float], outside: list[object]) -> None:
    assert [number.read(value) for value in inside] == inside
    for value in outside:
        with pytest.raises(Mismatch, match=r"a (whole )?number"):
            number.read(value)
