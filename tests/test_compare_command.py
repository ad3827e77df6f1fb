"""``bench compare`` on results that are there: every format, every kind of reference, exit code."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.results.names import told_apart
from bench.results.run import Run
from tests.in_process import Ended, call
from tests.runs_on_disk import SCENARIO, some_scores, write_run
from tests.tiny_tree import command, environment

REAL = {"name": "CheXpert-v1.0-small", "digest": "c" * 64, "synthetic": False}
KEYS = {"run", "condition", "ours", "ours_ci", "theirs", "theirs_ci", "difference", "verdict"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two finished runs on CheXpert and a failed one, in results/smoke."""
    root = tmp_path / "results" / "smoke"
    write_run(root, name="weak", scores=some_scores(seed=1, strength=0.5), data=REAL)
    strong = replace(SCENARIO, rounds=9)
    write_run(root, name="strong", scenario=strong, scores=some_scores(strength=3.0), data=REAL)
    write_run(root, name="dead", scenario=replace(SCENARIO, rounds=7), status="failed", data=REAL)
    return tmp_path / "results"


@pytest.fixture
def compare(results: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> Ended:
        return call(capsys, "compare", "--results", results, *arguments)

    return run


def test_tables_for_people(compare: Any) -> None:
    done = compare()
    assert done.code == 0
    assert "note: dead is left out: it is failed" in done.err
    assert "weak against CheXpert paper" in done.out
    assert "row: u-ones" in done.out
    assert "differs: image size: 32, published 320" in done.out
    assert "Differences from irvin2019-valid" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[0] for line in lines if line[:1] in (["Cardiomegaly"], ["Average"])] == [
        "Cardiomegaly",
        "Average",
    ] * 2
    assert "below" in done.out
    assert "not comparable" not in done.out


def test_json_rows(compare: Any, results: Path) -> None:
    document = json.loads(compare("--format", "json").out)
    rows = document["rows"]
    assert len(rows) == 12
    assert all(row.keys() >= KEYS for row in rows)
    (row,) = [r for r in rows if r["run"] == "strong" and r["condition"] == "Edema"]
    assert (row["theirs"], row["theirs_ci"]) == (0.941, [0.903, 0.980])
    assert row["difference"] == pytest.approx(row["ours"] - 0.941)
    stored = json.loads(next(results.glob("smoke/strong-*/run.json")).read_text())
    assert row["ours"] == stored["metrics"]["valid"]["observations"]["Edema"]["auroc"]
    assert document == json.loads(compare("--json").out)


def test_csv_is_flat(compare: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(compare("-f", "csv").out)))
    assert len(rows) == 12
    (row,) = [r for r in rows if (r["run"], r["condition"]) == ("weak", "Cardiomegaly")]
    assert (row["theirs"], row["theirs_low"], row["theirs_high"]) == ("0.832", "0.773", "0.89")
    assert {row["against"] for row in rows} == {"irvin2019-valid"}


@pytest.mark.parametrize(
    ("form", "text"),
    [("markdown", "| Condition"), ("latex", r"\begin{longtable}"), ("html", "<table")],
)
def test_documents(compare: Any, form: str, text: str) -> None:
    done = compare("--format", form)
    assert done.code == 0
    assert text in done.out
    assert "Average" in done.out


def test_output_goes_to_a_file(compare: Any, tmp_path: Path) -> None:
    file = tmp_path / "new" / "table.md"
    done = compare("-f", "markdown", "--output", file)
    assert (done.code, done.out) == (0, "")
    assert "| Condition" in file.read_text()


def test_readme_is_the_origin_s_table(compare: Any) -> None:
    rows = json.loads(compare("--against", "readme", "--json").out)["rows"]
    theirs = {row["condition"]: row["theirs"] for row in rows if row["run"] == "weak"}
    assert theirs == {
        "Consolidation": 0.75,
        "Edema": 0.90,
        "Pleural Effusion": 0.93,
        "Cardiomegaly": 0.93,
        "Atelectasis": 0.82,
        "Average": 0.86,
    }


