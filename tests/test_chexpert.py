"""The CheXpert reader: every release's quirks, and every way a label file can be wrong."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.chexpert import label_files, read_tree
from bench.data.csvfile import parse_csv
from bench.data.signatures import signatures
from bench.data.split import Split
from bench.errors import DataError
from bench.observations import OBSERVATIONS
from tests.chexpert_csv import HEADER, IMAGES, PATIENTS, STUDIES, chexpert_csv
from tests.shared_data import shared

NAN = np.nan
BLANK = "," * 13


def row(path: str, *, sex: str = "Male", age: str = "60", view: str = "Frontal", ap_pa: str = "AP",
        labels: str = BLANK) -> str:  # fmt: skip
    return f"{path},{sex},{age},{view},{ap_pa},{labels}"


def tree(root: Path, *rows: str, header: str = HEADER, name: str = "train.csv") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def train(root: Path) -> Split:
    return read_tree(root).splits["train"]


P1 = "patient00001/study1/view1_frontal.jpg"


def test_columns_become_arrays(tmp_path: Path) -> None:
    labels = "1.0,,0.0,-1.0,,,,,,,,,,1.0"
    split = train(
        tree(
            tmp_path,
            row(f"train/{P1}", labels=labels),
            row(
                "train/patient00001/study1/view2_lateral.jpg",
                view="Lateral",
                ap_pa="",
                labels=labels,
            ),
            row("train/patient00002/study3/view1_frontal.jpg", sex="Female", age="0", ap_pa="PA"),
        )
    )
    assert split.paths.tolist() == [
        f"train/{P1}",
        "train/patient00001/study1/view2_lateral.jpg",
        "train/patient00002/study3/view1_frontal.jpg",
    ]
    assert split.csv_lines.tolist() == [2, 3, 4]
    assert split.patients.tolist() == ["patient00001", "patient00002"]
    assert split.studies.tolist() == ["patient00001/study1", "patient00002/study3"]
    assert split.patient.tolist() == [0, 0, 1]
    assert split.study.tolist() == [0, 0, 1]
    assert split.observations == OBSERVATIONS
    assert split.labels.dtype == np.float32
    np.testing.assert_array_equal(split.labels[0], [1, NAN, 0, -1, *[NAN] * 9, 1])
    np.testing.assert_array_equal(split.labels[2], [NAN] * 14)
    assert split.sex.tolist() == ["Male", "Male", "Female"]
    assert split.age.tolist() == [60, 60, 0]
    assert split.view.tolist() == ["Frontal", "Lateral", "Frontal"]
    assert split.ap_pa.tolist() == ["AP", "", "PA"]


@pytest.mark.parametrize("ap_pa", ["AP", "PA", "LL", "RL", ""])
@pytest.mark.parametrize("sex", ["Unknown", ""])
def test_rare_words_of_the_metadata(tmp_path: Path, ap_pa: str, sex: str) -> None:
    split = train(tree(tmp_path, row(P1, ap_pa=ap_pa, sex=sex, age="")))
    assert (split.ap_pa[0], split.sex[0]) == (ap_pa, sex)
    assert np.isnan(split.age[0])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1), ("0.0", 0), ("-1.0", -1), ("", NAN), ("1", 1), ("0", 0), ("-1", -1),
        (" 1.0 ", 1), ("1.00", 1), ("+1", 1), ("-0.0", 0), ("nan", NAN), ("   ", NAN), ('"1.0"', 1),
    ],
)  # fmt: skip
def test_spellings_of_a_label(tmp_path: Path, text: str, value: float) -> None:
    labels = train(tree(tmp_path, row(P1, labels="," * 12 + f"{text},"))).labels
    np.testing.assert_array_equal(labels[0], [*[NAN] * 12, value, NAN])


@pytest.mark.parametrize(
    ("prefix", "on_disk", "expected"),
    [
        ("CheXpert-v1.0/train/", "train", "train/"),
        ("CheXpert-v1.0-small/train/", "train", "train/"),
        ("CheXpert-v1.0-small/train/", "CheXpert-v1.0-small/train", "CheXpert-v1.0-small/train/"),
        ("CheXpert-v1.0/valid/", "val", "val/"),
        ("val/", "valid", "valid/"),
        ("train/", "train", "train/"),
        ("", "", ""),
        ("mytree/train/", "train", "train/"),
        ("some/where/train/", "where/train", "where/train/"),
        ("CheXpert-v1.0 batch 2 (train 1)/", "CheXpert-v1.0 batch 2 (train 1)", None),
        ("CheXpert-v1.0 batch 2 (train 1)/", "", ""),
        ("CheXpert-v1.0/train/", "CheXpert-v1.0 batch 3 (train 2)",
         "CheXpert-v1.0 batch 3 (train 2)/"),
        ("CheXpert-v1.0/train/", "CheXpert-v1.0 batch 3 (train 2)/train",
         "CheXpert-v1.0 batch 3 (train 2)/train/"),
        # Not on this disk: the release's prefix still goes.
        ("CheXpert-v1.0/train/", None, "train/"),
        ("CheXpert-v1.0 batch 2 (train 1)/", None, ""),
        ("mytree/", None, ""),
        ("elsewhere/", None, "elsewhere/"),
    ],
)  # fmt: skip
def test_prefixes(tmp_path: Path, prefix: str, on_disk: str | None, expected: str | None) -> None:
    root = tree(tmp_path / "mytree", row(prefix + P1))
    if on_disk is not None:
        (root / on_disk / P1).parent.mkdir(parents=True)
        (root / on_disk / P1).touch()
    split = train(root)
    assert split.paths.tolist() == [(prefix if expected is None else expected) + P1]
    assert (root / split.paths[0]).exists() == (on_disk is not None)
    assert split.studies.tolist() == ["patient00001/study1"]


@pytest.mark.parametrize("path", [f"../{P1}", f"/etc/{P1}", f"a/../../{P1}"])
def test_paths_that_climb_are_left_for_the_packer_to_report(tmp_path: Path, path: str) -> None:
    assert train(tree(tmp_path, row(path))).paths.tolist() == [path]


def test_study_one_of_two_patients_is_two_studies(tmp_path: Path) -> None:
    split = train(
        tree(
            tmp_path,
            row("train/patient2/study1/view1_frontal.jpg"),
            row("train/patient1/study1/view1_frontal.jpg"),
            row("train/patient2/study1/view2_lateral.jpg"),
        )
    )
    assert split.studies.tolist() == ["patient2/study1", "patient1/study1"]
    assert split.study.tolist() == [0, 1, 0]
    assert split.study_patient().tolist() == [0, 1]


def test_columns_are_found_by_name_in_any_order_and_spelling(tmp_path: Path) -> None:
    names = [name.replace(" ", "_") for name in reversed(OBSERVATIONS)]
    header = ",".join(["site", *names, "AP/PA", "Age", "path", "frontal/lateral", "Sex"])
    values = ",".join(["St. Mary's", "1.0", *[""] * 12, "0.0", "PA", "41", P1, "Frontal", "Female"])
    tree_read = read_tree(tree(tmp_path, values, header=header))
    split = tree_read.splits["train"]
    np.testing.assert_array_equal(split.labels[0], [0, *[NAN] * 12, 1])
    assert (split.sex[0], split.age[0], split.ap_pa[0]) == ("Female", 41, "PA")
    assert {name: values.tolist() for name, values in split.extra.items()} == {
        "site": ["St. Mary's"]
    }
    assert tree_read.warnings == ()


def test_missing_label_columns_are_blank_and_said_so(tmp_path: Path) -> None:
    read = read_tree(tree(tmp_path, f"{P1},1.0", header="Path,Pneumonia"))
    split = read.splits["train"]
    np.testing.assert_array_equal(split.labels[0], [*[NAN] * 7, 1, *[NAN] * 6])
    assert "no column for No Finding, Enlarged Cardiomediastinum" in read.warnings[0]
    assert split.view.tolist() == ["Frontal"], "taken from the file's name"
    assert split.sex.tolist() == [""]
    assert np.isnan(split.age[0])


def test_a_misspelt_label_column_is_pointed_at(tmp_path: Path) -> None:
    header = HEADER.replace("Cardiomegaly", "Cardiomegally")
    warnings = read_tree(tree(tmp_path, row(P1), header=header)).warnings
    assert any("'Cardiomegally' is unknown; did you mean 'Cardiomegaly'" in w for w in warnings)


def test_a_column_of_reports_is_left_out(tmp_path: Path) -> None:
    read = read_tree(tree(tmp_path, row(P1) + "," + "x" * 300, header=HEADER + ",report"))
    assert read.splits["train"].extra == {}
    assert "'report' is left out" in read.warnings[0]


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n\r\n",
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\n".join(
            ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.split("\n") if line
        ),
    ],
    ids=["bom", "crlf", "cr", "no last newline", "blank tail", "blank lines", "quotes"],
)
def test_ways_of_writing_a_csv(tmp_path: Path, mangle) -> None:  # type: ignore[no-untyped-def]
    text = "\n".join([HEADER, row(P1, labels="1.0" + BLANK), row(P1, labels=BLANK[1:] + ",-1.0")])
    root = tmp_path / "tree"
    root.mkdir()
    (root / "train.csv").write_text(mangle(text + "\n"), encoding="utf-8", newline="")
    split = train(root)
    np.testing.assert_array_equal(split.labels, [[1, *[NAN] * 13], [*[NAN] * 13, -1]])
    assert split.sex.tolist() == ["Male", "Male"]


def test_quoted_cells_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    read = read_tree(tree(tmp_path, row(P1) + ',"a, ""b""\nc"', header=HEADER + ",note"))
    assert read.splits["train"].extra["note"].tolist() == ['a, "b"\nc']


def test_lines_are_counted_across_quoted_line_ends(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        row(P1) + ',"two\nlines"',
        row(P1, labels="2.0" + BLANK) + ",x",
        header=HEADER + ",note",
    )
    with pytest.raises(DataError) as caught:
        read_tree(root)
    assert str(caught.value.where).startswith(f"{root / 'train.csv'}:4:")


@given(
    st.lists(
        st.lists(
            st.text(
                st.characters(
                    codec="utf-8", exclude_characters="\0\r", exclude_categories=["Zs", "Cc"]
                ),
                max_size=6,
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_cells_are_those_of_the_standard_library(rows: list[list[str]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([["a", "b", "c"], *rows])
    sheet = parse_csv(Path("x.csv"), stream.getvalue().encode())
    expected = list(csv.reader(io.StringIO(stream.getvalue())))
    cells = [sheet.text(column, limit=100).tolist() for column in range(3)]
    assert [list(cells) for cells in zip(*cells, strict=True)] == [
        [cell.strip() for cell in row] for row in expected[1:]
    ]


LONG = "x" * 2000
WRONG = {
    "empty": (b"", "the file is empty", None),
    "only blank lines": (b"\n\n\r\n", "the file is empty", None),
    "header only": (HEADER.encode() + b"\n", "a header and no rows", 1),
    "label 2.0": (row(P1, labels="2.0" + BLANK).encode(), "'No Finding' holds no label", 2),
    "label word": (row(P1, labels=BLANK + "abc").encode(), "'Support Devices' holds no label", 2),
    "label inf": (row(P1, labels=BLANK + "inf").encode(), "holds no label", 2),
    "label 0.5": (row(P1, labels="0.5" + BLANK).encode(), "holds no label", 2),
    "sex": (row(P1, sex="M").encode(), "'Sex' holds an unknown word", 2),
    "age word": (row(P1, age="old").encode(), "'Age' holds no age", 2),
    "age negative": (row(P1, age="-3").encode(), "'Age' holds no age", 2),
    "age infinite": (row(P1, age="inf").encode(), "'Age' holds no age", 2),
    "age too large for a float": (row(P1, age="1e300").encode(), "'Age' holds no age", 2),
    "view": (row(P1, view="Oblique").encode(), "'Frontal/Lateral' holds an unknown word", 2),
    "ap": (row(P1, ap_pa="XX").encode(), "'AP/PA' holds an unknown word", 2),
    "empty path": (row("").encode(), "the path is empty", 2),
    "no patient": (row("train/view1_frontal.jpg").encode(), "names no patient and study", 2),
    "no study": (row("train/patient1/view1.jpg").encode(), "names no patient and study", 2),
    "long path": (row(f"{LONG}/{P1}").encode(), "holds a cell of 2,03", 2),
    "short row": (row(P1)[:-1].encode(), "the row has 18 cells", 2),
    "long row": (row(P1).encode() + b",1.0", "the row has 20 cells", 2),
    "open quote": (row('"' + P1).encode(), "a quoted cell does not end", 2),
    "mixed levels": (
        f"{row(P1)}\n{row('train/patient1/study1')}".encode(), "some rows are images", None,
    ),
    "not utf-8": (row(P1, sex="M\0le").replace("\0", "\xe4").encode("latin-1"), "not UTF-8", 2),
    "nul": (row(P1, sex="M\0le").encode(), "NUL byte", 2),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, case: str) -> None:
    data, message, line = WRONG[case]
    if data.strip() and not data.startswith(b"Path"):
        data = HEADER.encode() + b"\n" + data + b"\n"
    file = tmp_path / "train.csv"
    file.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_tree(tmp_path)
    place = str(caught.value.where)
    assert place.startswith(str(file if line is None else f"{file}:{line}"))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Image,Sex,Pneumonia", "there is no column 'Path'"),
        (HEADER.replace(",", ";"), "there is no column 'Path'"),
        (HEADER + ",Edema", "two columns are called 'Edema'"),
        (HEADER + ",edema", "two columns are called 'Edema'"),
        ("Path,Sex,Age", "there is no label column"),
    ],
)
def test_what_is_wrong_in_a_header(tmp_path: Path, header: str, message: str) -> None:
    cells = header.count(",") + 1
    tree(tmp_path, ",".join([P1, *[""] * (cells - 1)]), header=header)
    with pytest.raises(DataError, match=message) as caught:
        read_tree(tmp_path)
    assert caught.value.where == f"{tmp_path / 'train.csv'}:1"


def test_remedies(tmp_path: Path) -> None:
    tree(tmp_path / "semicolons", P1, header=HEADER.replace(",", ";"))
    with pytest.raises(DataError, match="separated by semicolons"):
        read_tree(tmp_path / "semicolons")
    tree(tmp_path / "cut", row(P1), row(P1)[:60])
    with pytest.raises(DataError, match="the file seems to be cut off: get it again"):
        read_tree(tmp_path / "cut")
    tree(tmp_path / "comma", row(P1) + ",", row(P1))
    with pytest.raises(DataError, match="a cell that holds a comma needs quotes"):
        read_tree(tmp_path / "comma")
    tree(tmp_path / "outer" / "inner", row(P1))
    with pytest.raises(DataError, match=r"did you mean .*inner\?"):
        read_tree(tmp_path / "outer")
    with pytest.raises(DataError, match="no such folder"):
        read_tree(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="a file, not a folder"):
        read_tree(tmp_path / "file")
    (tmp_path / "utf16").mkdir()
    (tmp_path / "utf16" / "train.csv").write_text(HEADER, encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        read_tree(tmp_path / "utf16")


def test_the_column_is_where_an_editor_would_put_the_cursor(tmp_path: Path) -> None:
    tree(tmp_path, row(P1), row(P1, labels="2.0" + BLANK))
    with pytest.raises(DataError) as caught:
        read_tree(tmp_path)
    column = len(f"{P1},Male,60,Frontal,AP,") + 1
    assert caught.value.where == f"{tmp_path / 'train.csv'}:3:{column}"
    assert caught.value.found == "'2.0'"


def test_splits_names_and_digest(tmp_path: Path) -> None:
    tree(tmp_path, row(f"CheXpert-v1.0-small/train/{P1}"))
    tree(tmp_path, row(f"CheXpert-v1.0-small/valid/{P1}"), name="val.csv")
    tree(tmp_path, f"{P1},1.0", header="Path,Edema", name="test_labels.csv")
    read = read_tree(tmp_path)
    assert list(read.splits) == ["train", "valid", "test"]
    assert read.splits["valid"].csv.name == "val.csv"
    assert [split.name for split in read.splits.values()] == ["train", "valid", "test"]
    expected = hashlib.sha256()
    for name in ("train.csv", "val.csv", "test_labels.csv"):
        data = (tmp_path / name).read_bytes()
        expected.update(f"{name}\0{len(data)}\0".encode() + data)
    assert read.digest == expected.hexdigest()
    assert list(read_tree(tmp_path, splits=("valid",)).splits) == ["valid"]
    assert not read.synthetic
    assert read.ideal_auroc is None


def test_of_two_files_of_one_split_the_other_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    tree(tmp_path, row(f"train/{P1}"))
    tree(tmp_path, row(f"valid/{P1}", sex="Male"), name="valid.csv")
    tree(tmp_path, row(f"valid/{P1}", sex="Female"), name="val_labels.csv")
    tree(tmp_path, row(f"valid/{P1}", sex="Female"), name="val.csv")
    read = read_tree(tmp_path)
    assert read.splits["valid"].sex.tolist() == ["Male"]
    assert read.warnings == ("valid.csv is read, and not val.csv nor val_labels.csv beside it",)
    assert read_tree(tmp_path, splits=("train",)).warnings == ()


def test_the_name_is_the_prefix_or_the_folder(tmp_path: Path) -> None:
    small = tree(tmp_path / "a", row(f"CheXpert-v1.0-small/train/{P1}"))
    assert read_tree(small).name == "CheXpert-v1.0-small"
    assert read_tree(tree(tmp_path / "hospital", row(f"train/{P1}"))).name == "hospital"


def test_a_tree_without_training_labels(tmp_path: Path) -> None:
    tree(tmp_path, row(P1), name="test.csv")
    assert list(label_files(tmp_path)) == ["test"]
    with pytest.raises(DataError, match=r"no train\.csv"):
        read_tree(tmp_path)
    assert list(read_tree(tmp_path, splits=("test",)).splits) == ["test"]
    with pytest.raises(DataError, match="no label file"):
        read_tree(tmp_path, splits=("valid",))


def test_the_label_files_of_the_batched_release(tmp_path: Path) -> None:
    tree(tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)", row(f"CheXpert-v1.0/train/{P1}"))
    image = tmp_path / "CheXpert-v1.0 batch 2 (train 1)" / P1
    image.parent.mkdir(parents=True)
    image.touch()
    split = train(tmp_path)
    assert (tmp_path / split.paths[0]) == image


def test_tabs_around_cells_are_blanks_as_well(tmp_path: Path) -> None:
    split = train(tree(tmp_path, row(f"\t{P1}", sex="Male\t", age="\t60")))
    assert split.paths.tolist() == [P1]
    assert split.sex.tolist() == ["Male"]


def test_a_column_study_beside_the_paths_is_a_further_column(tmp_path: Path) -> None:
    split = train(tree(tmp_path, row(P1) + ",a", header=HEADER + ",Study"))
    assert split.paths.tolist() == [P1]
    assert split.extra["Study"].tolist() == ["a"]


@pytest.mark.parametrize("level", ["image", "study"])
def test_names_longer_than_disks_allow_are_unusable_images(tmp_path: Path, level: str) -> None:
    (tmp_path / "train").mkdir()
    path = f"{'a' * 300}/{P1}" if level == "image" else f"train/patient{'1' * 300}/study1"
    split = train(tree(tmp_path, row(path)))
    assert split.paths.tolist() == [path]
    assert signatures(str(tmp_path), [path])[1] == {0: "cannot be read (File name too long)"}


def test_ground_truth_has_a_row_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "patient64741" / "study1"
    folder.mkdir(parents=True)
    for name in ("view1_frontal.jpg", "view2_lateral.jpg", "notes.txt", "._view1_frontal.jpg"):
        (folder / name).touch()
    header = "Study," + ",".join(OBSERVATIONS)
    rows = [
        "CheXpert-v1.0/test/patient64741/study1" + ",1" * 14,
        "CheXpert-v1.0/test/patient64742/study1/" + ",0" * 14,
    ]
    tree(tmp_path, *rows, header=header, name="groundtruth.csv")
    read = read_tree(tmp_path, splits=("test",))
    split = read.splits["test"]
    assert split.paths.tolist() == [
        "test/patient64741/study1/view1_frontal.jpg",
        "test/patient64741/study1/view2_lateral.jpg",
        "test/patient64742/study1",
    ]
    assert split.view.tolist() == ["Frontal", "Lateral", ""]
    assert split.study.tolist() == [0, 0, 1]
    assert split.csv_lines.tolist() == [2, 2, 3]
    np.testing.assert_array_equal(split.labels[:, 0], [1, 1, 0])
    assert "1 of 2 studies have none" in read.warnings[0]


def test_the_phantoms_marker(tmp_path: Path) -> None:
    tree(tmp_path, row(f"train/{P1}"))
    before = read_tree(tmp_path).digest
    marker = {"synthetic": True, "ideal_auroc": {"valid": {"Edema": 0.9, "Fracture": None}}}
    (tmp_path / "PHANTOM.json").write_text(json.dumps(marker))
    read = read_tree(tmp_path)
    assert read.synthetic
    assert read.name == "phantom"
    assert read.ideal_auroc == {"Edema": 0.9}
    assert read.digest != before
    for broken in ("{", "[1]", '{"ideal_auroc": {"valid": {"Edema": "high"}}}'):
        (tmp_path / "PHANTOM.json").write_text(broken)
        with pytest.raises(DataError, match="generate the phantom again"):
            read_tree(tmp_path)


MEASURED = """
import sys
from pathlib import Path
from bench.data.chexpert import read_tree
split = read_tree(Path(sys.argv[1])).splits["train"]
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")] or [0]
print(len(split), len(split.studies), len(split.patients), peak[0] * 1024)
"""
"""VmHWM is this program's own peak; ru_maxrss would count the process that started it."""


