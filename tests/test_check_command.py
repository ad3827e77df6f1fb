"""``bench check`` as a person and a CI job run it."""

from __future__ import annotations

import csv
import io
import json
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pytest

from bench.cli import main
from bench.comparison.gates import find_reference, scenario_differences
from bench.results.run import Run, load_run
from bench.suites.choice import Choice
from tests.processes import process
from tests.runs_on_disk import (
    ELSEWHERE,
    SCENARIO,
    STEADY,
    some_rounds,
    some_scores,
    write_run,
)

REFERENCE = Path("results/reference/smoke")
NOW = Path("results/smoke")
POOLED = replace(SCENARIO, strategy=Choice("centralized", ()))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a reference of one run."""
    write_run(tmp_path / REFERENCE)
    return tmp_path


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left, as subprocess would say it."""

    returncode: int
    stdout: str
    stderr: str


def check(home: Path, *arguments: object) -> Done:
    """The command in this process, which spares each test the start of another."""
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(home),
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["bench", "check", *map(str, arguments)]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def test_exit_codes_of_the_process(home: Path) -> None:
    fast, slow = (
        write_run(home / place, rounds=some_rounds([factor * speed for speed in STEADY])).folder
        for place, factor in (("a", 1.0), ("b", 0.75))
    )
    for arguments, expected in (([fast], 0), ([slow], 1), ([fast, "--reference", "none"], 4)):
        done = process("check", *arguments, cwd=home)
        assert (done.returncode, "Traceback" in done.stderr) == (expected, False)


def test_the_same_run_passes(home: Path) -> None:
    write_run(home / NOW)
    done = check(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Passed: 8 pass." in done.stdout
    assert "SYNTHETIC DATA" in done.stdout
    itself = check(home, REFERENCE, "--reference", REFERENCE, "--json")
    assert itself.returncode == 0
    document = json.loads(itself.stdout)
    assert (document["exit_code"], document["outcome"]) == (0, "Passed: 8 pass.")
    assert document["synthetic"] is True


def test_shuffled_labels_and_a_slowdown_exit_1(home: Path) -> None:
    scored = some_scores()
    scored = replace(scored, scores=scored.scores[:, ::-1])
    rounds = some_rounds([0.75 * speed for speed in STEADY])
    write_run(home / NOW, scores=scored, rounds=rounds)
    done = check(home, NOW, "--json")
    assert done.returncode == 1
    rows = {row["gate"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["AUROC mean"]["verdict"] == "regression"
    assert rows["AUROC mean"]["change"] < -0.3
    assert rows["throughput"]["verdict"] == "regression"
    assert rows["throughput"]["change"] == pytest.approx(-0.25)
    assert rows["bit-equality"]["promised"] is True
    assert "raise SEMANTICS" in done.stdout


def test_a_missing_reference_exits_4_and_says_how_to_make_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / NOW)
    done = check(tmp_path, NOW)
    assert done.returncode == 4
    assert "there is no reference in results/reference/smoke" in done.stdout
    command = "bench check --update results/smoke --reference results/reference/smoke"
    assert command in done.stderr
    made = check(tmp_path, *command.split()[2:])
    assert made.returncode == 0
    assert made.stderr == f"wrote results/reference/smoke/{run.folder.name}\n"
    assert check(tmp_path, NOW).returncode == 0


def test_a_reference_that_lacks_one_of_the_runs_exits_4(home: Path) -> None:
    write_run(home / NOW)
    write_run(home / NOW, name="centralized", scenario=POOLED)
    done = check(home, NOW)
    assert done.returncode == 4
    assert "there is no run of this scenario in results/reference/smoke" in done.stdout


def test_a_run_that_was_not_made_exits_4_unless_runs_are_named(home: Path) -> None:
    write_run(home / REFERENCE, name="centralized", scenario=POOLED)
    run = write_run(home / NOW)
    done = check(home, NOW)
    assert done.returncode == 4
    assert "not among the runs that were given" in done.stdout
    assert check(home, run.folder).returncode == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scenario": replace(SCENARIO, rounds=9)}, "rounds is 9, was 8"),
        (
            {"scenario": replace(SCENARIO, partition=Choice("dirichlet", (("alpha", 0.3),)))},
            "partition is dirichlet(alpha=0.3), was iid",
        ),
        ({"digest": "e" * 64}, "the data is other data (eeeeeeeeeeee…, was dddddddddddd…)"),
        ({"semantics": 0, "hash": "f" * 16}, "semantics is 0, was 1"),
        ({"status": "running"}, "the run is not finished: interrupted"),
        (
            {"status": "failed", "error": {"type": "NonFiniteError", "message": "loss"}},
            "the run is not finished: failed (NonFiniteError: loss)",
        ),
    ],
)
def test_another_scenario_or_no_finished_run_exits_4(
    home: Path, changes: dict[str, object], reason: str
) -> None:
    write_run(home / NOW, **changes)  # type: ignore[arg-type]
    done = check(home, NOW, "--json")
    assert done.returncode == 4
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["verdict"], row["gate"]) == ("cannot tell", "all gates")
    assert reason in row["reason"]


