"""Patients, their label keys and attributes, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import SuiteError
from bench.federation.partitions.units import (
    NOTHING_POSITIVE,
    Groups,
    Ordering,
    images,
    patients,
)
from tests.partition_pools import random_split, split_of

NAN = float("nan")


def keys_of(split):
    units = patients(split)
    return {str(i): units.keys[k] for i, k in zip(units.ids, units.key, strict=True)}


def test_key_is_the_rarest_positive_observation():
    split = split_of(
        ["p1", "p2", "p3", "p4", "p5", "p1"],
        [
            [0, 1, NAN, 0],  # p1: Edema here …
            [0, 1, NAN, 0],
            [0, 1, 1, 0],
            [1, NAN, NAN, 0],
            [NAN, -1, 0, 0],  # uncertain is not positive
            [0, 0, 0, 1],  # … and Fracture in another image
        ],
        ["No Finding", "Edema", "Pneumonia", "Fracture"],
    )
    # Positive patients: Edema 3, Pneumonia 1, Fracture 1.
    assert keys_of(split) == {
        "p1": "Fracture",
        "p2": "Edema",
        "p3": "Pneumonia",
        "p4": "No Finding",
        "p5": NOTHING_POSITIVE,
    }


def test_equally_rare_observations_go_by_column_and_no_finding_comes_last():
    split = split_of(
        ["p1", "p2", "p3"],
        [[1, 1, 1], [0, 1, 0], [0, 0, 1]],
        ["No Finding", "Edema", "Pneumonia"],
    )
    # No Finding has one positive patient and is the rarest, but says nothing where others do.
    assert keys_of(split) == {"p1": "Edema", "p2": "Edema", "p3": "Pneumonia"}


def test_rarity_counts_patients_not_images():
    split = split_of(
        ["p1", "p1", "p1", "p2", "p3"],
        [[1, 1], [1, 0], [1, 0], [0, 1], [0, 1]],
        ["Edema", "Pneumonia"],
    )
    # Edema: three images of one patient. Pneumonia: three images of three patients.
    assert keys_of(split)["p1"] == "Edema"


def test_counts_per_patient_in_the_order_of_ids():
    split = split_of(
        ["p2", "p1", "p2"],
        [[1, -1], [0, 1], [1, NAN]],
        ["Edema", "Pneumonia"],
        studies=["p2/study1", "p1/study1", "p2/study2"],
    )
    units = patients(split)
    assert units.ids.tolist() == ["p1", "p2"]
    assert units.unit.tolist() == [1, 0, 1]
    assert units.weight.tolist() == [1, 2]
    assert units.studies.tolist() == [1, 2]
    assert units.positive.tolist() == [[0, 1], [2, 0]]
    assert units.uncertain.tolist() == [[0, 0], [0, 1]]


def test_rows_restrict_the_pool():
    split = split_of(["p1", "p2", "p3"], [[1], [0], [1]], ["Edema"])
    units = patients(split, np.array([2, 0]))
    assert units.ids.tolist() == ["p1", "p3"]
    assert units.rows.tolist() == [0, 2]
    assert units.images == 2


def test_a_patients_group_is_its_commonest_filled_cell():
    split = split_of(
        ["p1", "p1", "p1", "p2", "p2", "p3", "p4"],
        [[0]] * 7,
        ["Edema"],
        ap_pa=["PA", "PA", "AP", "PA", "AP", "", "LL"],
    )
    group = patients(split, attributes=("AP/PA",)).attributes["AP/PA"]
    assert isinstance(group, Groups)
    assert group.names == ("AP", "LL", "PA")
    # p1 two to one; p2 tied, alphabetically first; p3 blank; p4 its only value.
    assert group.code.tolist() == [2, 0, -1, 1]
    assert group.mixed == 2


def test_age_and_view_line_patients_up():
    split = split_of(
        ["p1", "p1", "p2", "p3"],
        [[0]] * 4,
        ["Edema"],
        age=[40, 50, 30, NAN],
        view=["Frontal", "Lateral", "Frontal", "Lateral"],
    )
    known = patients(split, attributes=("Age", "Frontal/Lateral")).attributes
    age, view = known["Age"], known["Frontal/Lateral"]
    assert isinstance(age, Ordering)
    assert isinstance(view, Ordering)
    np.testing.assert_array_equal(age.value, [45, 30, NAN])
    np.testing.assert_array_equal(view.value, [0.5, 0, 1])


def test_an_unknown_column_is_an_error_that_names_the_columns():
    split = split_of(["p1"], [[0]], ["Edema"], site=["east"])
    with pytest.raises(SuiteError, match="did you mean 'site'"):
        patients(split, attributes=("sight",))


def test_nothing_depends_on_the_order_of_rows():
    split = random_split(3, patients=30)
    shuffled = split.take(np.random.default_rng(0).permutation(len(split)))
    a, b = patients(split, attributes=("site",)), patients(shuffled, attributes=("site",))
    assert a.ids.tolist() == b.ids.tolist()
    for field in ("weight", "studies", "key", "positive", "uncertain"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    np.testing.assert_array_equal(a.attributes["site"].code, b.attributes["site"].code)


def test_images_of_one_class_are_their_own_units():
    units = images(np.array([2, 0, 2]), ["zero", "one", "two"])
    assert units.weight.tolist() == [1, 1, 1]
    assert units.key.tolist() == [2, 0, 2]
    assert units.positive.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert units.uncertain.sum() == 0
    assert units.studies is None
