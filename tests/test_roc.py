"""ROC and training curves: exact means, what a legend says, equal bytes, and `bench plot`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.comparison.captions import captions
from bench.errors import ResultsError, UsageError
from bench.observations import COMPETITION
from bench.report import curves, figures
from bench.report.drawing import Drawers
from bench.report.roc import draw_run, folder_of, overlaid, panels_of, undrawn
from bench.report.roc_sheet import RESOLUTION, drawable, mean_curve
from bench.results.run import Run
from bench.scoring.roc import roc_curve
from bench.scoring.studies import StudyScores
from tests.processes import process
from tests.runs_on_disk import some_rounds, some_scores, write_run

OBSERVED = (*COMPETITION, "Fracture", "Pleural Other", "Lung Lesion")
SVG = "{http://www.w3.org/2000/svg}"


def scores(members: int = 1, seed: int = 0) -> StudyScores:
    """Fracture has no positive, Pleural Other no label, Lung Lesion 10 positives."""
    made = some_scores(observations=OBSERVED, members=members, seed=seed)
    labels = made.labels.copy()
    labels[:, OBSERVED.index("Fracture")] = 0
    labels[:, OBSERVED.index("Pleural Other")] = np.nan
    labels[:, OBSERVED.index("Lung Lesion")] = np.arange(len(labels)) < 10
    return replace(made, labels=labels)


def a_run(root: Path, *, members: int = 1, **changes: Any) -> Run:
    return write_run(root, scores=scores(members, changes.pop("seed", 0)), **changes)


def text_of(file: Path) -> list[str]:
    """The texts of an SVG, which must be well-formed XML."""
    return ["".join(e.itertext()) for e in ElementTree.parse(file).iter(f"{SVG}text")]


def texts(run: Run, stem: str, published: Mapping[str, str] | None = None) -> list[str]:
    """The texts of one of the run's figures."""
    panels = [p for p in panels_of(run, "valid", published or {}) if p.stem == stem]
    return text_of(Drawers(0).draw(panels, run.folder / "drawn", ("svg",))[0])