def test_runs_are_matched_by_identity_before_name_and_machine(tmp_path: Path) -> None:
    renamed = write_run(tmp_path / "a", name="old-name", environment=ELSEWHERE)
    namesake = write_run(tmp_path / "b", scenario=replace(SCENARIO, rounds=9))
    run = write_run(tmp_path / "c")
    assert find_reference(run, [namesake, renamed]) is renamed
    assert scenario_differences(run, renamed) == []
    here = write_run(tmp_path / "d", name="another-name")
    assert find_reference(run, [namesake, renamed, here]) is here
    assert find_reference(run, [namesake]) is namesake
    assert isinstance(find_reference(run, []), str)


def test_inconclusive_gates_fail_only_where_strict(home: Path) -> None:
    write_run(home / NOW, scores=some_scores(seed=3), environment=ELSEWHERE)
    done = check(home, NOW, "--throughput-tolerance", "0.5", "--json")
    verdicts = {row["gate"]: row["verdict"] for row in json.loads(done.stdout)["rows"]}
    assert verdicts["AUROC Edema"] == "inconclusive"
    assert verdicts["throughput"] == "cannot tell"
    assert done.returncode == 4
    write_run(home / NOW, scores=some_scores(seed=3), rounds=some_rounds(STEADY, [50.0] * 8))
    write_run(home / REFERENCE, environment=ELSEWHERE, rounds=some_rounds(STEADY, [50.0] * 8))
    assert check(home, NOW).returncode == 0
    assert check(home, NOW, "--strict").returncode == 4


def test_thresholds_come_from_the_suite_and_the_command_line_wins(home: Path) -> None:
    write_run(home / NOW, rounds=some_rounds([0.8 * speed for speed in STEADY]))
    suite = home / "own.yaml"
    suite.write_text("suite: own\ngates:\n  throughput: {tolerance: 0.3, alpha: 0.01}\n")

    def throughput(*arguments: object) -> dict[str, object]:
        rows = json.loads(check(home, NOW, "--json", *arguments).stdout)["rows"]
        return next(row for row in rows if row["gate"] == "throughput")

    assert throughput()["threshold"] == "drop > 10 % and p < 0.05"
    assert throughput()["verdict"] == "regression"
    own = throughput("--suite", suite)
    assert (own["threshold"], own["verdict"]) == ("drop > 30 % and p < 0.01", "pass")
    both = throughput("--suite", suite, "--throughput-tolerance", "0.15")
    assert (both["threshold"], both["verdict"]) == ("drop > 15 % and p < 0.01", "regression")
    assert throughput("--minimum-samples", 9)["verdict"] == "cannot tell"


