"""Reading and matching files of predictions, truth and radiologists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import PredictionError, UsageError
from bench.scoring.ids import parse_id, view_of
from bench.scoring.predictions import Rules, match, read_truth
from bench.scoring.readers import read_readers

TRUTH = """Study,Edema,Fracture
CheXpert-v1.0/test/patient1/study1,1,0
CheXpert-v1.0/test/patient2/study1,0,1
CheXpert-v1.0/test/patient3/study2,0,
"""
PREDICTIONS = """Study,Edema,Fracture
CheXpert-v1.0/test/patient1/study1,0.9,0.1
CheXpert-v1.0/test/patient2/study1,0.2,0.7
CheXpert-v1.0/test/patient3/study2,0.4,0.3
"""


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def scored(folder: Path, truth: str, *predictions: str, **rules: object):
    labels = read_truth(write(folder, "truth.csv", truth), Rules(**rules))  # type: ignore[arg-type]
    paths = [write(folder, f"p{i}.csv", text) for i, text in enumerate(predictions)]
    return match(labels, paths, "model")


@pytest.mark.parametrize(
    "text",
    [
        "CheXpert-v1.0/test/patient64741/study1",
        "CheXpert-v1.0-small/valid/patient64741/study1/",
        "CheXpert-v1.0 batch 2 (train 1)/patient64741/study1",
        "test/patient64741/study1",
        "patient64741/study1",
        "./patient64741//study1",
        "/home/someone/data/CheXpert-v1.0/test/patient64741/study1",
        "CheXpert-v1.0\\test\\patient64741\\study1",
        "  Patient64741/Study1 ",
    ],
)
def test_every_prefix_is_one_study(text: str) -> None:
    key = parse_id(text)
    assert key is not None
    assert (key.study, key.unit, key.patient) == (
        "patient64741/study1",
        "patient64741/study1",
        "patient64741",
    )
    assert not key.is_image


@pytest.mark.parametrize("ending", ["view1_frontal.jpg", "view1_frontal.PNG", "view1_frontal"])
def test_images_know_their_study(ending: str) -> None:
    key = parse_id(f"CheXpert-v1.0-small/valid/patient1/study3/{ending}")
    assert key is not None
    assert key.is_image
    assert (key.unit, key.study) == ("patient1/study3/view1_frontal", "patient1/study3")
    assert view_of(key) == "Frontal"


def test_ids_of_other_collections() -> None:
    image, study = parse_id("images/00000013_005.png"), parse_id("case-17")
    assert image is not None
    assert (image.unit, image.study, image.is_image) == (*["images/00000013_005"] * 2, True)
    assert study is not None
    assert (study.unit, study.patient, study.is_image) == ("case-17", "case-17", False)
    assert parse_id(" / ") is None


def test_columns_and_rows_in_any_order(tmp_path: Path) -> None:
    shuffled = """Fracture,Sex,Study,edema
