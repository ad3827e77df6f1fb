"""``bench score`` as a person runs it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest

from tests.processes import process
from tests.shared_data import shared

TRUTH = "Study,Edema,Fracture\n" + "".join(
    f"CheXpert-v1.0/test/patient{i}/study1,{int(i % 3 == 0)},0\n" for i in range(120)
)
PREDICTIONS = "Study,Fracture,Edema\n" + "".join(
    f"patient{i}/study1,0.5,{0.3 * (i % 3 == 0) + 0.005 * (i * 7 % 120):.3f}\n" for i in range(120)
)


def score(*arguments: object) -> subprocess.CompletedProcess[str]:
    return process("score", *arguments)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    for name, text in (("truth.csv", TRUTH), ("model.csv", PREDICTIONS)):
        (tmp_path / name).write_text(text)
    return tmp_path / "model.csv", tmp_path / "truth.csv"


def leaderboard(rank: int) -> dict[str, object]:
    from ruamel.yaml import YAML

    from tests.shared_data import published

    document = YAML(typ="safe").load(published("chexpert_leaderboard.yaml"))
    return next(row for row in document["records"] if row["rank"] == rank)


@pytest.mark.parametrize(("model", "rank"), [("sensexdr", 12), ("jfaboy", 15)])
def test_released_models_get_their_leaderboard_figures(model: str, rank: int) -> None:
    folder, entry = shared("chexpert-test"), leaderboard(rank)
    arguments = (
        folder / f"predictions/{model}.csv",
        "--truth",
        folder / "groundtruth.csv",
        "--radiologists",
        folder / "radiologists",
    )
    document = json.loads(score(*arguments, "--json").stdout)
    # Sixteen digits are printed; the last hangs on the order of a floating-point sum.
    assert document["mean_auroc"] == pytest.approx(entry["value"], abs=3e-16)
    assert document["radiologists_below_curve"] == entry["num_rads"]
    assert (document["level"], document["n"]) == ("study", 500)
    assert set(document["conditions"]) == set(document["mean_over"])
    for condition in document["conditions"].values():
        assert condition["ci"][0] < condition["auroc"] < condition["ci"][1]
        assert condition["n"] == 500
        assert 0 < condition["auprc"] < 1
    shown = score(*arguments)
    assert shown.returncode == 0
    last = next(line for line in shown.stdout.splitlines() if "Competition mean" in line)
    assert f" {entry['value']:.4f} " in last
    assert last.rstrip().endswith(f"{entry['num_rads']:.1f}")


def test_calibration_is_refused_for_scores_above_one() -> None:
    folder = shared("chexpert-test")
    arguments = (folder / "predictions/desmond.csv", "--truth", folder / "groundtruth.csv")
    done = score(*arguments, "--calibration")
    assert done.returncode == 0
    assert "Calibration is refused: scores range from 0.01015 to 1.769" in done.stdout
    assert "Brier" not in done.stdout
    assert "Calibration" not in score(*arguments).stdout
    document = json.loads(score(*arguments, "--json").stdout)
    assert document["calibration_refused"].startswith("scores range from 0.01015 to 1.769")
    assert document["conditions"]["Edema"]["calibration"] is None
    assert document["mean_auroc"] == pytest.approx(0.9182191, abs=1e-7)


def test_json_of_a_missing_class(files: tuple[Path, Path]) -> None:
    done = score(files[0], "--truth", files[1], "--json", "--operating-point", "spec=0.9")
    document = json.loads(done.stdout)
    fracture, edema = (document["conditions"][name] for name in ("Fracture", "Edema"))
    assert (fracture["auroc"], fracture["ci"], fracture["auprc"]) == (None, None, None)
    assert (fracture["undefined"], fracture["positives"], fracture["n"]) == ("no positives", 0, 120)
    assert edema["calibration"]["brier"] > 0
    assert edema["operating_points"][0]["specificity"] >= 0.9
    assert document["mean_over"] == ["Edema"]
    assert document["mean_auroc"] == edema["auroc"]
    assert document["radiologists_below_curve"] is None


def test_the_table_says_what_is_undefined(files: tuple[Path, Path]) -> None:
    done = score(files[0], "--truth", files[1], "--calibration", "--operating-point", "sens=0.9")
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("Fracture"))
    assert row.split()[:2] == ["Fracture", "undefined"]
    assert "AUROC of Fracture is undefined: no positives." in done.stdout
    assert "Competition mean (1 of 5 tasks)" in done.stdout
    assert "Spec. at sens. 0.9" in done.stdout
    assert done.stderr == ""


def test_each_is_a_row_a_model_and_an_ensemble_is_one(files: tuple[Path, Path]) -> None:
    second = files[0].with_name("second.csv")
    second.write_text(PREDICTIONS.replace("0.5,0.3", "0.5,0.1"))
    arguments = (files[0], second, "--truth", files[1])
    each = json.loads(score(*arguments, "--each", "--json").stdout)
    assert [model["name"] for model in each["models"]] == ["model", "second"]
    assert each["models"][0]["mean_auroc"] != each["models"][1]["mean_auroc"]
    cells = list(csv.DictReader(io.StringIO(score(*arguments, "--each", "-f", "csv").stdout)))
    assert [row["Model"] for row in cells] == ["model", "second"]
    ensemble = json.loads(score(*arguments, "--json").stdout)
    assert ensemble["name"] == "model + second"
    assert "120 studies, the mean of 2 files." in ensemble["notes"]


@pytest.mark.parametrize("method", ["wald", "bootstrap"])
def test_intervals_can_be_chosen(files: tuple[Path, Path], method: str) -> None:
    arguments = (files[0], "--truth", files[1], "--json", "--ci", method)
    documents = [json.loads(score(*arguments).stdout) for _ in range(2)]
    assert documents[0] == documents[1]
    name = {"wald": "delong-wald", "bootstrap": "bootstrap-percentile"}[method]
    assert documents[0]["conditions"]["Edema"]["method"] == name


@pytest.mark.parametrize(
    ("patients", "condition", "mean"),
    [
        # One patient: all replicates are equal, and DeLong's variance is not zero.
        (1, "newcombe", "delong-logit"),
        # Thirty patients, one of them with the only positive: a third of the replicates lack it.
        (30, "newcombe", "delong-logit"),
        (31, "bootstrap-percentile", "bootstrap-percentile"),
    ],
)
def test_where_the_bootstrap_has_no_interval_the_table_says_what_stands_in(
    tmp_path: Path, patients: int, condition: str, mean: str
) -> None:
    positive = {1: 15, 30: 2, 31: 40}[patients]
    rows = [
        (f"patient{i % patients}/study{i}", int(i % 30 < positive and i < 60)) for i in range(90)
    ]
    if patients == 30:
        rows = [(name, int(name.startswith("patient0/") and label)) for name, label in rows]
    (tmp_path / "t.csv").write_text("Study,Edema\n" + "".join(f"{n},{y}\n" for n, y in rows))
    (tmp_path / "p.csv").write_text(
        "Study,Edema\n" + "".join(f"{n},{i * 37 % 90}\n" for i, (n, _) in enumerate(rows))
    )
    arguments = (tmp_path / "p.csv", "--truth", tmp_path / "t.csv", "--ci", "bootstrap")
    document = json.loads(score(*arguments, "--json").stdout)
    edema = document["conditions"]["Edema"]
    assert (edema["method"], document["mean_method"]) == (condition, mean)
    assert edema["ci"][0] < edema["auroc"] < edema["ci"][1]
    stood_in = condition == "newcombe"
    notes = " ".join(document["notes"])
    assert ("† the bootstrap has no interval (all replicates are equal" in notes) == stood_in
    assert ("The mean's interval: DeLong on the logit scale." in notes) == stood_in
    assert "Intervals of AUROC: bootstrap percentiles of 1,000 replicates" in notes


def test_the_confidence_is_written_in_full(files: tuple[Path, Path]) -> None:
    for confidence, title in (("0.95", "95% CI"), ("0.975", "97.5% CI"), ("0.999", "99.9% CI")):
        arguments = (files[0], "--truth", files[1], "-f", "csv", "--confidence", confidence)
        assert title in score(*arguments).stdout.split("\n")[0].split(",")


def test_output_goes_to_a_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "table.md"
    done = score(files[0], "--truth", files[1], "-f", "markdown", "-o", target)
    assert done.stdout == ""
    assert done.stderr == f"wrote {target}\n"
    assert "| Edema |" in target.read_text()
    assert score(files[0], "--truth", files[1], "-o", target, "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--confidence", "95"], "--confidence is not a coverage"),
        (["--operating-point", "ppv=0.9"], "--operating-point cannot be read"),
        (["--operating-point", "spec=90"], "--operating-point cannot be read"),
        (["--radiologists", "nowhere"], "nowhere: there is no radiologist's file here"),
        (["--level", "image"], "images cannot be scored one by one"),
        (["--views", "median"], "'median' is not one of"),
        (["--against", "no-such-table"], "no published table is called 'no-such-table'"),
        (["--against-row", "A"], "no table is named"),
    ],
)
def test_requests_that_cannot_be_met_exit_2(
    files: tuple[Path, Path], arguments: list[str], message: str
) -> None:
    done = score(files[0], "--truth", files[1], *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


PUBLISHED = """
id: example
title: A published table
citation: {authors: A, title: T, year: 2020, note: made up for this test, table: Table 1}
read_at: [nowhere]
confidence: single-source
dataset: CheXpert
split: valid
level: study
n: 200
views: max
image_size: 320
ensemble: 1
metrics:
  AUROC: {unit: fraction, decimals: 3}