def test_a_suite_that_does_not_ship_gets_the_defaults_and_a_note(tmp_path: Path) -> None:
    for root in (Path("results/reference/mine"), Path("results/mine")):
        write_run(tmp_path / root, suite="mine")
    done = check(tmp_path)
    assert done.returncode == 0
    assert "No suite named 'mine' ships with bench" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--auroc-alpha", "0"], "--auroc-alpha is out of bounds"),
        (["--auroc-tolerance", "-0.1"], "--auroc-tolerance is out of bounds"),
        (["--minimum-samples", "3"], "--minimum-samples is out of bounds"),
        (["--suite", "no-such-suite"], "no such suite"),
        (["results/nowhere"], "there is no such run or folder"),
    ],
)
def test_what_cannot_be_asked_exits_2(home: Path, arguments: list[str], message: str) -> None:
    write_run(home / NOW)
    done = check(home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_to_check_exits_4(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    done = check(tmp_path)
    assert done.returncode == 4
    assert "there are no runs to check" in done.stderr


def test_every_format_has_the_same_cells(home: Path) -> None:
    write_run(home / NOW)
    shown = {f: check(home, NOW, "-f", f).stdout for f in ("table", "markdown", "csv", "json")}
    rows = list(csv.DictReader(io.StringIO(shown["csv"])))
    assert [row["Verdict"] for row in rows] == ["pass"] * 8
    assert rows[-1]["Measured"] == "100 → 100 images/s"
    for plain, row in zip(json.loads(shown["json"])["rows"], rows, strict=True):
        for key in ("run", "gate", "measured", "threshold", "verdict", "reason"):
            assert plain[key] == row[key.title()]
            assert row[key.title()] in shown["table"]
            assert row[key.title()].replace("<", "\\<") in shown["markdown"]


def test_the_verdict_is_said_where_the_table_goes_to_a_file(home: Path) -> None:
    write_run(home / NOW)
    done = check(home, NOW, "-o", "gate.md", "-f", "markdown")
    assert (done.stdout, done.stderr) == ("", "Passed: 8 pass. Wrote gate.md.\n")
    assert "bit-equality" in (home / "gate.md").read_text()
    assert check(home, NOW, "-o", "gate.md", "-q").stderr == ""


# bench check --update


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_update_keeps_the_small_files_and_nothing_of_this_machine(tmp_path: Path) -> None:
    run = write_run(tmp_path / NOW, git={"commit": "c0ffee", "dirty": True})
    (run.folder / "weights.safetensors").write_bytes(b"large")
    done = check(tmp_path, "--update", NOW)
    assert done.returncode == 0
    assert "fedavg was run from source that was not committed" in done.stderr
    name = run.folder.name
    kept = ["rounds.jsonl", "run.json", "scores-valid.npz"]
    assert files(tmp_path / REFERENCE) == [f"{name}/{file}" for file in kept]
    text = (tmp_path / REFERENCE / name / "run.json").read_text()
    assert "somewhere" not in text
    assert "/home/" not in text
    copy = load_run(tmp_path / REFERENCE / name)
    assert copy == replace(run, folder=copy.folder, owner={}, origin={})


def test_update_replaces_namesakes_and_keeps_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / REFERENCE
    kept = write_run(folder, name="centralized", scenario=POOLED)
    old = write_run(folder, scenario=replace(SCENARIO, rounds=9))
    (folder / "README.md").write_text("Made on the CI's runner.\n")
    new = write_run(tmp_path / NOW)
    assert check(tmp_path, "--update", NOW, "-q").stderr == ""
    names = {path.name for path in folder.iterdir()}
    assert names == {kept.folder.name, new.folder.name, "README.md"}
    assert old.folder.name not in names
    assert [path.name for path in folder.parent.iterdir()] == ["smoke"]


def test_update_refuses_what_is_not_finished_and_leaves_the_old(home: Path) -> None:
    before = files(home / REFERENCE)
    finished: Run = write_run(home / NOW)
    write_run(home / NOW, name="other", scenario=POOLED, status="interrupted")
    done = check(home, "--update", NOW)
    assert done.returncode == 2
    assert "a reference is made of finished runs only" in done.stderr
    assert files(home / REFERENCE) == before
    assert check(home, "--update", finished.folder).returncode == 0


def test_update_refuses_a_results_folder_and_namesakes(home: Path) -> None:
    run = write_run(home / NOW)
    (run.folder / "weights.safetensors").write_bytes(b"large")
    into_results = check(home, "--update", run.folder, "--reference", NOW)
    assert into_results.returncode == 2
    assert "holds whole runs" in into_results.stderr
    write_run(home / "results/again", scenario=replace(SCENARIO, rounds=9))
    twice = check(home, "--update", NOW, "results/again", "--reference", "somewhere")
    assert "two of the runs are named 'fedavg'" in twice.stderr
    assert not (home / "somewhere").exists()