0.3,Male,patient3/study2,0.4
0.1,Female,test/patient1/study1/,0.9
0.7,Male,CheXpert-v1.0-small/test/patient2/study1,0.2
"""
    one = scored(tmp_path, TRUTH, PREDICTIONS).scored
    other = scored(tmp_path, TRUTH, shuffled)
    assert other.scored.observations == ("Edema", "Fracture")
    np.testing.assert_array_equal(one.scores, other.scored.scores)
    np.testing.assert_array_equal(one.scores[0], [[0.9, 0.1], [0.2, 0.7], [0.4, 0.3]])
    np.testing.assert_array_equal(one.labels, [[1, 0], [0, 1], [0, np.nan]])
    assert one.patients.tolist() == ["patient1", "patient2", "patient3"]
    assert other.notes == ()


def test_byte_order_mark_windows_lines_and_blank_lines(tmp_path: Path) -> None:
    text = "\ufeff" + PREDICTIONS.replace("\n", "\r\n") + "\r\n\r\n"
    result = scored(tmp_path, TRUTH, text).scored
    assert result.scores[0, 0].tolist() == [0.9, 0.1]


def test_any_real_number_is_a_score(tmp_path: Path) -> None:
    text = PREDICTIONS.replace("0.9", "-1.5e3").replace("0.2", "+7").replace("0.4", " 1009 ")
    assert scored(tmp_path, TRUTH, text).scored.scores[0, :, 0].tolist() == [-1500.0, 7.0, 1009.0]


def test_conditions_of_one_side_are_named(tmp_path: Path) -> None:
    text = PREDICTIONS.replace("Fracture", "Scoliosis")
    result = scored(tmp_path, TRUTH, text)
    assert result.scored.observations == ("Edema",)
    assert result.notes == (
        "Predicted but not scored, as not in the truth or not in every file: Scoliosis.",
        "In the truth but not predicted: Fracture.",
    )


def test_a_column_without_predictions_is_named(tmp_path: Path) -> None:
    text = PREDICTIONS.replace(",0.1\n", ",\n").replace(",0.7\n", ",\n").replace(",0.3\n", ",\n")
    result = scored(tmp_path, TRUTH, text)
    assert result.scored.observations == ("Edema",)
    assert result.notes == ("Columns without any prediction: Fracture.",)


IMAGES = """Path,Edema,Fracture
test/patient1/study1/view1_frontal.jpg,0.2,0.1
test/patient1/study1/view2_lateral.jpg,0.9,0.3
test/patient2/study1/view1_frontal.jpg,0.2,0.7
test/patient3/study2/view1_frontal.jpg,0.4,0.3
"""


@pytest.mark.parametrize(
    ("views", "expected"),
    [("max", [0.9, 0.3]), ("mean", [0.55, 0.2]), ("frontal", [0.2, 0.1])],
)
def test_images_become_studies(tmp_path: Path, views: str, expected: list[float]) -> None:
    result = scored(tmp_path, TRUTH, IMAGES, views=views).scored
    np.testing.assert_allclose(result.scores[0, 0], expected)
    assert result.studies.tolist() == ["patient1/study1", "patient2/study1", "patient3/study2"]


def test_ensemble_is_the_mean_before_the_maximum(tmp_path: Path) -> None:
    # Views 0.2 and 0.9 against 0.8 and 0.1: means 0.5 and 0.5, so 0.5, not (0.9 + 0.8) / 2.
    second = IMAGES.replace("0.2,0.1", "0.8,0.1", 1).replace("0.9,0.3", "0.1,0.3", 1)
    rows = second.splitlines()
    second = "\n".join([rows[0], *rows[:0:-1]])
    result = scored(tmp_path, TRUTH, IMAGES, second).scored
    assert result.scores[0, 0, 0] == pytest.approx(0.5)
    assert result.scores[0, 1, 0] == pytest.approx(0.2)


def test_image_truth_is_one_label_a_study(tmp_path: Path) -> None:
    truth = """Path,Sex,Age,Frontal/Lateral,AP/PA,Edema
