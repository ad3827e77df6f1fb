"""The phantom as a tree on disk: its bytes, its layout, where it may be written and the command."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.chexpert import read_tree
from bench.data.phantom import MARKER, Parameters, embedded, read_marker, studio, write_phantom
from bench.data.phantom.pictures import Job
from bench.data.split import Tree
from bench.errors import UsageError
from bench.observations import OBSERVATIONS
from tests.in_process import call
from tests.phantom_trees import SMALL, files_of, write_small
from tests.processes import process


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_small(tmp_path_factory.mktemp("phantom") / "tree")


def test_the_same_parameters_give_the_same_bytes_whatever_the_workers(
    tree: Tree, tmp_path: Path
) -> None:
    write_small(tmp_path / "again", workers=1)
    write_small(tmp_path / "many", workers=5)
    assert files_of(tmp_path / "again") == files_of(tree.root)
    assert files_of(tmp_path / "many") == files_of(tree.root)


def test_another_seed_gives_other_images_and_labels(tree: Tree, tmp_path: Path) -> None:
    other = write_small(tmp_path / "other", seed=4, train_patients=6)
    ours, theirs = files_of(tree.root), files_of(other.root)
    first = "train/patient00001/study1/view1_frontal.jpg"
    assert ours[first] != theirs[first]
    assert ours["valid.csv"] != theirs["valid.csv"]


def test_more_patients_leave_the_others_as_they_were(tree: Tree, tmp_path: Path) -> None:
    fewer = write_small(tmp_path / "fewer", train_patients=5, valid_patients=3, test_patients=1)
    ours, theirs = files_of(tree.root), files_of(fewer.root)
    for name in theirs:
        if name.endswith(".jpg"):
            assert theirs[name] == ours[name]
        elif name.endswith(".csv"):
            assert ours[name].startswith(theirs[name])


def test_it_reads_back_as_a_synthetic_chexpert_tree(tree: Tree) -> None:
    assert tree.synthetic
    assert tree.name == "phantom"
    assert tree.warnings == ()
    assert set(tree.splits) == {"train", "valid", "test"}
    for name, split in tree.splits.items():
        assert split.observations == OBSERVATIONS
        assert len(split.patients) == SMALL[f"{name}_patients"]
        assert set(split.sex) == {"Male", "Female"}
        assert split.age.min() >= 18
        assert split.age.max() <= 90
        frontal = split.view == "Frontal"
        assert set(split.ap_pa[frontal]) == {"AP", "PA"}
        assert set(split.ap_pa[~frontal]) <= {""}
        for path, view in zip(split.paths, split.view, strict=True):
            assert path.endswith(f"_{view.lower()}.jpg")
            with Image.open(split.root / path) as image:
                assert image.size == (32, 32)
                assert image.mode == "L"


def test_the_label_file_has_chexperts_columns_and_the_phantoms_prefix(tree: Tree) -> None:
    with (tree.root / "train.csv").open(newline="") as stream:
        header, first, *_ = csv.reader(stream)
    assert header == ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS]
    assert first[0] == "phantom/train/patient00001/study1/view1_frontal.jpg"
    assert set(first[5:]) <= {"", "1.0", "0.0", "-1.0"}


def test_splits_share_no_patient_and_views_share_their_studys_labels(tree: Tree) -> None:
    patients = [set(split.patients) for split in tree.splits.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))
    train = tree.splits["train"]
    assert len(train) > len(train.studies) > len(train.patients)
    np.testing.assert_array_equal(train.labels, train.study_labels()[train.study])


def test_only_training_labels_are_blank_or_uncertain(tree: Tree) -> None:
    train = tree.splits["train"].labels
    assert np.isnan(train).any()
    assert (train == -1).any()
    for name in ("valid", "test"):
        assert set(np.unique(tree.splits[name].labels)) == {0.0, 1.0}


def test_no_finding_is_one_or_blank_and_stands_alone(tree: Tree) -> None:
    labels = tree.splits["train"].labels
    none = labels[:, 0]
    assert set(none[~np.isnan(none)]) == {1.0}
    spoken = (labels[:, 1:-1] == 1) | (labels[:, 1:-1] == -1)
    np.testing.assert_array_equal(none == 1, ~spoken.any(axis=1))


def test_the_marker_says_synthetic_and_with_what_it_was_made(tree: Tree) -> None:
    marker = json.loads((tree.root / MARKER).read_text())
    assert marker == read_marker(tree.root)
    assert marker["synthetic"] is True
    assert "SYNTHETIC" in marker["notice"]
    assert marker["parameters"] == SMALL
    assert set(marker["ideal_auroc"]) == {"train", "valid", "test"}
    assert tree.ideal_auroc == marker["ideal_auroc"]["valid"]


def test_a_phantom_is_replaced_and_an_empty_folder_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    few = {"train_patients": 3, "valid_patients": 0, "test_patients": 0}
    for train in (3, 1):
        tree = write_small(tmp_path / "empty", **(few | {"train_patients": train}))
        assert set(tree.splits) == {"train"}
        assert len(list((tree.root / "train").iterdir())) == train
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("case", ["stranger", "stranger beside a marker", "file"])
def test_what_is_not_a_phantom_is_left_alone(case: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    if case == "file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / "thesis.txt").write_text("mine")
        if case == "stranger beside a marker":
            (output / MARKER).write_text("{}")
    before = files_of(tmp_path)
    with pytest.raises(UsageError) as caught:
        write_small(output)
    assert str(output) in caught.value.message()
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, workers: int) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_small(tmp_path / "output", workers=workers, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_phantom_that_cannot_be_replaced_stays(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tree.root, tmp_path / "output")
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.EIO, "the disk is gone")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UsageError, match="the phantom cannot be written"):
        write_small(tmp_path / "output", seed=4)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    assert files_of(tmp_path / "output") == files_of(tree.root)


def test_a_lost_process_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UsageError, match="ended before its work was done") as caught:
        write_small(tmp_path / "output", workers=2)
    assert "exit status 1" in caught.value.message()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_cannot_write_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio, "write_pictures", None)  # the others do it
    jobs = [Job(folder="/proc/nowhere", split="train", patients=(0, 1), size=32, seed=0)] * 2
    with pytest.raises(FileNotFoundError) as caught:
        studio.write_images(jobs, 2, workers=2, progress=None)
    assert "/proc/nowhere" in str(caught.value)


def test_progress_ends_at_the_number_of_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    few = SMALL | {"train_patients": 4, "valid_patients": 2, "test_patients": 0}
    tree = write_phantom(
        tmp_path / "output",
        progress=lambda done, total: seen.append((done, total)),
        **few,  # type: ignore[arg-type]
    )
    images = sum(len(split) for split in tree.splits.values())
    assert seen[-1] == (images, images)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"train_patients": 0}, "0 train patients"),
        ({"train_patients": 60_001}, "60,001 train patients"),
        ({"valid_patients": -1}, "-1 valid patients"),
        ({"test_patients": 20_000}, "20,000 test patients"),
        ({"size": 31}, "31 pixels"),
        ({"size": 1025}, "1025 pixels"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, int], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        Parameters(**(SMALL | changes))


def test_a_folder_that_cannot_be_written_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_small(tmp_path / "file" / "output")


def test_the_embedded_phantom_is_written_once_by_however_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    few = SMALL | {"train_patients": 4, "valid_patients": 4}
    monkeypatch.setattr(embedded, "EMBEDDED", Parameters(**few))
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: embedded.embedded_phantom(), range(3)))
    assert folders == {embedded.embedded_phantom_folder()}
    assert list((tmp_path / "cache").iterdir()) == list(folders)
    (folder,) = folders
    assert read_tree(folder).synthetic
    written = (folder / MARKER).stat().st_mtime_ns
    embedded.embedded_phantom(lambda done, total: pytest.fail("written again"))
    assert (folder / MARKER).stat().st_mtime_ns == written


def test_a_cache_that_cannot_be_written_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"File exists(?s:.)*set \$BENCH_CACHE") as caught:
        embedded.embedded_phantom()
    assert caught.value.where == str(embedded.embedded_phantom_folder())


@pytest.mark.parametrize("output", [".", "..", "../inner"])
def test_the_folder_one_stands_in_is_not_replaced(
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    ended = call(capsys, "data", "phantom", "--output", output)
    assert ended.code == 2
    assert f"bench: {output}: the output is the current folder" in ended.err
    assert inner.is_dir()


def test_other_parameters_are_another_embedded_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    first = embedded.embedded_phantom_folder()
    monkeypatch.setattr(embedded, "EMBEDDED", Parameters(**SMALL))
    assert embedded.embedded_phantom_folder() != first


def test_the_phantom_needs_no_torch() -> None:
    code = "import sys, bench.data.phantom.sheet, bench.data.phantom; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_command_writes_a_tree_and_a_sheet_and_says_synthetic(tmp_path: Path) -> None:
    output, sheet = tmp_path / "tree", tmp_path / "sheet.png"
    done = process(
        *("data", "phantom", "--output", output, "--sheet", sheet, "--json"),
        *("--train-patients", 3, "--valid-patients", 6, "--test-patients", 2),
        *("--size", 40, "--seed", 11),
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["synthetic"] is True
    assert [row["observation"] for row in shown["rows"]] == list(OBSERVATIONS)
    assert "SYNTHETIC" in done.stderr
    tree = read_tree(output)
    positive = (tree.splits["valid"].study_labels() == 1).sum(axis=0)
    assert [row["positive:valid"] for row in shown["rows"]] == positive.tolist()
    assert read_marker(output)["parameters"]["seed"] == 11
    with Image.open(sheet) as image:
        assert image.mode == "L"
        assert np.asarray(image).std() > 20


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "nothing to write"),
        (["--output", "{here}"], "left alone"),
        (["--output", "{here}/new", "--size", "7"], "7 pixels"),
        (["--sheet", "{here}/sheet.docx"], "no kind of image"),
        (["--output", "{here}/new", "--train-patients", "none"], "train-patients"),
    ],
)
def test_the_command_refuses_with_one_message(
    arguments: list[str], part: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = process("data", "phantom", *(a.format(here=tmp_path) for a in arguments))
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
