"""``bench run`` as a person uses it: what it leaves behind, says, and ends with."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from bench.results.run import load_run
from bench.runs.reporting import auroc_text
from tests.crashing import digests, unfinished
from tests.in_process import Ended, call
from tests.tiny_tree import bench, command, environment, write_suite, write_tree

GRID = "grid: {strategy: [centralized, fedavg]}\n"
OBSERVATIONS = "[Cardiomegaly, Edema, Fracture]"


class Place:
    """A tree, a suite and results that the suite left there."""

    def __init__(self, folder: Path, *, test: bool = False) -> None:
        self.folder, self.cache = folder, folder / "cache"
        self.tree = write_tree(folder / "tree", test=test)
        self.suite = write_suite(folder / "s.yaml", GRID, observations=OBSERVATIONS)
        self.results = folder / "results"

    def run(
        self, *more: str | Path, results: Path | None = None, suite: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        arguments = [suite or self.suite, "--data", self.tree]
        return bench(
            "run", *arguments, "--results", results or self.results, *more, cache=self.cache
        )


Here = Callable[..., Ended]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """``Place.run`` in this process, which has imported what a process of its own would first."""

    def run(
        place: Place, *more: str | Path, results: Path | None = None, suite: Path | None = None
    ) -> Ended:
        for name, value in environment(place.cache).items():
            monkeypatch.setenv(name, value)
        arguments = [suite or place.suite, "--data", place.tree]
        return call(capsys, "run", *arguments, "--results", results or place.results, *more)

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("run"), test=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Without a test split: half the scoring and figures."""
    return Place(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def first(place: Place) -> subprocess.CompletedProcess[str]:
    done = place.run()
    assert done.returncode == 0, done.stderr
    return done


def folder_of(results: Path, name: str) -> Path:
    (found,) = results.glob(f"tiny/{name}-????????")
    return found


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def test_results_go_to_stdout_and_progress_to_stderr(
    first: subprocess.CompletedProcess[str],
) -> None:
    for text in ("fedavg against CheXpert paper", "Difference", "Average", "Mean AUROC"):
        assert text in first.stdout
        assert text not in first.stderr
    for text in (
        "32 train, 10 valid, ",
        "suite tiny: 2 scenarios",
        "round 2/2",
        "done: mean AUROC",
    ):
        assert text in first.stderr
    assert "suite tiny: 2" not in first.stdout


def test_the_folder_holds_what_a_run_is(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    folder = folder_of(place.results, "fedavg")
    record = record_of(folder)
    assert folder.name == f"fedavg-{record['hash'][:8]}"
    assert (record["schema"], record["suite"], record["name"]) == (1, "tiny", "fedavg")
    assert (record["status"], record["error"]) == ("done", None)
    assert {"pid", "host", "started"} <= record["owner"].keys()
    assert record["scenario"]["observations"] == ["Cardiomegaly", "Edema", "Fracture"]
    assert record["origin"]["strategy"].startswith("grid (")
    assert record["environment"].keys() >= {"machine", "versions", "device", "precision", "threads"}
    assert record["environment"]["device"] == "cpu"
    assert record["git"].keys() == {"commit", "dirty"}
    data = record["data"]
    assert (data["name"], data["synthetic"]) == ("CheXpert-tiny", False)
    train = {"images": 32, "studies": 24, "patients": 24, "skipped": 0}
    assert data["splits"]["train"] == train
    assert data["splits"].keys() == {"train", "valid", "test"}
    assert sum(data["partition"]["sizes"]) == 32
    assert len(data["partition"]["sizes"]) == 3
    assert record["metrics"].keys() == {"valid", "test"}
    assert unfinished(place.results) == []


def test_rounds_add_up_to_the_totals(first: subprocess.CompletedProcess[str], place: Place) -> None:
    run = load_run(folder_of(place.results, "fedavg"))
    rounds = run.rounds()
    assert [r["round"] for r in rounds] == [1, 2]
    assert [r["clients"] for r in rounds] == [[0, 1, 2]] * 2
    assert [r["examples"] for r in rounds] == [32, 32]
    assert all(math.isfinite(r["loss"]) and r["seconds"] > 0 for r in rounds)
    assert run.totals["examples"] == 64
    assert run.totals["bytes_up"] == sum(r["bytes_up"] for r in rounds) > 0
    assert run.totals["seconds"] == pytest.approx(sum(r["seconds"] for r in rounds), abs=1e-3)
    assert rounds[-1]["mean_auroc"] == run.metrics["valid"]["mean_auroc"]
    pooled = load_run(folder_of(place.results, "centralized"))
    assert pooled.totals["bytes_up"] == 0


def test_scores_are_of_every_study_and_give_the_stated_auroc(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    run = load_run(folder_of(place.results, "fedavg"))
    scored = run.scores("valid")
    with (place.tree / "valid.csv").open() as stream:
        truth = {row["Path"].split("/")[2]: row for row in csv.DictReader(stream)}
    assert sorted(scored.patients.tolist()) == sorted(truth)
    labels = [float(truth[patient]["Cardiomegaly"]) for patient in scored.patients]
    np.testing.assert_array_equal(scored.labels[:, 0], labels)
    assert scored.scores.shape == (1, 8, 3)
    stated = run.metrics["valid"]["observations"]
    for column, name in enumerate(("Cardiomegaly", "Edema")):
        expected = roc_auc_score(scored.labels[:, column], scored.scores[0, :, column])
        assert stated[name]["auroc"] == pytest.approx(expected)
        assert stated[name]["positives"] == int(scored.labels[:, column].sum())
    values = [stated[name]["auroc"] for name in ("Cardiomegaly", "Edema")]
    assert run.metrics["valid"]["mean_auroc"] == pytest.approx(sum(values) / 2)
    assert run.metrics["valid"]["mean_over"] == ["Cardiomegaly", "Edema"]


def test_a_condition_without_positives_is_undefined_with_the_reason(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    entry = load_run(folder_of(place.results, "fedavg")).metrics["valid"]["observations"][
        "Fracture"
    ]
    assert (entry["auroc"], entry["ci"], entry["positives"]) == (None, None, 0)
    assert "positive" in entry["undefined"]


def test_weights_are_safetensors_that_anyone_may_read(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    folder = folder_of(place.results, "fedavg")
    weights = load_file(folder / "weights.safetensors")
    assert all(np.isfinite(tensor).all() for tensor in weights.values())
    assert any("running_var" in name for name in weights)
    plain = folder / "rounds.jsonl"
    assert (folder / "weights.safetensors").stat().st_mode == plain.stat().st_mode
    stated = record_of(folder)
    found = digests(place.results)
    where = f"tiny/{folder.name}"
    assert found[f"{where}/weights.safetensors"] == stated["weights_sha256"]
    assert found[f"{where}/scores-valid.npz"] == stated["scores_sha256"]["valid"]


def test_roc_curves_are_drawn_for_what_is_defined(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    roc = folder_of(place.results, "fedavg") / "roc"
    for stem in ("cardiomegaly", "edema"):
        assert (roc / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (roc / f"{stem}.svg").read_text()[:1000]
    assert not (roc / "fracture.png").exists()


def test_what_is_finished_is_not_run_again(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    before = {f: f.stat().st_mtime_ns for f in place.results.rglob("*") if f.is_file()}
    again = place.run()
    assert again.returncode == 0
    assert "2 of them finished earlier" in again.stderr
    assert "round" not in again.stderr
    assert again.stdout == first.stdout
    after = {f: f.stat().st_mtime_ns for f in place.results.rglob("*") if f.is_file()}
    assert after == before


def test_a_scenario_that_the_suite_now_calls_otherwise_is_not_run_again(
    first: subprocess.CompletedProcess[str], place: Place, here: Here, tmp_path: Path
) -> None:
    more = "grid: {strategy: [centralized, fedavg], fraction: [1.0, 0.4]}\n"
    suite = write_suite(tmp_path / "s.yaml", more, observations=OBSERVATIONS)
    results = tmp_path / "results"
    shutil.copytree(place.results, results)
    done = here(place, "-k", "fraction=1.0", suite=suite, results=results)
    assert done.code == 0
    assert "2 of them finished earlier" in done.err
    assert "fedavg-fraction1" in done.out
    assert sorted(f.name for f in (results / "tiny").iterdir()) == sorted(
        f.name for f in (place.results / "tiny").iterdir()
    )


def test_json_is_one_document_and_nothing_else(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    done = place.run("--json")
    document = json.loads(done.stdout)
    assert [row["run"] for row in document["rows"]] == ["centralized", "fedavg"]
    assert (document["suite"], document["failures"]) == ("tiny", [])
    assert document["rows"][1]["observations"]["Fracture"]["auroc"] is None
    conditions = [row["condition"] for row in document["comparisons"][0]]
    assert conditions == ["Cardiomegaly", "Edema", "Average"]


def test_quiet_says_nothing_but_results(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    done = place.run("--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == first.stdout


def test_against_none_prints_no_comparison(
    first: subprocess.CompletedProcess[str], place: Place
) -> None:
    done = place.run("--against", "none")
    assert "Mean AUROC" in done.stdout
    assert "Difference" not in done.stdout


def test_overrides_and_selection_make_another_run(small: Place, tmp_path: Path, here: Here) -> None:
    done = here(small, "-k", "fedavg", "-s", "rounds=1", "-s", "seed=7", results=tmp_path)
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "tiny").iterdir()
    record = record_of(folder)
    assert (record["scenario"]["rounds"], record["scenario"]["seed"]) == (1, 7)
    assert record["origin"]["rounds"].startswith("-s")
    assert len(load_run(folder).rounds()) == 1


def test_fresh_trains_again_to_the_same_bits(
    first: subprocess.CompletedProcess[str], place: Place, here: Here
) -> None:
    before, log = digests(place.results), folder_of(place.results, "fedavg") / "rounds.jsonl"
    written = log.stat().st_mtime_ns
    done = here(place, "--fresh", "-k", "fedavg")
    assert done.code == 0, done.err
    assert "finished earlier" not in done.err
    assert log.stat().st_mtime_ns > written
    assert digests(place.results) == before


DIVERGING = """\
include:
  - {optimizer: {name: sgd, lr: 1e30}}
  - {strategy: fedavg}
"""


def test_a_scenario_that_diverges_is_named_and_the_others_go_on(
    small: Place, tmp_path: Path, here: Here
) -> None:
    suite = write_suite(tmp_path / "d.yaml", DIVERGING, observations="[Cardiomegaly]")
    results = tmp_path / "results"
    fast = here(small, "--fail-fast", suite=suite, results=results)
    assert fast.code == 3
    statuses = [record_of(folder)["status"] for folder in (results / "tiny").iterdir()]
    assert statuses == ["failed"]
    done = here(small, "--json", suite=suite, results=results)
    assert done.code == 3
    assert "Traceback" not in done.err
    document = json.loads(done.out)
    assert len(document["rows"]) == 1
    (failure,) = document["failures"]
    for text in ("not finite", "round 1", "client 0", "NaN or infinity in "):
        assert text in failure["message"]
        assert text in done.err
    by_status = {record_of(f)["status"]: record_of(f) for f in (results / "tiny").iterdir()}
    assert by_status.keys() == {"failed", "done"}
    assert by_status["failed"]["error"]["type"] == "NonFiniteError"


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("spoilt"))
    (place.tree / "train/patient00001/study1/view1_frontal.png").write_bytes(b"no image")
    (place.tree / "train/patient00002/study1/view1_frontal.png").unlink()
    return place


def test_images_that_cannot_be_read_stop_the_run_at_their_lines(spoilt: Place, here: Here) -> None:
    done = here(spoilt)
    assert done.code == 2
    assert done.out == ""
    assert f"{spoilt.tree}/train.csv:2" in done.err
    assert "patient00002" in done.err
    assert "--on-bad-image skip" in done.err
    assert not (spoilt.results / "tiny").exists()


def test_images_that_are_skipped_are_counted_and_shown(spoilt: Place, here: Here) -> None:
    done = here(spoilt, "--on-bad-image", "skip", "-k", "fedavg", "-s", "rounds=1")
    assert done.code == 0, done.err
    for text in (done.err, done.out):
        assert "train: 2 images that could not be read are left out" in text
    (folder,) = (spoilt.results / "tiny").iterdir()
    assert record_of(folder)["data"]["splits"]["train"]["skipped"] == 2
    assert record_of(folder)["data"]["splits"]["train"]["images"] == 30


def test_of_two_processes_on_one_folder_one_gets_a_clear_error(
    small: Place, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    arguments = ["run", small.suite, "--data", small.tree, "--results", results]
    arguments += ["-k", "fedavg", "-s", "rounds=4000", "-s", "evaluate_every=4000"]
    other = subprocess.Popen(
        command(arguments),
        env=environment(small.cache),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while not list(results.glob("tiny/*/run.json")) and time.monotonic() < end:
            time.sleep(0.05)
        plan = bench("plan", *arguments[1:], "--json", cache=small.cache)
        assert json.loads(plan.stdout)["rows"][0]["status"] == "running"
        second = bench(*arguments, cache=small.cache)
    finally:
        other.kill()
        other.wait()
    assert second.returncode == 2
    assert "another process is working on this run" in second.stderr
    assert "Traceback" not in second.stderr
    plan = bench("plan", *arguments[1:], "--json", cache=small.cache)
    assert json.loads(plan.stdout)["rows"][0]["status"] == "interrupted"


def test_a_line_names_the_mean_or_else_what_is_defined() -> None:
    assert auroc_text(0.8712, {"Edema": 0.9}) == "mean AUROC 0.871"
    assert auroc_text(None, {"No Finding": None, "Pneumonia": 0.953}) == "AUROC Pneumonia 0.953"
    assert auroc_text(None, {"Pneumonia": None}) == "AUROC undefined"
