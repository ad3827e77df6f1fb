"""What a run keeps, and says, of how its steps were executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.digits_on_disk import SUITE, write_digits
from tests.in_process import Ended, call


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_digits(tmp_path_factory.mktemp("digits"))
    (folder / "digits.yaml").write_text(SUITE)
    return folder


def run(capsys, digits: Path, results: Path, *more: str) -> tuple[Ended, dict]:
    ended = call(
        capsys, "run", digits / "digits.yaml", "--data", digits, "--results", results,
        "--device", "cpu", "-s", "rounds=2", *more,
    )  # fmt: skip
    (record,) = results.rglob("run.json")
    return ended, json.loads(record.read_text())["environment"]


def test_by_default_a_cpu_compiles_nothing(capsys, digits, tmp_path):
    ended, environment = run(capsys, digits, tmp_path)
    assert ended.code == 0, ended.err
    assert environment["step"] == "eager"
    assert environment["step_reason"] == "compile: auto compiles on a GPU only"
    assert "steps are executed" not in ended.err


def test_a_compiler_that_fails_is_recorded_and_told_once(capsys, digits, tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError("there is no compiler\nat all")

    monkeypatch.setattr("bench.training.step.compile_network", broken)
    ended, environment = run(capsys, digits, tmp_path, "-s", "compile=true")
    assert ended.code == 0, ended.err
    why = "compile: true; not compiled: RuntimeError: there is no compiler"
    assert (environment["step"], environment["step_reason"]) == ("eager", why)
    assert ended.err.count(f"steps are executed eager ({why})") == 1


def test_clients_without_a_whole_batch_are_said_to_be_executed_plainly(
    capsys, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("bench.training.step.compile_network", lambda module: module)
    ended, environment = run(capsys, digits, tmp_path, "-s", "compile=true", "-s", "batch_size=all")
    assert ended.code == 0, ended.err
    assert environment["step"] == "eager"
    assert "no whole batch" in environment["step_reason"]


def test_what_was_compiled_is_recorded(capsys, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.training.step.compile_network", lambda module: module.forward)
    ended, environment = run(capsys, digits, tmp_path, "-s", "compile=true")
    assert ended.code == 0, ended.err
    assert (environment["step"], environment["step_reason"]) == ("compiled", "compile: true")
    assert "steps are executed" not in ended.err


def interrupt(*_):
    raise KeyboardInterrupt


def without_a_compiler(_):
    raise RuntimeError("there is no compiler")


def test_a_run_that_is_carried_on_to_be_scored_keeps_how_it_was_trained(
    capsys, digits, tmp_path, monkeypatch
):
    """Nothing is trained any more, so nothing is tried: what was found out is all there is."""
    with monkeypatch.context() as until_scored:
        until_scored.setattr("bench.training.step.compile_network", without_a_compiler)
        until_scored.setattr("bench.runs.worker._Work._score", interrupt)
        ended, trained = run(capsys, digits, tmp_path, "-s", "compile=true")
    assert ended.code == 130
    why = "compile: true; not compiled: RuntimeError: there is no compiler"
    assert (trained["step"], trained["step_reason"]) == ("eager", why)
    ended, scored = run(capsys, digits, tmp_path, "-s", "compile=true")
    assert ended.code == 0, ended.err
    assert (scored["step"], scored["step_reason"]) == ("eager", why)
    assert "steps are executed" not in ended.err


def test_a_run_that_trains_on_records_how_it_is_trained_now(capsys, digits, tmp_path, monkeypatch):
    from bench.runs.worker import _Work

    train = _Work._round

    def only_the_first(work, number, last):
        return interrupt() if number == 2 else train(work, number, last)

    monkeypatch.setattr("bench.runs.pace.CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as first_round:
        first_round.setattr("bench.training.step.compile_network", without_a_compiler)
        first_round.setattr(_Work, "_round", only_the_first)
        ended, begun = run(capsys, digits, tmp_path, "-s", "compile=true")
    assert (ended.code, begun["step"]) == (130, "eager")
    monkeypatch.setattr("bench.training.step.compile_network", lambda module: module.forward)
    ended, carried_on = run(capsys, digits, tmp_path, "-s", "compile=true")
    assert ended.code == 0, ended.err
    assert (carried_on["step"], carried_on["step_reason"]) == ("compiled", "compile: true")
    assert ended.err.count("steps are executed compiled (compile: true)") == 1
