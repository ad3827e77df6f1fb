"""Whatever moment a run is killed at, the same command ends at the same bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bench.runs.pace
from bench.federation.engine import Federation
from tests.crashing import digests, unfinished
from tests.in_process import call
from tests.tiny_tree import bench as run_bench
from tests.tiny_tree import command, environment, write_suite, write_tree

EVERY_ROUND = "import bench.runs.pace; bench.runs.pace.CHECKPOINT_SECONDS = 0.0"
"""Without it a run of a second would have no checkpoint but the last."""

LINGERING = f"""{EVERY_ROUND}
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from bench.runs import checkpoint
save = checkpoint.save
def save_and_wait(*arguments):
    save(*arguments)
    time.sleep(1.0)
checkpoint.save = save_and_wait
"""
"""Time enough for a signal to arrive between two rounds, however fast the machine is. Where the
tests run in the background of a shell, SIGINT is ignored from birth: the run must hear it here."""

SCENARIOS = """\
  evaluate_every: 2
include:
  - {strategy: fedavg}
  - {strategy: local, label_policy: u-selftrained, optimizer: {name: adam, lr: 1e-3}}
  - {strategy: scaffold, clients: 4, fraction: 0.5}
"""
"""What keeps state between rounds: clients' models and moments over two phases, control variates
of clients that are not always drawn, and a global model."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    write_tree(folder / "tree")
    write_suite(folder / "kill.yaml", SCENARIOS, observations="[Cardiomegaly]")
    return folder


def arguments(tiny: Path, results: Path) -> list[str | Path]:
    return ["run", tiny / "kill.yaml", "--data", tiny / "tree", "--results", results, "-q"]


@pytest.fixture(scope="module")
def undisturbed(tiny: Path) -> dict[str, str]:
    began = time.monotonic()
    done = run_bench(*arguments(tiny, tiny / "whole"), cache=tiny / "cache")
    (tiny / "seconds").write_text(str(time.monotonic() - began))
    assert done.returncode == 0, done.stderr
    found = digests(tiny / "whole")
    assert len(found) == 6
    return found


def start(
    tiny: Path, results: Path, cache: Path | None = None, before: str = EVERY_ROUND
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(arguments(tiny, results), before),
        env=environment(cache or tiny / "cache"),
        cwd=tiny,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def crash(tiny: Path, work: Path, *, draw: bool = False, **how: int) -> dict[str, Any]:
    """What came of killing the run as ``tests.crashing`` says, which all went well."""
    asked = {"suite": str(tiny / "kill.yaml"), "data": str(tiny / "tree"), "draw": draw}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashing"],
        input=json.dumps(asked | {"how": how, "seed": 1}),
        env=environment(tiny / "cache"),
        cwd=work,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["code"] == 0
    assert report["wrong"] == []
    return report


def wait_for(what: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file of that pattern is there; the process must not end before."""
    end = time.monotonic() + 120
    while not list(what.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_killed_before_a_touch_of_its_results_ends_at_the_same_bytes(
    tiny: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    report = crash(tiny, tmp_path, touches=5)
    assert (report["digests"], report["trials"]) == (undisturbed, 5)


def test_a_self_trained_run_stopped_as_its_second_training_starts_carries_on(
    tiny: Path,
    undisturbed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last checkpoint is then one of the first training, and needs its clients' files."""
    for name, value in environment(tiny / "cache").items():
        monkeypatch.setenv(name, value)
    train = Federation.round

    def stop_at_the_second(federation: Federation, number: int) -> Any:
        if number > federation.scenario.rounds:
            raise KeyboardInterrupt
        return train(federation, number)

    line = [*arguments(tiny, tmp_path / "results"), "-k", "local"]
    with monkeypatch.context() as patch:
        patch.setattr(Federation, "round", stop_at_the_second)
        patch.setattr(bench.runs.pace, "CHECKPOINT_SECONDS", 0.0)
        assert call(capsys, *line).code == 130
    assert call(capsys, *line).code == 0
    expected = {name: digest for name, digest in undisturbed.items() if "/local" in name}
    assert digests(tmp_path / "results") == expected


@pytest.mark.slow
def test_killed_before_any_touch_of_its_results_ends_at_the_same_bytes(
    tiny: Path, tmp_path: Path
) -> None:
    report = crash(tiny, tmp_path, everywhere=True)
    assert report["touches"] > 60
    assert report["trials"] > 60


@pytest.mark.slow
def test_killed_before_any_of_many_touches_while_it_draws_ends_at_the_same_bytes(
    tiny: Path, tmp_path: Path
) -> None:
    report = crash(tiny, tmp_path, touches=30, draw=True)
    assert report["touches"] > 60
    assert report["trials"] == 30


@pytest.mark.slow
def test_killed_at_twenty_random_moments_ends_at_the_same_bytes(
    tiny: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    report = crash(tiny, tmp_path, moments=5, kills=4)
    assert (report["digests"], report["trials"]) == (undisturbed, 5)


def test_killed_at_three_random_moments_ends_at_the_same_bytes(
    tiny: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """As a user's processes are, with their imports."""
    results = tmp_path / "results"
    longest = float((tiny / "seconds").read_text())
    rng = random.Random(3)
    for _ in range(3):
        process = start(tiny, results)
        time.sleep(rng.uniform(0.1, 1.0) * longest)
        process.kill()
        process.wait()
    done = run_bench(*arguments(tiny, results), cache=tiny / "cache")
    assert done.returncode == 0, done.stderr
    assert digests(results) == undisturbed
    assert unfinished(results) == []


def test_a_signal_leaves_the_run_interrupted_and_it_carries_on(
    tiny: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Killed while packing, then interrupted, then terminated, then left alone."""
    results, cache = tmp_path / "results", tmp_path / "cache"
    process = start(tiny, results, cache)
    wait_for(cache, "packs/trees/*/work.npy", process)
    process.kill()
    process.wait()
    started = set()
    for number, at in ((signal.SIGINT, "local*"), (signal.SIGTERM, "scaffold*")):
        process = start(tiny, results, cache, LINGERING)
        wait_for(results, f"tiny/{at}/state.safetensors", process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted; the same command carries on" in errors
        assert "Traceback" not in errors
        (folder,) = results.glob(f"tiny/{at}")
        record = json.loads((folder / "run.json").read_text())
        assert record["status"] == "interrupted"
        started.add((folder, record["timestamps"]["started"]))
    plan = run_bench("plan", *arguments(tiny, results)[1:-1], "--json", cache=cache)
    statuses = [row["status"] for row in json.loads(plan.stdout)["rows"]]
    assert statuses == ["done", "done", "interrupted"]
    assert run_bench(*arguments(tiny, results), cache=cache).returncode == 0
    assert digests(results) == undisturbed
    for folder, moment in started:
        after = json.loads((folder / "run.json").read_text())
        assert (after["status"], after["timestamps"]["started"]) == ("done", moment)