def test_paper_test_needs_the_test_split(compare: Any, results: Path) -> None:
    done = compare("--against", "paper:test")
    assert done.code == 4
    assert "it was not scored on test" in done.err
    run = write_run(results / "smoke", name="tested", scenario=replace(SCENARIO, seed=3), data=REAL)
    replace(run, metrics={**run.metrics, "test": run.metrics["valid"]}).write()
    done = compare("--against", "paper:test", "--json")
    rows = json.loads(done.out)["rows"]
    assert {row["run"] for row in rows} == {"tested"}
    assert next(r["theirs"] for r in rows if r["condition"] == "Pleural Effusion") == 0.97
    assert "weak is left out" in done.err


def test_wald_intervals_are_symmetric(compare: Any) -> None:
    for ci, symmetric in (("wald", True), ("logit", False)):
        rows = json.loads(compare("--ci", ci, "--json").out)["rows"]
        row = next(r for r in rows if r["run"] == "strong" and r["condition"] == "Edema")
        below, above = row["ours"] - row["ours_ci"][0], row["ours_ci"][1] - row["ours"]
        assert (below == pytest.approx(above)) is symmetric


def folder_of(results: Path, name: str) -> Path:
    (found,) = results.glob(f"smoke/{name}-*")
    return found


def test_a_run_against_a_run(compare: Any, results: Path) -> None:
    ours, theirs = folder_of(results, "strong"), folder_of(results, "weak")
    done = compare(ours, "--against", theirs, "--json")
    rows = json.loads(done.out)["rows"]
    assert [row["condition"] for row in rows][-1] == "Average"
    assert {row["verdict"] for row in rows} == {"above"}
    assert all(0 <= row["p"] < 0.05 for row in rows)
    text = compare(ours, "--against", theirs).out
    assert "paired on the same 200 studies" in text
    assert "the scenarios differ in: rounds" in text
    same = json.loads(compare(theirs, "--against", theirs, "--json").out)["rows"]
    assert {(row["difference"], row["p"]) for row in same} == {(0.0, 1.0)}


def test_runs_against_a_folder(compare: Any, results: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "then", name="weak", scores=some_scores(seed=9, strength=0.5), data=REAL)
    write_run(tmp_path / "then", name="gone", scores=some_scores(seed=9), data=REAL)
    done = compare("--against", tmp_path / "then", "--json")
    assert {row["run"] for row in json.loads(done.out)["rows"]} == {"weak"}
    assert "strong is left out" in done.err


def test_seeds_are_mean_and_sd(compare: Any, tmp_path: Path) -> None:
    aurocs = []
    for seed in range(3):
        run: Run = write_run(
            tmp_path / "seeds",
            name=f"fedavg-seed{seed}",
            scenario=replace(SCENARIO, seed=seed),
            scores=some_scores(seed=seed),
            data=REAL,
        )
        aurocs.append(run.metrics["valid"]["observations"]["Edema"]["auroc"])
    rows = json.loads(compare(tmp_path / "seeds", "--json").out)["rows"]
    row = next(r for r in rows if r["condition"] == "Edema")
    mean = sum(aurocs) / 3
    assert row["run"] == "fedavg (3 seeds)"
    assert row["ours"] == pytest.approx(mean)
    assert row["ours_sd"] == pytest.approx((sum((a - mean) ** 2 for a in aurocs) / 2) ** 0.5)


def test_synthetic_data_is_said_and_bears_no_verdict(compare: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "phantom")
    for form in ("table", "markdown", "csv", "json", "latex", "html"):
        done = compare(tmp_path / "phantom", "-f", form)
        assert "synthetic" in (done.out + done.err).lower()
    rows = json.loads(compare(tmp_path / "phantom", "--json").out)["rows"]
    assert {row["verdict"] for row in rows} == {"not comparable: the data is synthetic"}


