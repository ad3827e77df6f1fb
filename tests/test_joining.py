"""Several trees as the sites of one: rows, identities, columns, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.chexpert import MARKER, read_tree
from bench.data.joining import OWN_SITE, SITE, join, read_sites, unmentioned, unmentioned_cells
from bench.data.split import Split, Tree
from bench.data.stacked import Stacked
from bench.errors import DataError
from bench.federation.partitions import partition
from bench.observations import OBSERVATIONS
from bench.suites.catalog import PARTITIONS

EDEMA, FRACTURE = OBSERVATIONS.index("Edema"), OBSERVATIONS.index("Fracture")


def write(root: Path, header: str, **splits: Sequence[str]) -> Path:
    """A tree of label files alone."""
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        (root / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Path]:
    """Two hospitals that both number their patients from 1.

    ``b`` gives no AP/PA, has a test split and a column of its own, and never looks for Fracture.
    """
    return {
        "b": write(
            tmp_path / "far" / "b",
            "Path,Sex,Age,Frontal/Lateral,Edema,ward",
            train=["patient00001/study1/view1_frontal.jpg,Male,50,Frontal,-1.0,north"],
            valid=["patient00009/study1/view1_frontal.jpg,Male,51,Frontal,1.0,south"],
            test=["patient00007/study1/view1_frontal.jpg,Female,52,Frontal,0.0,"],
        ),
        "a": write(
            tmp_path / "a",
            "Path,Sex,Age,Frontal/Lateral,AP/PA,Edema,Fracture",
            train=[
                "patient00001/study1/view1_frontal.jpg,Female,40,Frontal,AP,1.0,",
                "patient00001/study1/view2_lateral.jpg,Female,40,Lateral,,1.0,",
                "patient00002/study1/view1_frontal.jpg,Male,41,Frontal,PA,0.0,1.0",
            ],
            valid=["patient00003/study2/view1_frontal.jpg,Male,42,Frontal,AP,0.0,0.0"],
        ),
    }


def test_rows_of_all_sites_in_alphabetical_order(trees: dict[str, Path]) -> None:
    tree = read_sites(trees)
    train = tree.splits["train"]
    assert [len(split) for split in tree.splits.values()] == [4, 2, 1]
    assert train.extra[SITE].tolist() == ["a", "a", "a", "b"]
    assert train.patients.tolist() == ["a/patient00001", "a/patient00002", "b/patient00001"]
    assert train.patient.tolist() == [0, 0, 1, 2]
    studies = ["a/patient00001/study1", "a/patient00002/study1", "b/patient00001/study1"]
    assert train.studies.tolist() == studies
    assert train.study.tolist() == [0, 0, 1, 2]
    assert train.labels[:, EDEMA].tolist() == [1, 1, 0, -1]
    assert train.age.tolist() == [40, 40, 41, 50]
    assert (tree.name, list(tree.sites)) == ("a + b", ["a", "b"])


def test_a_split_that_one_site_has_is_that_site_s(trees: dict[str, Path]) -> None:
    test = read_sites(trees).splits["test"]
    assert test.studies.tolist() == ["b/patient00007/study1"]
    assert test.extra[SITE].tolist() == ["b"]


def test_paths_lead_from_the_common_folder_to_each_site_s_images(trees: dict[str, Path]) -> None:
    train = read_sites(trees).splits["train"]
    assert train.root == trees["a"].parent
    assert train.paths[0] == "a/patient00001/study1/view1_frontal.jpg"
    assert train.paths[3] == "far/b/patient00001/study1/view1_frontal.jpg"
    assert train.csv_lines.tolist() == [2, 3, 4, 2]


def test_columns_are_the_union_and_blank_where_a_site_has_none(trees: dict[str, Path]) -> None:
    train = read_sites(trees).splits["train"]
    assert train.ap_pa.tolist() == ["AP", "", "PA", ""]
    assert train.extra["ward"].tolist() == ["", "", "", "north"]


def test_a_column_site_of_one_s_own_is_kept_under_another_name(tmp_path: Path) -> None:
    header = "Path,Edema,site"
    one = write(tmp_path / "one", header, train=["patient00001/study1/view1_frontal.jpg,1.0,X"])
    two = write(tmp_path / "two", "Path,Edema", train=["patient00001/study1/view1_frontal.jpg,0.0"])
    tree = read_sites({"one": one, "two": two})
    assert tree.splits["train"].extra[SITE].tolist() == ["one", "two"]
    assert tree.splits["train"].extra[OWN_SITE].tolist() == ["X", ""]
    assert any("its column 'site' is called 'own site' here" in text for text in tree.warnings)


def test_ids_that_coincide_are_warned_of_and_stay_apart(trees: dict[str, Path]) -> None:
    warnings = read_sites(trees).warnings
    assert "patient ids at both a and b: 1, taken for different people" in warnings


def test_what_a_site_never_mentions_is_unknown_and_other_blanks_are_not(
    trees: dict[str, Path],
) -> None:
    train = read_sites(trees).splits["train"]
    others = tuple(name for name in OBSERVATIONS if name not in ("Edema", "Fracture"))
    assert unmentioned(train) == {
        "a": others,
        "b": tuple(name for name in OBSERVATIONS if name != "Edema"),
    }
    cells = unmentioned_cells(train)
    assert cells[:, EDEMA].tolist() == [False] * 4
    assert cells[:, FRACTURE].tolist() == [False, False, False, True]  # a's blanks are blanks


def test_identity_is_of_names_and_digests_not_of_order_or_place(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    digest = read_sites(trees).digest
    assert digest == read_sites(dict(reversed(trees.items()))).digest
    moved = tmp_path / "elsewhere"
    trees["a"].rename(moved)
    assert digest == read_sites({"a": moved, "b": trees["b"]}).digest
    assert digest != read_sites({"c": moved, "b": trees["b"]}).digest
    assert digest != read_sites({"a": trees["b"], "b": moved}).digest
    assert digest != read_tree(moved).digest
    (moved / "train.csv").write_text((moved / "train.csv").read_text().replace("41", "43"))
    assert digest != read_sites({"a": moved, "b": trees["b"]}).digest


def test_one_synthetic_site_makes_the_whole_synthetic(trees: dict[str, Path]) -> None:
    assert not read_sites(trees).synthetic
    (trees["b"] / MARKER).write_text('{"synthetic": true}')
    tree = read_sites(trees)
    assert tree.synthetic
    assert [site.synthetic for site in tree.sites.values()] == [False, True]


def test_a_site_may_only_be_for_testing(trees: dict[str, Path]) -> None:
    for name in ("train", "valid"):
        (trees["b"] / f"{name}.csv").unlink()
    tree = read_sites(trees)
    assert {name: set(s.extra[SITE].tolist()) for name, s in tree.splits.items()} == {
        "train": {"a"},
        "valid": {"a"},
        "test": {"b"},
    }


def test_no_site_has_anything_to_train_on(trees: dict[str, Path]) -> None:
    for root in trees.values():
        (root / "train.csv").unlink()
    with pytest.raises(DataError, match=r"none of the trees has a train\.csv"):
        read_sites(trees)


def test_a_site_without_label_files_is_named(trees: dict[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=f"{empty}: the tree has no label file"):
        read_sites({**trees, "c": empty})


def test_one_folder_under_two_names(trees: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(trees["a"])
    with pytest.raises(DataError, match=r"'a' and 'c' are the same data[\s\S]*they are one folder"):
        read_sites({"a": trees["a"], "c": link})


def test_a_copy_of_a_tree(trees: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in trees["a"].glob("*.csv"):
        (copy / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=r"their label files are the same[\s\S]*leave one of them"):
        read_sites({"a": trees["a"], "c": copy})


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a\nb", " a", "_"])
def test_names_that_a_site_cannot_have(trees: dict[str, Path], name: str) -> None:
    with pytest.raises(DataError, match="a site cannot be called"):
        read_sites({name: trees["a"]})


def tree_of(patients: Sequence[int], name: str) -> Tree:
    """A tree in memory whose row i is an image of patient ``patients[i]``."""
    ids, patient = np.unique(np.array([f"patient{p:05d}" for p in patients]), return_inverse=True)
    n = len(patients)
    blank = np.full(n, "", dtype=np.str_)
    split = Split(
        name="train",
        root=Path(f"/data/{name}"),
        csv=Path(f"/data/{name}/train.csv"),
        paths=np.array([f"{p}/{i}.jpg" for i, p in enumerate(patients)]),
        csv_lines=np.arange(2, n + 2),
        patients=ids,
        studies=np.array([f"{p}/study1" for p in ids]),
        patient=patient.astype(np.int64),
        study=patient.astype(np.int64),
        observations=OBSERVATIONS,
        labels=np.zeros((n, len(OBSERVATIONS)), dtype=np.float32),
        sex=blank,
        age=np.zeros(n, dtype=np.float32),
        view=blank,
        ap_pa=blank,
    )
    return Tree(root=split.root, name=name, splits={"train": split}, digest=name, synthetic=False)


numbers = st.lists(st.integers(1, 12), min_size=1, max_size=20)
"""Few numbers, so that most occur at several sites."""


@given(
    sites=st.lists(numbers, min_size=2, max_size=4),
    rule=st.sampled_from(["natural", "iid", "dirichlet"]),
    seed=st.integers(0, 99),
)
def test_no_patient_in_two_clients_though_ids_coincide(
    sites: list[list[int]], rule: str, seed: int
) -> None:
    tree = join({f"s{i}": tree_of(patients, f"s{i}") for i, patients in enumerate(sites)})
    pool = tree.splits["train"]
    assert len(pool.patients) == sum(len(set(patients)) for patients in sites)
    choices = {
        "natural": {"name": "natural", "column": SITE},
        "iid": "iid",
        "dirichlet": {"name": "dirichlet", "alpha": 0.5, "min_size": 1},
    }
    clients = min(len(sites), len(pool.patients))
    found = partition(PARTITIONS.read(choices[rule]), pool, clients=clients, seed=seed)
    assert np.sort(np.concatenate(found.clients)).tolist() == list(range(len(pool)))
    holders = [set(pool.patients[pool.patient[rows]].tolist()) for rows in found.clients]
    assert sum(map(len, holders)) == len(set.union(*holders))
    if rule == "natural":
        assert found.names == tuple(tree.sites)
        assert [{p.split("/")[0] for p in own} for own in holders] == [{n} for n in found.names]


@given(sites=st.lists(numbers, min_size=2, max_size=4))
def test_each_site_s_rows_are_its_tree_s(sites: list[list[int]]) -> None:
    trees = {f"s{i}": tree_of(patients, f"s{i}") for i, patients in enumerate(sites)}
    pool = join(trees).splits["train"]
    for name, tree in trees.items():
        own = pool.take(np.flatnonzero(pool.extra[SITE] == name))
        alone = tree.splits["train"]
        assert own.patients[own.patient].tolist() == [
            f"{name}/{p}" for p in alone.patients[alone.patient].tolist()
        ]
        assert own.csv_lines.tolist() == alone.csv_lines.tolist()


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), data=st.data())
def test_stacked_images_are_those_of_the_concatenation(
    sizes: list[int], data: st.DataObject
) -> None:
    rng = np.random.default_rng(sum(sizes))
    parts = [rng.integers(0, 256, (n, 2, 2), dtype=np.uint8) for n in sizes]
    whole = np.concatenate(parts)
    stacked = Stacked(parts)
    rows = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1))), dtype=np.int64)
    assert stacked.shape == whole.shape
    assert np.array_equal(stacked.take(rows), whole[rows])


def test_a_stack_of_stacks_is_a_stack() -> None:
    parts = [np.full((1, 2, 2), n, dtype=np.uint8) for n in range(3)]
    stacked = Stacked([Stacked(parts[:2]), parts[2]])
    assert stacked.take(np.array([2, 0]))[:, 0, 0].tolist() == [2, 0]
    assert len(stacked.parts) == 3
