"""``bench data info`` and ``bench data pack``: counts worked out by hand, warnings, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.data.chexpert import read_tree
from bench.data.info import describe_tree
from bench.data.joining import read_sites
from bench.observations import OBSERVATIONS
from tests.chexpert_csv import HEADER, IMAGES, STUDIES, chexpert_csv
from tests.image_trees import encoded, numbered_tree, patient_path, picture, write_tree
from tests.processes import process
from tests.shared_data import published, shared


def bench(*arguments: object, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command as a person would."""
    environment = {k: v for k, v in os.environ.items() if k != "CHEXPERT_ROOT"}
    if cache is not None:
        environment["BENCH_CACHE"] = str(cache)
    return process("data", *arguments, env=environment)


def line(path: str, edema: str, *, sex: str = "Male", age: str = "60", view: str = "Frontal",
         ap_pa: str = "AP", pneumonia: str = "") -> str:  # fmt: skip
    labels = {"Edema": edema, "Pneumonia": pneumonia}
    cells = ",".join(labels.get(name, "") for name in OBSERVATIONS)
    return f"{path},{sex},{age},{view},{ap_pa},{cells}"


def write(root: Path, **files: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (root / f"{name}.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return root


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Three patients, five studies, seven images, and one of each thing to be warned of."""
    return write(
        tmp_path / "odd",
        train=[
            line("train/patient1/study1/view1_frontal.jpg", "1.0"),
            line("train/patient1/study1/view2_lateral.jpg", "1.0", view="Lateral", ap_pa=""),
            line("train/patient1/study2/view1_frontal.jpg", "-1.0", age="61", ap_pa="PA"),
            line("train/patient2/study1/view1_frontal.jpg", "0.0", sex="Female", age="0"),
            line("train/patient2/study1/view1_frontal.jpg", "", sex="Female", age="90"),
            line("train/patient2/study2/view1_lateral.jpg", "", sex="Female", age="",
                 view="Lateral", ap_pa=""),
        ],
        valid=[line("valid/patient1/study1/view1_frontal.jpg", "0.0", pneumonia="1.0")],
    )  # fmt: skip


def test_counts(odd: Path) -> None:
    train = describe_tree(read_tree(odd)).splits["train"]
    assert (train.patients, train.studies, train.images) == (2, 4, 6)
    assert train.study_labels["Edema"] == {
        "positive": 1, "uncertain": 1, "negative": 1, "blank": 1,
    }  # fmt: skip
    assert train.image_labels["Edema"] == {
        "positive": 2, "uncertain": 1, "negative": 1, "blank": 2,
    }  # fmt: skip
    assert train.study_labels["Fracture"]["blank"] == 4
    assert train.views == {"Frontal": 4, "Lateral": 2}
    assert train.ap_pa == {"AP": 3, "blank": 2, "PA": 1}
    assert train.views_per_study == {1: 2, 2: 2}
    assert train.sex == {"Female": 1, "Male": 1}
    assert train.age == {
        "min": 0, "median": 60, "mean": 54.2, "max": 90, "zero": 1, "capped": 1, "blank": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "patients in both train and valid: 1 (patient1)",
        "train.csv: rows that repeat an image: 1 (line 6)",
        "train.csv: studies whose views have different labels (the first view's count): 1",
        "train.csv: studies without a frontal image: 1 (patient2/study2)",
        "never labelled in any split: No Finding, Enlarged Cardiomediastinum, Cardiomegaly",
    ],
)
def test_warnings(odd: Path, words: str) -> None:
    assert any(words in warning for warning in describe_tree(read_tree(odd)).warnings)


def test_an_image_in_two_splits_and_a_sound_tree(tmp_path: Path) -> None:
    row = line("train/patient1/study1/view1_frontal.jpg", "1.0")
    both = describe_tree(read_tree(write(tmp_path / "both", train=[row], valid=[row])))
    assert any("images in both train and valid: 1 (" in text for text in both.warnings)
    cells = ",".join(["0.0"] * 14)
    sound = write(tmp_path / "sound", train=[f"train/patient1/study1/v_frontal.jpg,,,,,{cells}"])
    assert describe_tree(read_tree(sound)).warnings == ()


def test_image_files_are_looked_at_when_asked(tmp_path: Path) -> None:
    same = encoded(picture(1))
    write_tree(
        tmp_path / "tree",
        {
            patient_path(1): same,
            patient_path(2): encoded(picture(2)),
            patient_path(3): same,
            patient_path(4): None,
        },
    )
    tree = read_tree(tmp_path / "tree")
    assert not any("content" in text for text in describe_tree(tree).warnings)
    warnings = describe_tree(tree, images=True).warnings
    assert any(f"{patient_path(1)} = {patient_path(3)}" in text for text in warnings)
    assert any(f"line 5, {patient_path(4)}: missing" in text for text in warnings)


def test_a_link_that_leads_outside_is_no_image_to_use(tmp_path: Path) -> None:
    outside = numbered_tree(tmp_path / "outside", 2)
    numbered_tree(tmp_path / "tree", 3)
    linked = tmp_path / "tree" / patient_path(1)
    linked.unlink()
    linked.symlink_to(outside.root / patient_path(1))
    folder = (tmp_path / "tree" / patient_path(2)).parent
    shutil.rmtree(folder)
    folder.symlink_to((outside.root / patient_path(0)).parent)
    (warning,) = (
        text
        for text in describe_tree(read_tree(tmp_path / "tree"), images=True).warnings
        if "cannot be used" in text
    )
    why = "leaves the data folder through a symbolic link"
    assert warning == (
        "train.csv: images that cannot be used: "
        f"2 (line 3, {patient_path(1)}: {why}, line 4, {patient_path(2)}: {why})"
    )


def test_a_site_s_path_into_another_site_leaves_its_tree(tmp_path: Path) -> None:
    there = numbered_tree(tmp_path / "b", 1)
    write_tree(tmp_path / "a", {f"../b/{patient_path(0)}": None})
    joined = read_sites({"a": tmp_path / "a", "b": there.root})
    assert (joined.root / str(joined.splits["train"].paths[0])).exists()
    assert (
        f"a: train.csv: images that cannot be used: "
        f"1 (line 2, ../b/{patient_path(0)}: leaves the data folder)"
    ) in describe_tree(joined, images=True).warnings


def test_the_json(odd: Path) -> None:
    done = bench("info", odd, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    train = document["splits"]["train"]
    assert train["studies"]["Edema"] == {
        "positive": 1, "uncertain": 1, "negative": 1, "blank": 1,
    }  # fmt: skip
    assert train["images"]["Edema"]["positive"] == 2
    assert set(train["studies"]) == set(train["images"]) == set(OBSERVATIONS)
    assert train["totals"] == {"patients": 2, "studies": 4, "images": 6}
    assert len(document["warnings"]) == 5
    assert document["synthetic"] is False
    assert document["rows"][0]["split"] == "train"
    assert bench("info", odd, "--format", "json").stdout == done.stdout


def test_the_tables(odd: Path, tmp_path: Path) -> None:
    done = bench("info", odd)
    assert done.returncode == 0, done.stderr
    assert "warning: patients in both train and valid: 1" in done.stdout
    assert "odd, train: labels of 4 studies" in done.stdout
    assert "1 (25.00 %)" in done.stdout
    images = bench("info", odd, "--level", "image", "--format", "csv")
    assert "odd, train: labels of 6 images" in images.stdout
    assert "Edema,2 (33.33 %),1 (16.67 %),1 (16.67 %),2 (33.33 %)" in images.stdout
    out = tmp_path / "info.md"
    assert bench("info", odd, "--format", "markdown", "--output", out).stdout == ""
    assert "| Edema" in out.read_text()


def test_a_phantom_is_called_synthetic(odd: Path) -> None:
    (odd / "PHANTOM.json").write_text('{"synthetic": true}')
    assert "synthetic" in bench("info", odd).stdout.lower()
    assert json.loads(bench("info", odd, "--json").stdout)["synthetic"] is True


def test_errors_have_a_place_and_exit_code_2(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad", train=[line("train/patient1/study1/view1.jpg", "2.0")])
    done = bench("info", bad)
    assert done.returncode == 2
    assert f"{bad}/train.csv:2:" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        done = bench("info", folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("bench: ")


def test_pack(tmp_path: Path) -> None:
    numbered_tree(tmp_path / "tree", 3)
    cache = tmp_path / "cache"
    done = bench("pack", tmp_path / "tree", "--size", 16, "--json", cache=cache)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][0]
    assert (row["split"], row["images"], row["skipped"], row["size"]) == ("train", 3, 0, 16)
    assert "decoding train: 3 of 3" in done.stderr
    again = bench("pack", tmp_path / "tree", "--size", 16, "--json", cache=cache)
    assert json.loads(again.stdout)["rows"][0]["digest"] == row["digest"]
    assert again.stderr == ""


def test_pack_fails_or_skips(tmp_path: Path) -> None:
    files = {patient_path(1): encoded(picture(1)), patient_path(2): b"no image"}
    write_tree(tmp_path / "tree", files)
    cache = tmp_path / "cache"
    failed = bench("pack", tmp_path / "tree", "--size", 16, cache=cache)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "train.csv:3: 1 of 2 images cannot be used" in failed.stderr
    skip = ("--on-bad-image", "skip")
    skipped = bench("pack", tmp_path / "tree", "--size", 16, *skip, cache=cache)
    assert skipped.returncode == 0, skipped.stderr
    assert f"skipped: train.csv:3: {patient_path(2)}: neither JPEG nor PNG" in skipped.stdout
    unknown = bench("pack", tmp_path / "tree", "--split", "exam", cache=cache)
    assert unknown.returncode == 2
    assert "there is no split 'exam'" in unknown.stderr


def test_chexperts_size_is_counted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(chexpert_csv())
    done = bench("info", tmp_path, "--json")
    train = json.loads(done.stdout)["splits"]["train"]
    assert (train["totals"]["images"], train["totals"]["studies"]) == (IMAGES, STUDIES)
    assert sum(train["images"]["Edema"].values()) == IMAGES


def test_duplicates_of_the_shared_set() -> None:
    warnings = describe_tree(read_tree(shared("kermany-224")), images=True).warnings
    assert any("groups of image files with the same content: 30 (" in text for text in warnings)


def facts(name: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(published(name))


def test_counting_follows_the_papers_table(tmp_path: Path) -> None:
    # A tree with one image a study whose labels are those of Table 1: its counts must come back,
    # with the paper's negatives being ours and the blanks.
    records = {r["label"]: r for r in facts("irvin2019_table1_dataset.yaml")["records"]}
    scale = 500
    kinds = {"positive": "1.0", "uncertain": "-1.0", "explicit_negative": "0.0", "blank": ""}
    columns, wanted = {}, {}
    total = 187_641 // scale
    for name, record in records.items():
        shares = {k: record["computed_study"][k] // scale for k in kinds if k != "blank"}
        shares["blank"] = total - sum(shares.values())
        columns[name] = [text for kind, text in kinds.items() for _ in range(shares[kind])]
        wanted[name] = shares
    rows = [
        f"train/patient{i}/study1/view1_frontal.jpg,,,,,"
        + ",".join(columns[name][i] for name in OBSERVATIONS)
        for i in range(total)
    ]
    found = describe_tree(read_tree(write(tmp_path, train=rows))).splits["train"].study_labels
    for name, shares in wanted.items():
        assert found[name]["positive"] == shares["positive"]
        assert found[name]["uncertain"] == shares["uncertain"]
        negative = found[name]["negative"] + found[name]["blank"]
        assert negative == total - shares["positive"] - shares["uncertain"]