synthetic: false
rows:
  - {method: Alpha, values: {AUROC: {Edema: 0.900}}}
  - {method: Beta, values: {AUROC: {Edema: 0.800, Fracture: 0.700}}}
"""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "example.yaml").write_text(PUBLISHED)
    monkeypatch.setenv("BENCH_BASELINES", str(folder))


@pytest.mark.usefixtures("published")
def test_published_figures_are_subtracted(files: tuple[Path, Path]) -> None:
    arguments = (files[0], "--truth", files[1], "--against", "example")
    document = json.loads(score(*arguments, "--json").stdout)
    edema = next(row for row in document["rows"] if row["condition"] == "Edema")
    fracture = next(row for row in document["rows"] if row["condition"] == "Fracture")
    assert edema["difference Alpha"] == pytest.approx(edema["auroc"] - 0.9)
    assert edema["difference Beta"] == pytest.approx(edema["auroc"] - 0.8)
    assert fracture["difference Beta"] is None
    assert "Alpha has no AUROC of Fracture." in document["notes"]
    assert any(note.startswith("Not the same studies: 200") for note in document["notes"])
    one = score(*arguments, "--against-row", "alpha")
    row = next(line for line in one.stdout.splitlines() if line.strip().startswith("Edema"))
    assert row.split()[-2:] == ["0.900", f"{edema['auroc'] - 0.9:+.3f}"]
    assert "Subtracted: example, made up for this test, Table 1, the valid split" in one.stdout
    each = score(*arguments, "--each").stdout
    assert "− Alpha" in each
    wrong = score(*arguments, "--against-row", "Alpa")
    assert wrong.returncode == 2
    assert "did you mean 'Alpha'?" in wrong.stderr


def test_bad_cells_exit_2_with_their_line(files: tuple[Path, Path]) -> None:
    files[0].write_text(PREDICTIONS.replace("patient7/study1,0.5", "patient7/study1,nan"))
    done = score(files[0], "--truth", files[1])
    assert done.returncode == 2
    assert f"{files[0]}:9: 'Fracture' is not a number" in done.stderr
    assert done.stdout == ""


def test_blank_labels_make_a_smaller_n_that_is_said(files: tuple[Path, Path]) -> None:
    files[1].write_text(TRUTH.replace("patient5/study1,0,0", "patient5/study1,,0"))
    done = score(files[0], "--truth", files[1])
    assert "Without a label in the truth, so left out of n: Edema (1)." in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("Edema"))
    assert row.split()[-1] == "119"


def test_the_same_file_twice_is_refused(files: tuple[Path, Path]) -> None:
    done = score(files[0], files[0], "--truth", files[1])
    assert done.returncode == 2
    assert "named twice" in done.stderr


def test_a_file_named_by_another_path_is_the_same_file(files: tuple[Path, Path]) -> None:
    (files[0].parent / "x").mkdir()
    done = score(files[0], files[0].parent / "x" / ".." / "model.csv", "--truth", files[1])
    assert done.returncode == 2
    assert "named twice" in done.stderr


def test_models_of_one_file_name_are_told_apart(files: tuple[Path, Path]) -> None:
    paths = [files[0].parent / place / "out" / "model.csv" for place in "ab"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(PREDICTIONS)
    other = files[0].parent / "third" / "model.csv"
    other.parent.mkdir()
    other.write_text(PREDICTIONS)
    done = score(*paths, other, "--truth", files[1], "--each", "--json")
    assert [model["name"] for model in json.loads(done.stdout)["models"]] == [
        *map(str, paths),
        "third/model",
    ]


def test_what_changes_nothing_is_said(files: tuple[Path, Path]) -> None:
    arguments = (files[0], "--truth", files[1], "--each")
    assert "changes nothing" not in score(*arguments, "--views", "max").stdout
    done = score(*arguments, "--views", "frontal", "--operating-point", "spec=0.9")
    assert done.stdout.startswith("1 model against truth.csv\n120 studies.\n")
    assert "--views frontal changes nothing: no views had to be combined." in done.stdout
    assert "operating points of several models are in --json only." in done.stdout


def test_one_is_counted_as_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Study,Edema\npatient1/study1,1\n")
    (tmp_path / "p.csv").write_text("Study,Edema\npatient1/study1,0.7\n")
    done = score(tmp_path / "p.csv", "--truth", tmp_path / "t.csv")
    assert done.stdout.startswith("p against t.csv\n1 study.\n")
    rows = "patient1/study1,{}\npatient1/study2,{}\n"
    (tmp_path / "t.csv").write_text("Study,Edema\n" + rows.format(1, 0))
    (tmp_path / "p.csv").write_text("Study,Edema\n" + rows.format(0.7, 0.2))
    done = score(tmp_path / "p.csv", "--truth", tmp_path / "t.csv")
    assert "The 2 studies come from one patient, and these intervals" in done.stdout