def test_chexperts_size_is_read_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(chexpert_csv())
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path], capture_output=True, text=True, check=True
    )
    images, studies, patients, peak = map(float, done.stdout.split())
    assert (images, studies, patients) == (IMAGES, STUDIES, PATIENTS)
    assert peak < 1e9


@pytest.mark.parametrize(
    ("name", "images", "patients", "positive"),
    [
        ("kermany-224", (5216, 624), (2846, 427), {"Pneumonia": 3875}),
        ("nih1000-64", (732, 268), (194, 70), {}),
        ("nih621-320", (411, 210), (411, 210), {"Cardiomegaly": 31}),
    ],
)
def test_the_shared_sets(
    name: str, images: tuple[int, int], patients: tuple[int, int], positive: dict[str, int]
) -> None:
    read = read_tree(shared(name))
    assert read.name == name
    assert tuple(len(split) for split in read.splits.values()) == images
    assert tuple(len(split.patients) for split in read.splits.values()) == patients
    labels = read.splits["train"].labels
    for observation, count in positive.items():
        assert (labels[:, OBSERVATIONS.index(observation)] == 1).sum() == count
    assert all((read.root / path).is_file() for path in read.splits["valid"].paths)


def test_the_published_ground_truth() -> None:
    split = read_tree(shared("chexpert-test"), splits=("test",)).splits["test"]
    assert len(split.studies) == len(split.patients) == 500
    counts = (split.study_labels() == 1).sum(axis=0)
    assert counts[OBSERVATIONS.index("Pleural Effusion")] == 104
    assert counts[OBSERVATIONS.index("Lung Opacity")] == 264