def test_nothing_to_compare_is_exit_4_and_never_a_pass(compare: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    write_run(tmp_path / "half", status="interrupted")
    for arguments, reason in (
        ((empty,), "there is no run here"),
        ((tmp_path / "half",), "no run is finished"),
        (("--split", "test"), "not scored on test"),
        (("--against", "irvin2019-counts"), "does not publish AUROC"),
    ):
        done = compare(*arguments)
        assert done.code == 4, done.err
        assert done.out == ""
        assert reason in done.err


def two_folders(root: Path) -> tuple[Path, Path]:
    """A suite run in two results folders, and one of its scenarios in another suite too."""
    seeds = [replace(SCENARIO, seed=seed) for seed in range(2)]
    for number, scenario in enumerate(seeds):
        write_run(
            root / "one" / "smoke", name=f"a-seed{number}", scenario=scenario, data=REAL,
            scores=some_scores(seed=number),
        )  # fmt: skip
    other = replace(SCENARIO, rounds=9)
    for place, suite in (("one", "smoke"), ("one", "more"), ("two", "smoke")):
        write_run(root / place / suite, suite=suite, name="b", scenario=other, data=REAL)
    return root / "one", root / "two"


def test_a_run_that_is_there_twice_is_shown_once_and_one_of_two_suites_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = two_folders(tmp_path)
    done = call(capsys, "compare", one, two, "--json")
    repeat = next(two.rglob("run.json")).parent
    original = next((one / "smoke").glob("b-*"))
    assert f"{repeat} is left out: it is the same scenario as {original}" in done.err
    runs = {row["run"] for row in json.loads(done.out)["rows"]}
    assert runs == {"a (2 seeds)", "smoke/b", "more/b"}


def test_a_folder_against_a_folder_goes_by_name_and_suite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = two_folders(tmp_path)
    write_run(two / "smoke", name="dead", scenario=replace(SCENARIO, rounds=7), status="failed")
    write_run(two / "more", suite="more", name="c", scenario=replace(SCENARIO, rounds=6), data=REAL)
    done = call(capsys, "compare", one, "--against", two, "--json")
    assert "dead is left out: it is failed" in done.err
    assert f"a-seed0 is left out: {two} has 0 runs of that name" in done.err
    found = json.loads(done.out)["comparisons"]
    assert [(c["run"], c["against"]) for c in found] == [
        ("more/b", "b"),
        ("smoke/b", "b"),
    ]


def test_one_run_against_another_of_its_name_names_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = two_folders(tmp_path)
    theirs = next(two.glob("smoke/b-*"))
    done = call(capsys, "compare", one / "more", "--against", theirs, "--json")
    assert [c["against"] for c in json.loads(done.out)["comparisons"]] == [str(theirs)]


def test_nothing_is_held_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, _ = two_folders(tmp_path)
    done = call(capsys, "compare", one, "--against", one)
    assert done.code == 4
    assert "it would be held against itself" in done.err
    assert "bench baselines" not in done.err


def test_a_run_whose_process_is_gone_is_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, name="a", status="running", data=REAL)
    done = call(capsys, "compare", tmp_path)
    assert done.code == 4
    assert "a is left out: it is interrupted" in done.err


def test_runs_of_one_name_are_told_apart_by_suite_and_then_by_folder(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / folder, suite=suite, name=name)
        for folder, suite, name in (("p", "s", "a"), ("q", "s", "a"), ("q", "t", "b"))
    ]
    extra = write_run(tmp_path / "q", suite="t", name="a")
    names = [run.name for run in told_apart([*runs, extra])]
    assert names == [str(runs[0].folder), str(runs[1].folder), "b", "t/a"]


def test_runs_of_one_name_are_told_apart_by_what_was_set_otherwise(tmp_path: Path) -> None:
    runs = []
    for lr in (0.1, 0.3):
        run = write_run(tmp_path / str(lr), suite="s", name="a")
        row = {**run.scenario, "optimizer": {"name": "sgd", "lr": lr}, "rounds": 3}
        runs.append(replace(run, scenario=row))
    names = [run.name for run in told_apart([*runs, write_run(tmp_path, suite="s", name="b")])]
    assert names == ["a, optimizer.lr=0.1", "a, optimizer.lr=0.3", "b"]


def test_a_file_is_as_wide_as_it_must_be_whatever_the_terminal_is(
    compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert compare("--output", tmp_path / "t.txt").code == 0
    lines = (tmp_path / "t.txt").read_text().splitlines()
    assert max(map(len, lines)) > 100
    assert not any("\x1b" in line for line in lines)


def test_a_closed_stream_is_no_traceback(results: Path) -> None:
    for redirected, arguments, code in ((">&-", ["compare"], 0), ("2>&-", ["compare", "none"], 2)):
        line = " ".join(map(shlex.quote, command(arguments)))
        done = subprocess.run(
            ["sh", "-c", f"{line} {redirected}"],
            cwd=results.parent,
            env=environment(results.parent / "cache"),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert "Traceback" not in done.stderr