v/patient1/study1/view1_frontal.jpg,Male,50,Frontal,AP,1
v/patient1/study1/view2_lateral.jpg,Male,50,Lateral,,1
v/patient2/study1/view1_frontal.jpg,Male,50,Frontal,AP,0
"""
    predictions = "Study,Edema\npatient2/study1,0.1\npatient1/study1,0.7\n"
    result = scored(tmp_path, truth, predictions).scored
    assert result.labels[:, 0].tolist() == [1, 0]
    assert result.scores[0, :, 0].tolist() == [0.7, 0.1]
    by_image = scored(tmp_path, truth, IMAGES.rsplit("test/patient3", 1)[0], level="image").scored
    assert by_image.scores[0, :, 0].tolist() == [0.2, 0.9, 0.2]


def test_images_without_studies_are_scored_one_by_one(tmp_path: Path) -> None:
    truth = "Path,Edema\nimages/1.png,1\nimages/2.png,0\n"
    predictions = "Path,Edema\nimages/2.png,0.3\nimages/1.png,0.4\n"
    labels = read_truth(write(tmp_path, "t.csv", truth), Rules())
    assert labels.level == "image"
    assert match(labels, [write(tmp_path, "p.csv", predictions)], "m").scored.scores.size == 2


@pytest.mark.parametrize(("meaning", "label"), [("ignore", None), ("zeros", 0.0), ("ones", 1.0)])
def test_uncertain_truth_means_what_is_said(
    tmp_path: Path, meaning: str, label: float | None
) -> None:
    truth = TRUTH.replace("study1,0,1", "study1,-1,1")
    labels = scored(tmp_path, truth, PREDICTIONS, uncertain=meaning).scored.labels
    assert np.isnan(labels[1, 0]) if label is None else labels[1, 0] == label


def test_extra_predictions_can_be_passed_over(tmp_path: Path) -> None:
    text = PREDICTIONS + "patient9/study1,0.5,0.5\n"
    result = scored(tmp_path, TRUTH, text, ignore_extra=True)
    assert len(result.scored.studies) == 3
    assert result.notes == ("Passed over, as not in the truth: 1 study.",)


BAD_PREDICTIONS = {
    "empty": ("", "p0.csv: the file is empty"),
    "blank lines": ("\n\n", "the file is empty"),
    "heading only": ("Study,Edema\n", "a heading and no rows"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00", "p0.csv:1: the file is not text"),
    "nul": (PREDICTIONS.encode() + b"\x00", "p0.csv:5: the file is not text"),
    "latin-1": (PREDICTIONS.replace("0.9", "0,9é").encode("latin-1"), "p0.csv:2: the file is not"),
    "utf-16": (PREDICTIONS.encode("utf-16"), "not text"),
    "open quote": (PREDICTIONS + '"patient4', "not a CSV file"),
    "no id": ("Image,Edema\npatient1/study1,1\n", "p0.csv:1: the file has no column 'Study'"),
    "semicolons": (PREDICTIONS.replace(",", ";"), "separate the cells by commas instead of ';'"),
    "two columns": (PREDICTIONS.replace("Fracture", "edema"), "two columns have the same name"),
    "blank id": (PREDICTIONS + ",0.5,0.5\n", "p0.csv:5: a row has no id\n  expected: an id such"),
    "duplicate": (
        PREDICTIONS + "test/patient1/study1/,0.9,0.1\n",
        "p0.csv:5: an id occurs twice\n  found: 'test/patient1/study1/', first on line 2",
    ),
    "short row": (PREDICTIONS + "patient4/study1,0.5\n", "p0.csv:5: a row has another number"),
    "cut off": (
        PREDICTIONS + "patient4/study1,0.5",
        "found: 2 cells\n  to mend: the file seems to be cut off: get it again",
    ),
    "short row in between": (
        "Study,Edema,Fracture\npatient1/study1,1\n" + PREDICTIONS.partition("\n")[2],
        "found: 2 cells\n  to mend: correct the row; a cell that holds a comma needs quotes",
    ),
    "decimal commas": (PREDICTIONS.replace("0.9", "0,9"), "p0.csv:2: a row has another number"),
    "text": (PREDICTIONS.replace("0.7", "high"), "p0.csv:3: 'Fracture' is not a number"),
    "nan": (PREDICTIONS.replace("0.7", "nan"), "p0.csv:3: 'Fracture' is not a number"),
    "infinite": (PREDICTIONS.replace("0.7", "-inf"), "p0.csv:3: 'Fracture' is not a number"),
    "huge": (PREDICTIONS.replace("0.7", "9" * 400), "p0.csv:3: 'Fracture' is not a number"),
    "huge exponent": (PREDICTIONS.replace("0.7", "1e999"), "p0.csv:3: 'Fracture' is not a number"),
    "underscore": (PREDICTIONS.replace("0.7", "1_0"), "p0.csv:3: 'Fracture' is not a number"),
    "percent": (PREDICTIONS.replace("0.7", "70%"), "found: '70%'"),
    "blank cell": (PREDICTIONS.replace("0.7", " "), "p0.csv:3: a cell is blank"),
    "missing": (
        PREDICTIONS.rsplit("CheXpert", 1)[0],
        "no prediction for 1 of the truth's 3 studies\n  found: nothing for patient3/study2",
    ),
    "extra": (
        PREDICTIONS + "patient9/study1,0,0\n",
        "p0.csv:5: the truth does not have 1 study of the predictions",
    ),
    "nothing in common": (
        PREDICTIONS.replace("patient", "patientX"),
        "no id is in both the predictions and the truth",
    ),
    "no condition": (
        PREDICTIONS.replace("Edema", "Edemas").replace("Fracture", "X"),
        "'Edemas': did you mean 'edema'?",
    ),
    "only ids": ("Study\npatient1/study1\n", "no condition is in both"),
    "mixed levels": (
        PREDICTIONS + "patient1/study1/view1_frontal.jpg,0,0\n",
        "p0.csv:5: the file mixes studies with images",
    ),
}


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_bad_predictions_are_refused_with_their_place(tmp_path: Path, case: str) -> None:
    text, message = BAD_PREDICTIONS[case]
    labels = read_truth(write(tmp_path, "truth.csv", TRUTH), Rules())
    with pytest.raises(PredictionError) as raised:
        match(labels, [write(tmp_path, "p0.csv", text)], "m")
    assert message in str(raised.value)
    assert raised.value.exit_code == 2


BAD_TRUTH = {
    "empty": ("", "truth.csv: the file is empty"),
    "uncertain": (TRUTH.replace("study1,0,1", "study1,-1,1"), "truth.csv:3: the truth of 'Edema'"),
    "probabilities": (PREDICTIONS, "truth.csv:2: a label of 'Edema' is neither 0 nor 1"),
    "two": (TRUTH.replace("study1,0,1", "study1,0,2"), "truth.csv:3: a label of 'Fracture'"),
    "nan beside a blank": (
        TRUTH.replace("study1,0,1", "study1,0,nan"),
        "truth.csv:3: 'Fracture' is not a number",
    ),
    "words": (TRUTH.replace("study1,0,1", "study1,no,1"), "truth.csv:3: 'Edema' is not a number"),
    "duplicate": (TRUTH + "patient1/study1,1,0\n", "truth.csv:5: an id occurs twice"),
}


@pytest.mark.parametrize("case", BAD_TRUTH)
def test_bad_truth_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    text, message = BAD_TRUTH[case]
    with pytest.raises(PredictionError) as raised:
        scored(tmp_path, text, PREDICTIONS)
    assert message in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="No such file"):
        read_truth(tmp_path / "absent.csv", Rules())
    with pytest.raises(PredictionError, match="cannot be read"):
        read_truth(tmp_path, Rules())


def test_views_of_a_study_must_agree(tmp_path: Path) -> None:
    truth = "Path,Edema\np/patient1/study1/view1.jpg,1\np/patient1/study1/view2.jpg,0\n"
    with pytest.raises(PredictionError, match=r"truth.csv:3: views of one study") as raised:
        scored(tmp_path, truth, "Study,Edema\npatient1/study1,0.5\n")
    assert "1 on line 2" in str(raised.value)


IMAGE_TRUTH = "Path,Edema\n" + "".join(
    f"{line.split(',')[0]},{int('patient1' in line)}\n" for line in IMAGES.splitlines()[1:]
)


def test_a_missing_or_additional_view_is_refused(tmp_path: Path) -> None:
    lines = IMAGES.splitlines(keepends=True)
    with pytest.raises(PredictionError, match="no prediction for 1 of the truth's 4 images"):
        scored(tmp_path, IMAGE_TRUTH, "".join(lines[:2] + lines[3:]))
    more = IMAGES + "patient1/study1/view3_frontal.jpg,0.1,0.1\n"
    with pytest.raises(PredictionError, match="the truth does not list 1 image of its studies"):
        scored(tmp_path, IMAGE_TRUTH, more)
    # A lateral view is not used, so its absence changes nothing.
    result = scored(tmp_path, IMAGE_TRUTH, "".join(lines[:2] + lines[3:]), views="frontal")
    assert result.scored.scores[0, 0, 0] == 0.2


def test_frontal_needs_to_know_the_views(tmp_path: Path) -> None:
    unnamed = IMAGES.replace("_frontal", "").replace("_lateral", "")
    with pytest.raises(PredictionError, match="no view is known to be frontal"):
        scored(tmp_path, TRUTH, unnamed, views="frontal")
    partly = IMAGES.replace("study2/view1_frontal", "study2/view1_lateral")
    result = scored(tmp_path, TRUTH, partly, views="frontal")
    assert result.notes == ("Without a frontal view, so scored by all views: 1 study.",)


def test_a_study_without_a_frontal_view_needs_all_of_its_views(tmp_path: Path) -> None:
    """Such a study is scored by all views, so one of them must not be missing unsaid."""
    laterals = IMAGES.replace("view1_frontal.jpg,0.4", "view1_lateral.jpg,0.4")
    truth = IMAGE_TRUTH.replace("study2/view1_frontal", "study2/view1_lateral")
    second = "test/patient3/study2/view2_lateral.jpg"
    with pytest.raises(PredictionError, match=r"no prediction for 1 of the truth's 4 images") as no:
        scored(tmp_path, truth + f"{second},0\n", laterals, views="frontal")
    assert "nothing for patient3/study2/view2_lateral" in str(no.value)
    with pytest.raises(PredictionError, match=r"does not list 1 image of its studies"):
        scored(tmp_path, truth, laterals + f"{second},0.8,0.8\n", views="frontal")
    both = scored(
        tmp_path, truth + f"{second},0\n", laterals + f"{second},0.8,0.8\n", views="frontal"
    )
    assert both.scored.scores[0, :, 0].tolist() == [0.2, 0.2, 0.8]


def test_one_file_may_know_the_views_for_both(tmp_path: Path) -> None:
    """The truth has the column, or the predictions have it; where both do, they must agree."""

    def unnamed(text: str, *views: str) -> str:
        lines = text.replace("_frontal", "").replace("_lateral", "").splitlines()
        if not views:
            return "\n".join(lines)
        return "\n".join(
            f"{line},{view}" for line, view in zip(lines, ("Frontal/Lateral", *views), strict=True)
        )

    views = ("Frontal", "Lateral", "Frontal", "Frontal")
    for truth, predictions in (
        (unnamed(IMAGE_TRUTH, *views), unnamed(IMAGES)),
        (unnamed(IMAGE_TRUTH), unnamed(IMAGES, *views)),
    ):
        result = scored(tmp_path, truth, predictions, views="frontal")
        assert result.scored.scores[0, :, 0].tolist() == [0.2, 0.2, 0.4]
        assert not any("Without a frontal view" in note for note in result.notes)
    turned = unnamed(IMAGES, "Lateral", "Frontal", "Frontal", "Frontal")
    with pytest.raises(
        PredictionError, match=r"p0.csv:2: .* differ on the view of patient1/"
    ) as no:
        scored(tmp_path, unnamed(IMAGE_TRUTH, *views), turned, views="frontal")
    assert "expected: Frontal, as in" in str(no.value)
    assert scored(tmp_path, unnamed(IMAGE_TRUTH, *views), turned).scored.scores[0, 0, 0] == 0.9


def test_an_ensembles_files_must_match(tmp_path: Path) -> None:
    short = PREDICTIONS.rsplit("CheXpert", 1)[0]
    with pytest.raises(PredictionError, match=r"p1.csv: the files of an ensemble"):
        scored(tmp_path, TRUTH, PREDICTIONS, short)
    with pytest.raises(PredictionError, match="the files of an ensemble"):
        scored(tmp_path, TRUTH, PREDICTIONS, IMAGES)
    without = PREDICTIONS.replace("Fracture", "Other")
    assert scored(tmp_path, TRUTH, PREDICTIONS, without).scored.observations == ("Edema",)


def test_images_cannot_come_from_studies(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="images cannot be scored one by one"):
        scored(tmp_path, TRUTH, PREDICTIONS, level="image")
    with pytest.raises(PredictionError, match="the predictions are about studies"):
        scored(tmp_path, IMAGE_TRUTH, PREDICTIONS, level="image")


def test_radiologists_are_read_by_name(tmp_path: Path) -> None:
    labels = read_truth(write(tmp_path, "truth.csv", TRUTH), Rules())
    folder = tmp_path / "readers"
    folder.mkdir()
    with pytest.raises(UsageError, match="no radiologist's file"):
        read_readers(folder, labels, ("Edema",))
    write(
        folder,
        "bc4.csv",
        "Study,Fracture,Edema\n"
        + "".join(f"patient{i}/study{1 + (i == 3)},{i % 2},1\n" for i in (3, 2, 1)),
    )
    calls = read_readers(folder, labels, ("Edema", "Fracture"))["bc4"]
    assert calls.scores[0].tolist() == [[1, 1], [1, 0], [1, 1]]
    write(folder, "bc5.csv", PREDICTIONS)
    with pytest.raises(PredictionError, match=r"bc5.csv:2: a radiologist's call of 'Edema'"):
        read_readers(folder, labels, ("Edema",))
    with pytest.raises(PredictionError, match="read none of the conditions"):
        read_readers(folder, labels, ("Pneumonia",))