def area(points: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    return float(np.trapezoid(points[1], points[0]))


def test_a_figure_a_defined_condition_and_one_of_the_tasks(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    files = draw_run(run, "valid", {})
    names = {"atelectasis", "cardiomegaly", "consolidation", "edema", "pleural-effusion"}
    names |= {"lung-lesion", "competition"}
    assert {f.name for f in files} == {f"{n}.{e}" for n in names for e in ("png", "svg")}
    assert {f.parent for f in files} == {run.folder / "roc"}
    assert sorted(run.folder.glob("roc/*")) == sorted(files)
    assert {f.read_bytes()[:8] for f in files if f.suffix == ".png"} == {b"\x89PNG\r\n\x1a\n"}
    assert undrawn(run, "valid") == {"Fracture": "no positives", "Pleural Other": "no labels"}


def test_the_legend_has_the_auroc_the_interval_and_what_was_published(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    published = {"Edema": "0.941 [0.903, 0.980] (Irvin et al. 2019, Table 3)"}
    entry = run.metrics["valid"]["observations"]["Edema"]
    line = f"{entry['auroc']:.3f} [{entry['ci'][0]:.3f}, {entry['ci'][1]:.3f}]"
    for name in ("edema", "competition"):
        found = texts(run, name, published)
        assert line in found
        assert "0.941 [0.903, 0.980]" in found
        assert "published: Irvin et al. 2019, Table 3" in found
        assert "SYNTHETIC DATA" in found
    block = run.metrics["valid"]
    assert "Mean of 5" in found
    low, high = block["mean_ci"]
    assert any(t.startswith(f"{block['mean_auroc']:.3f} [{low:.3f}, {high:.3f}]") for t in found)
    rare = texts(run, "lung-lesion", published)
    assert any(t.endswith("]†") for t in rare)
    assert "† fewer than 30 in a class: the interval is unreliable" in rare
    assert "published" not in rare


def test_several_sources_are_told_apart(tmp_path: Path) -> None:
    published = {"Edema": "0.94 (One (2019), Table 3)", "Atelectasis": "0.85 (Two)"}
    found = texts(a_run(tmp_path), "competition", published)
    assert {"0.94²", "0.85¹", "¹ published: Two", "² published: One (2019), Table 3"} <= set(found)


def test_real_data_has_no_watermark(tmp_path: Path) -> None:
    run = a_run(tmp_path, data={"name": "CheXpert", "digest": "d" * 64, "synthetic": False})
    assert not [t for t in texts(run, "edema") if "synthetic" in t.lower()]


def test_an_undefined_task_is_named_in_the_figure_of_the_tasks(tmp_path: Path) -> None:
    made = some_scores()
    labels = made.labels.copy()
    labels[:, COMPETITION.index("Edema")] = 0
    run = write_run(tmp_path, scores=replace(made, labels=labels))
    assert "edema" not in [panel.stem for panel in panels_of(run, "valid", {})]
    found = texts(run, "competition")
    assert "undefined" in found
    assert "undefined for Edema: no positives" in found
    assert "Mean of 4" in found


def test_no_figure_of_the_tasks_where_none_is_defined(tmp_path: Path) -> None:
    run = write_run(tmp_path, scores=some_scores(observations=("Pneumonia",)))
    assert [p.stem for p in panels_of(run, "valid", {})] == ["pneumonia"]


def test_another_split_has_a_folder_of_its_own(tmp_path: Path) -> None:
    run = write_run(tmp_path, split="test", scores=some_scores(observations=("Pneumonia",)))
    assert draw_run(run, "test", {}, formats=("svg",))[0].parent == run.folder / "roc/test"
    assert folder_of(run, "valid") == run.folder / "roc"


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    made = some_scores(observations=("Edema",), members=3)
    first, second = (write_run(tmp_path / name, scores=made) for name in "ab")
    pairs = zip(draw_run(first, "valid", {}), draw_run(second, "valid", {}), strict=True)
    assert [a.name for a, b in pairs if a.read_bytes() != b.read_bytes()] == []
    log = [*curves.draw_curves([first], tmp_path / "1", "x")]
    log += curves.draw_curves([second], tmp_path / "2", "x")
    assert log[0].read_bytes() == log[2].read_bytes()
    assert log[1].read_bytes() == log[3].read_bytes()


def test_names_are_text_in_an_svg(tmp_path: Path) -> None:
    run = a_run(tmp_path, name="x", seed=1)
    run = replace(run, name="a<b>&$x_1$\\frac")
    assert any("a<b>&$x_1$\\frac" in t for t in texts(run, "edema"))


def test_scores_that_are_not_the_runs_are_an_error(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    other = replace(scores(), labels=np.zeros_like(scores().labels))
    other.save(run.folder / "scores-valid.npz")
    with pytest.raises(ResultsError, match="not those that the run was scored with"):
        draw_run(run, "valid", {})
    with pytest.raises(ResultsError, match="no scores for the split 'test'"):
        draw_run(run, "test", {})


@given(st.data())
def test_the_mean_curve_has_the_mean_of_the_areas(data: st.DataObject) -> None:
    labels = np.array(data.draw(st.permutations([0.0] * 7 + [1.0] * 5)))
    tied = st.lists(st.integers(0, 5), min_size=12, max_size=12)
    members = [np.array(data.draw(tied), dtype=float) for _ in range(data.draw(st.integers(1, 4)))]
    mean = mean_curve([roc_curve(labels, m)[:2] for m in members])
    expected = np.mean([roc_auc_score(labels, m) for m in members])
    assert area(mean) == pytest.approx(expected, abs=1e-12)
    assert (np.diff(mean[0]) >= 0).all()
    assert (np.diff(mean[1]) >= -1e-12).all()


def test_mean_curve_by_hand() -> None:
    perfect = (np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]))
    chance = (np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    fpr, tpr = mean_curve([perfect, chance])
    assert fpr.tolist() == [0, 0, 1, 1]
    assert tpr.tolist() == [0, 0.5, 1, 1]


def test_a_long_curve_is_thinned_without_moving() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(60_000) < 0.4).astype(float)
    fpr, tpr, _ = roc_curve(labels, rng.normal(size=60_000) + labels)
    thin = drawable((fpr, tpr))
    assert len(thin[0]) <= 2 * RESOLUTION + 2 < len(fpr)
    assert area(thin) == pytest.approx(area((fpr, tpr)), abs=1 / RESOLUTION)
    assert (thin[0][0], thin[1][0], thin[0][-1], thin[1][-1]) == (0, 0, 1, 1)


def test_members_are_thin_lines_and_their_mean(tmp_path: Path) -> None:
    run = a_run(tmp_path, members=3)
    found = texts(run, "edema")
    assert "thin: each model; thick: their mean sensitivity" in found
    assert any("mean of 3 models" in t for t in found)


def test_runs_of_one_name_stay_apart_when_overlaid(tmp_path: Path) -> None:
    first = a_run(tmp_path, suite="one")
    second = a_run(tmp_path / "x", suite="two", seed=5)
    panel = overlaid([first, second], "valid", [{}, {"Atelectasis": "0.8 (P)"}])[0]
    assert [t.name for t in panel.traces] == ["one/fedavg", "two/fedavg"]
    assert [t.published for t in panel.traces] == [None, "0.8 (P)"]


def test_captions_come_from_the_table_that_fits(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    found = captions(run, "valid")
    assert found["Cardiomegaly"] == (
        "0.832 [0.773, 0.890] (Irvin et al. 2019, Table 3; CheXpert valid)"
    )
    assert set(found) == {*COMPETITION, "Average"}
    assert captions(run, "valid", "none") == {}


ROUNDS = [
    {**record, "evaluated": True, "mean_auroc": 0.5 + 0.0613 * i, "auroc": {"Edema": 0.6771}}
    for i, record in enumerate(some_rounds((10.0, 11.0, 12.0)))
]


@pytest.mark.parametrize("number", [1, 3])
def test_training_curves(tmp_path: Path, number: int) -> None:
    runs = [a_run(tmp_path / str(i), name=f"run{i}", rounds=ROUNDS) for i in range(number)]
    files = curves.draw_curves(runs, tmp_path / "curves", "Suite <s>")
    assert [f.name for f in files] == ["curves.png", "curves.svg"]
    found = text_of(files[1])
    assert "Suite <s>" in found
    assert found.count("0.623") == number
    assert found.count("0.677") == (1 if number == 1 else 0)
    assert found.count("0.2333") == number


def test_training_curves_of_other_conditions_and_of_none(tmp_path: Path) -> None:
    rounds = [{**r, "mean_auroc": None, "auroc": {"Pneumonia": 0.75}} for r in ROUNDS]
    other = curves.progress_of([a_run(tmp_path / "a", rounds=rounds)], "x")
    assert other.headline == "Pneumonia"
    assert other.histories[0].headline == ([1, 2, 3], [0.75, 0.75, 0.75])
    bare = a_run(tmp_path / "b")
    (bare.folder / "rounds.jsonl").unlink()
    files = curves.draw_curves([bare], tmp_path / "bare", "x", ("svg",))
    assert text_of(files[0]).count("no values") == 2


def test_training_curves_of_digits_are_of_accuracy(tmp_path: Path) -> None:
    rounds = [{**r, "mean_auroc": None, "auroc": None, "accuracy": 0.97} for r in ROUNDS]
    runs = [a_run(tmp_path / name, name=name, rounds=rounds) for name in "ab"]
    runs = [replace(run, scenario={**run.scenario, "stop_at": 0.975}) for run in runs]
    progress = curves.progress_of(runs, "x")
    assert (progress.headline, progress.target) == ("Accuracy", 0.975)
    assert progress.histories[0].headline == ([1, 2, 3], [0.97, 0.97, 0.97])
    (file,) = curves.draw_curves(runs, tmp_path / "digits", "x", ("svg",))
    found = text_of(file)
    assert {"accuracy on the test images", "last accuracy"} <= set(found)
    assert "dashed: 0.975, at which the runs were to stop" in found
    assert found.count("0.9700") == 2
    assert not any("AUROC" in text for text in found)
    other = replace(runs[1], scenario={**runs[1].scenario, "stop_at": 0.99})
    assert curves.progress_of([runs[0], other], "x").target is None


def test_training_curves_by_what_was_sent(tmp_path: Path) -> None:
    """1,000 bytes each way in each of three rounds."""
    sent = a_run(tmp_path / "a", name="sent", rounds=ROUNDS)
    silent = [{**r, "bytes_up": 0, "bytes_down": 0} for r in ROUNDS]
    alone = a_run(tmp_path / "b", name="alone", rounds=silent)
    progress = curves.progress_of([sent, alone], "x", "bytes")
    assert [h.name for h in progress.histories] == ["sent"]
    assert progress.histories[0].headline[0] == [2000, 4000, 6000]
    assert progress.left_out == ("alone",)
    files = curves.draw_curves([sent, alone], tmp_path / "bytes", "x", ("svg",), "bytes")
    found = text_of(files[0])
    assert "6.0 kB" in found
    assert "left out, for nothing was sent: alone" in found
    with pytest.raises(ResultsError, match="nothing to draw over bytes"):
        curves.progress_of([alone], "x", "bytes")


def test_unknown_formats() -> None:
    with pytest.raises(UsageError, match="did you mean 'svg'"):
        figures.check_formats(["sgv"])
    assert figures.check_formats(["svg", "svg"]) == ("svg",)


def test_plot_roc_of_one_run_and_of_several(tmp_path: Path) -> None:
    first = a_run(tmp_path, name="one")
    a_run(tmp_path, name="two", seed=3)
    done = process("plot", "roc", first.folder, "--format", "svg")
    files = [Path(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {f.parent for f in files} == {first.folder / "roc"}
    assert len(files) == 7
    assert "no curve for Fracture of one: no positives" in done.stderr
    assert any("Irvin et al. 2019" in t for t in text_of(files[-1]))
    done = process("plot", "roc", tmp_path, "-f", "svg", "--against", "none", "-o", tmp_path / "o")
    files = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(files) == sorted((tmp_path / "o").iterdir())
    assert {"one", "two"} <= set(text_of(files[0]))
    assert not any("Irvin" in t for t in text_of(files[0]))


def test_plot_curves_draws_a_figure_a_suite(tmp_path: Path) -> None:
    a_run(tmp_path / "s", suite="s", name="a")
    a_run(tmp_path / "s", suite="s", name="b")
    a_run(tmp_path / "t", suite="../t", name="c")
    done = process("plot", "curves", tmp_path / "s", "-f", "png")
    assert done.stdout.splitlines() == [str((tmp_path / "s/curves.png").resolve())]
    done = process("plot", "curves", tmp_path / "s", "-f", "png", "--by", "bytes")
    assert done.stdout.splitlines() == [str((tmp_path / "s/curves-bytes.png").resolve())]
    done = process("plot", "curves", tmp_path / "s", tmp_path / "t", "-o", tmp_path / "o")
    assert {Path(f).name for f in done.stdout.splitlines()} == {
        "curves-s.png", "curves-s.svg", "curves-t.png", "curves-t.svg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["roc", "nowhere"], "no such run or folder"),
        (["roc", "empty"], "there is no run here"),
        (["curves", "empty"], "there is no run here"),
        (["roc", "run", "--split", "test"], "no run has scores for the split 'test'"),
        (["roc", "run", "--split", "tset"], "tset"),
        (["roc", "run", "--format", "gif"], "not written as 'gif'"),
        (["roc", "run", "--against", "papr"], "no published table is called 'papr'"),
        (["curves", "run", "--format", ","], "no format is named"),
    ],
)
def test_what_cannot_be_drawn_ends_with_2(
    tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    run = write_run(tmp_path)
    run.folder.rename(tmp_path / "run")
    named = [str(tmp_path / a) if a in ("empty", "run", "nowhere") else a for a in arguments]
    done = process("plot", *named)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_drawing_imports_no_torch_and_no_pyplot(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    code = (
        "import sys; from pathlib import Path; from bench.results.run import load_run\n"
        "from bench.report.roc import draw_run; from bench.report.page import report_page\n"
        "from bench.cli import plot, report\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"run = load_run(Path({str(run.folder)!r})); draw_run(run, 'valid', {{}})\n"
        "report_page([run])\n"
        "print(*({'torch', 'matplotlib.pyplot', 'pandas', 'sklearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "\n"
