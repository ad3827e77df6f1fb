"""The results folder: whole files, a log with a torn tail, owners, and what is not a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from bench.atomic import replacing, write_json
from bench.errors import ResultsError, UsageError
from bench.results.frame import frame
from bench.results.ownership import actual_status, in_use, owned
from bench.results.rounds import RoundLog, read_rounds
from bench.results.run import Run, find_runs, load_run
from bench.suites.scenario import Scenario
from tests.runs_on_disk import bare_run, some_scores, write_run

ROUND = {"round": 1, "seconds": 0.5, "examples": 10, "bytes_up": 0, "bytes_down": 0}


def a_run(folder: Path, **changes: object) -> Run:
    return bare_run(folder, **{"status": "interrupted"} | changes)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})
    with pytest.raises(ZeroDivisionError), replacing(file) as temporary:
        temporary.write_text(str(1 / 0))
    assert json.loads(file.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_run_survives_the_disk(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    run.write()
    assert load_run(tmp_path / "r") == run
    assert load_run(tmp_path / "r").synthetic
    assert load_run(tmp_path / "r").as_scenario() == Scenario()


def test_log_is_cut_behind_the_checkpoint_and_its_torn_tail_ignored(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    log = RoundLog(path, keep=0)
    for number in (1, 2, 3):
        log.append({**ROUND, "round": number})
    log.close()
    with path.open("ab") as stream:
        stream.write(b'{"round": 4, "lo')
    assert [r["round"] for r in read_rounds(path)] == [1, 2, 3]
    log = RoundLog(path, keep=2)
    log.append({**ROUND, "round": 3, "again": True})
    log.close()
    found = [(record["round"], record.get("again")) for record in read_rounds(path)]
    assert found == [(1, None), (2, None), (3, True)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"round": "2"}, 'int under "round"'),
        ({"bytes_up": None}, 'int under "bytes_up"'),
        ({"seconds": []}, 'int or float under "seconds"'),
        ({"images_per_second": "fast"}, 'int or float or nothing under "images_per_second"'),
        ({"auroc": 0.5}, 'dict or nothing under "auroc"'),
        ({"accuracy": math.nan}, "a JSON object"),
    ],
)
def test_a_line_that_is_not_a_round_is_named(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    path = tmp_path / "rounds.jsonl"
    lines = [ROUND | {"round": 1, "yardstick": None}, ROUND | {"round": 2} | change]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ResultsError, match=r"rounds.jsonl:2: the line is not a round") as raised:
        read_rounds(path)
    assert raised.value.expected == expected


def test_log_that_ends_before_the_checkpoint_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_text(json.dumps(ROUND) + "\n")
    with pytest.raises(ResultsError, match="ends before the checkpoint"):
        RoundLog(path, keep=2)


def test_a_folder_has_one_owner_until_the_process_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from bench.results.ownership import owned\n"
        "with owned(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "mine\n"
    run = a_run(tmp_path, status="running")
    try:
        assert in_use(tmp_path)
        assert actual_status(run) == "running"
        with pytest.raises(ResultsError, match="another process"), owned(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    assert not in_use(tmp_path)
    assert actual_status(run) == "interrupted"
    with owned(tmp_path) as owner:
        assert owner["pid"] > 0


NOT_A_RUN = {
    "missing": (None, "there is no run here"),
    "empty": ("", "not JSON"),
    "cut": ('{"schema": 1, "suite": "s"', "not JSON"),
    "a list": ("[]", "expected: a JSON object"),
    "newer schema": ('{"schema": 99}', "expected: schema 1"),
    "no schema": ("{}", "schema None"),
    "lacks a part": ('{"schema": 1}', "the key 'suite' is missing"),
    "deep": ("[" * 200_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", NOT_A_RUN)
def test_what_is_not_a_run_is_named(tmp_path: Path, case: str) -> None:
    text, message = NOT_A_RUN[case]
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResultsError, match=message):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "finished"}, "unknown status"),
        ({"scenario": {"no_such_key": 1}}, "scenario in the run cannot be read"),
        ({"metrics": []}, "the key 'metrics'"),
        ({"environment": {"machine": "A"}}, "'environment.machine' .* of the wrong kind"),
        ({"environment": {"versions": ["2.0"]}}, "'environment.versions'"),
        ({"scores_sha256": "abc"}, "'scores_sha256'"),
        ({"error": "it broke"}, "'error'"),
        ({"totals": {"seconds": math.nan}}, "not a run: NaN is not JSON"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = a_run(tmp_path).document() | change
    (tmp_path / "run.json").write_text(json.dumps(document))
    with pytest.raises(ResultsError, match=message):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"auroc": 1.5}, "auroc"),
        ({"ci": [0.9, 0.8]}, "ci"),
        ({"ci": [0.5, 1.5]}, "ci"),
        ({"ci": [0.5]}, "ci"),
    ],
)
def test_an_auroc_that_is_none_is_named(tmp_path: Path, entry: dict[str, object], key: str) -> None:
    run = write_run(tmp_path)
    run.metrics["valid"]["observations"]["Edema"] |= entry
    run.write()
    with pytest.raises(ResultsError, match=rf"'metrics.valid.observations.Edema.{key}'"):
        load_run(run.folder)


def test_find_runs_looks_two_levels_down_and_takes_each_once(tmp_path: Path) -> None:
    for name in ("b", "a"):
        a_run(tmp_path / "suite" / name, name=name).write()
    found = find_runs([tmp_path, tmp_path / "suite" / "a", tmp_path / "suite"])
    assert [run.name for run in found] == ["a", "b"]
    with pytest.raises(UsageError, match="no such run"):
        find_runs([tmp_path / "nowhere"])


def test_frame_has_a_row_for_each_split_and_observation(tmp_path: Path) -> None:
    scores = some_scores(observations=("Edema", "Fracture"))
    scores.labels[:, 1] = 0.0
    run = write_run(tmp_path, scores=scores)
    table = frame([tmp_path])
    entry = run.metrics["valid"]["observations"]["Edema"]
    assert list(table["observation"]) == ["Edema", "Fracture"]
    assert table["auroc"][0] == entry["auroc"]
    assert [table["low"][0], table["high"][0]] == entry["ci"]
    assert table["auroc"].isna().tolist() == [False, True]
    assert table["undefined"].isna().tolist() == [True, False]
    assert table["undefined"][1] == "no positives"
    assert set(table["scenario.backbone"]) == {run.scenario["backbone"]}
