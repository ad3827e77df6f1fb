"""``bench run --workers`` and torchrun: the bits of one process, and no end but a clean one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from bench.results.run import Run, load_run
from bench.runs.crew import Place
from bench.runs.hardware import Hardware
from bench.runs.worker import _busy
from bench.suites.scenario import FAMILIES, Choice, Scenario
from tests.crashing import digests, unfinished
from tests.digits_on_disk import SUITE as DIGITS
from tests.digits_on_disk import write_digits
from tests.in_process import call
from tests.tiny_tree import (
    CHECKOUT,
    NO_FIGURES,
    command,
    environment,
    torchrun,
    write_suite,
    write_tree,
)

EVERY_ROUND = f"{NO_FIGURES}\nimport bench.runs.pace; bench.runs.pace.CHECKPOINT_SECONDS = 0.0"
HEARING = f"""{EVERY_ROUND}
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"""
"""In the background of a shell SIGINT is ignored from birth: the run must hear it here."""
LINGERING = f"""{EVERY_ROUND}
import time
from bench.runs import checkpoint
save = checkpoint.save
def save_and_wait(*arguments):
    save(*arguments)
    time.sleep(0.3)
checkpoint.save = save_and_wait"""
"""Time enough to be killed between two rounds, however fast the machine is."""
SCENARIOS = """\
  evaluate_every: 2
include:
  - {strategy: scaffold, clients: 5, fraction: 0.5}
  - {strategy: local, label_policy: u-selftrained, optimizer: {name: adam, lr: 1e-3}}
  - {strategy: fedavg, buffers: recalibrate}
"""
"""States that stay with clients, models of clients over two phases, a second exchange."""
STATEFUL = """\
  rounds: 6
include:
  - {strategy: scaffold}
  - {strategy: local, optimizer: {name: adam, lr: 1e-3}}
  - {strategy: centralized}
"""
LONG = """\
  rounds: 2000
  evaluate_every: 10
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    write_tree(folder / "tree")
    write_suite(folder / "tiny.yaml", SCENARIOS, observations="[Cardiomegaly]")
    write_digits(folder / "mnist", test=3000)
    (folder / "digits.yaml").write_text(DIGITS + STATEFUL)
    (folder / "long.yaml").write_text(DIGITS + LONG)
    return folder


def run(folder: Path, suite: str, results: Path, *more: str) -> list[str | Path]:
    data = folder / ("tree" if suite == "tiny" else "mnist")
    return ["run", folder / f"{suite}.yaml", "--data", data, "--results", results, *more]


def run_bench(
    folder: Path, arguments: list[str | Path], **extra: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(arguments, NO_FIGURES),
        env=environment(folder / "cache", extra),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, str]:
    """What one process ends with, for the suites ``tiny`` and ``digits``."""
    for suite in ("tiny", "digits"):
        done = run_bench(folder, run(folder, suite, folder / "alone", "-q"))
        assert done.returncode == 0, done.stderr
    return digests(folder / "alone")


def start(folder: Path, arguments: list[str | Path], before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(arguments, before),
        env=environment(folder / "cache"),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,  # as a shell starts a command
    )


def wait_for(results: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not list(results.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children()
    return [child for child in found if "bench.runs.member" in child.cmdline()]


@pytest.fixture
def none_left() -> Iterator[list[psutil.Process]]:
    """Processes noted in the list must be gone a few seconds after the test."""
    started: list[psutil.Process] = []
    yield started
    assert started, "nothing was started"
    _, alive = psutil.wait_procs(started, timeout=10)
    for process in alive:
        process.kill()
    assert not alive


def of(beginning: str, found: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if name.startswith(beginning)}


def run_in(results: Path) -> Run:
    (file,) = results.glob("*/*/run.json")
    return load_run(file.parent)


def test_four_workers_end_at_the_bytes_of_one(
    folder: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    done = run_bench(folder, run(folder, "tiny", tmp_path, "--workers", "4"))
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path) == of("tiny", alone)
    assert unfinished(tmp_path) == []
    assert "4 workers and 3 clients a round: 1 train nothing" in done.stderr
    cores = len(psutil.Process().cpu_affinity())
    assert (f"4 workers of a thread each take turns on {cores} cores" in done.stderr) == (cores < 4)
    for file in tmp_path.glob("*/*/run.json"):
        record = load_run(file.parent).environment
        assert (record["workers"], record["threads"]) == (4, 1)


def test_one_learner_has_the_threads_of_all_workers(folder: Path, tmp_path: Path) -> None:
    """The others wait; the scenario after it is theirs too."""
    threads = _threads_unasked()
    (tmp_path / "one.yaml").write_text(
        DIGITS + "  rounds: 2\ninclude:\n  - {strategy: centralized}\n  - {strategy: scaffold}\n"
    )
    line: list[str | Path] = ["run", tmp_path / "one.yaml", "--data", folder / "mnist"]
    line += ["--results", tmp_path / "r", "--workers", "2"]
    done = run_bench(folder, line, OMP_NUM_THREADS="")
    assert done.returncode == 0, done.stderr
    assert f"one worker trains it alone, with {threads} threads" in done.stderr
    records = {
        name: load_run(next((tmp_path / "r").glob(f"*/{name}*"))).environment
        for name in ("centralized", "scaffold")
    }
    found = {name: (record["workers"], record["threads"]) for name, record in records.items()}
    assert found == {"centralized": (1, threads), "scaffold": (2, threads // 2)}
    line = [*line[:4], "--results", tmp_path / "alone", "-k", "centralized"]
    done = run_bench(folder, line, OMP_NUM_THREADS="")
    assert done.returncode == 0, done.stderr
    both = digests(tmp_path / "r")
    assert digests(tmp_path / "alone") == {n: d for n, d in both.items() if "centralized" in n}


@pytest.mark.parametrize(
    ("changes", "threads"),
    [
        ({}, 6),
        ({"threads": 6}, None),
        ({"asked": True}, None),
        ({"device": torch.device("cuda")}, None),
        ({"place": Place(processes=3, torchrun=True)}, None),
    ],
    ids=str,
)
def test_the_threads_of_all_are_there_where_processes_share_a_machine(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], threads: int | None
) -> None:
    monkeypatch.setattr("bench.training.device.choose_threads", lambda: 6)
    usual = {"device": torch.device("cpu"), "threads": 2, "workers": 3, "place": Place(processes=3)}
    whole = Hardware(**{**usual, **changes}).alone()
    if threads is None:
        assert whole is None
    else:
        assert whole is not None
        assert (whole.threads, whole.workers) == (threads, 1)


def _threads_unasked() -> int:
    """Of a process that is the only one and was told nothing."""
    code = "from bench.training.device import choose_threads; print(choose_threads())"
    line = [sys.executable, "-c", code]
    unasked = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(line, env=unasked, capture_output=True, text=True, check=True)
    threads = int(done.stdout)
    if threads < 2:
        pytest.skip("there is one core")
    return threads


def test_torchrun_ends_at_the_bytes_of_one(
    folder: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    done = torchrun(*run(folder, "digits", tmp_path, "--json"), cache=folder / "cache")
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path) == of("digits", alone)
    assert len(json.loads(done.stdout)["rows"]) == 3
    assert done.stderr.count("[1/3]") == 1
    assert "2 workers and one learner: 1 train nothing" in done.stderr
    assert load_run(next(tmp_path.glob("*/scaffold*"))).environment["workers"] == 2


NO_SUM = """
import os
from bench.federation.distributed import DistributedTeam
def add_up(team, tensors):
    raise MemoryError("no room")
if os.environ["RANK"] == "0":
    DistributedTeam.add_up = add_up
"""
"""The others wait in the exchange that the leader never comes to."""
NO_STEP = """
import os, time
from bench.federation.engine import Federation
def close(federation, gathering):
    if os.environ["RANK"] == "1":
        raise MemoryError("no room")
    time.sleep({seconds})
Federation._close = close
"""
"""The leader waits in the next exchange, or is busy for longer than the test has time."""


LOST = ["worker 2 of 2 failed", "[rank1]: MemoryError: no room"]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (
            NO_SUM,
            ["worker 1 of 2: a process failed where the others wait for it", "the traceback is in"],
        ),
        pytest.param(NO_STEP.format(seconds=0), LOST, marks=pytest.mark.slow),
        pytest.param(NO_STEP.format(seconds=300), LOST, marks=pytest.mark.slow),
    ],
    ids=["leader", "other", "other while the leader is busy"],
)
def test_where_one_of_torchrun_s_fails_alone_all_end_and_say_why(
    folder: Path, tmp_path: Path, what: str, told: list[str]
) -> None:
    arguments = run(folder, "digits", tmp_path / "r", "-k", "strategy=scaffold", "-q")
    done = torchrun(*arguments, cache=folder / "cache", before=f"{NO_FIGURES}{what}")
    assert done.returncode != 0
    for words in (*told, "found: MemoryError: no room", "carries on from the last checkpoint"):
        assert words in done.stderr
    codes = re.findall(r"exitcode +: (-?\d+)", done.stderr)  # of torchrun's own report
    assert len(codes) == 2
    assert "0" not in codes
    assert "gloo" not in done.stderr
    assert run_in(tmp_path / "r").status == "interrupted"


def test_a_leader_that_fails_alone_takes_its_workers_with_it(folder: Path, tmp_path: Path) -> None:
    """They would have taken the next scenario for the part of the sum that they wait for."""
    before = """
from bench.federation.shared_memory import SharedMemoryTeam
def add_up(team, tensors):
    raise MemoryError("no room")
SharedMemoryTeam.add_up = add_up"""
    line = command(run(folder, "digits", tmp_path, "--workers", "2", "-q"), NO_FIGURES + before)
    done = subprocess.run(
        line, env=environment(folder / "cache"), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3
    assert "worker 1 of 2: a process failed where the others wait for it" in done.stderr
    assert "found: MemoryError: no room" in done.stderr
    assert "Traceback" not in done.stderr
    assert run_in(tmp_path).status == "interrupted"
    kept = next(tmp_path.glob("*/*/traceback.txt")).read_text()
    assert "in add_up" in kept


def test_killed_and_carried_on_by_other_numbers_of_workers_ends_at_the_same_bytes(
    folder: Path, alone: dict[str, str], tmp_path: Path, none_left: list[psutil.Process]
) -> None:
    """The leader is killed among three, then the other among two; then two carry on."""
    results = tmp_path / "results"
    process = start(folder, run(folder, "digits", results, "--workers", "3"), LINGERING)
    wait_for(results, "digits/scaffold*/state.safetensors", process)
    none_left += children_of(process)
    assert len(none_left) == 2
    process.kill()
    process.communicate()

    process = start(folder, run(folder, "digits", results, "--workers", "2"), LINGERING)
    wait_for(results, "digits/local*/state.safetensors", process)
    (child,) = children_of(process)
    none_left.append(child)
    child.kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "worker 2 of 2 is gone" in errors
    assert "killed by SIGKILL" in errors
    assert "Traceback" not in errors
    assert load_run(next(results.glob("digits/local*"))).status == "interrupted"

    done = run_bench(folder, run(folder, "digits", results, "-q", "--workers", "2"))
    assert done.returncode == 0, done.stderr
    assert digests(results) == of("digits", alone)
    assert unfinished(results) == []


def test_an_interrupt_leaves_no_process_and_a_run_to_carry_on(
    folder: Path, tmp_path: Path, none_left: list[psutil.Process]
) -> None:
    """Ctrl-C reaches every process of a terminal; the leader alone heeds it."""
    process = start(folder, run(folder, "long", tmp_path, "--workers", "2"), HEARING)
    wait_for(tmp_path, "*/*/state.safetensors", process)
    (child,) = children_of(process)
    none_left.append(child)
    child.send_signal(signal.SIGINT)
    rounds = len(run_in(tmp_path).rounds())
    end = time.monotonic() + 60
    while len(run_in(tmp_path).rounds()) < rounds + 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; the same command carries on" in errors
    assert "Traceback" not in errors
    assert run_in(tmp_path).status == "interrupted"


@pytest.mark.parametrize("after", [0.0, 0.3])
def test_an_interrupt_while_the_others_start_is_one_too(
    folder: Path, tmp_path: Path, none_left: list[psutil.Process], after: float
) -> None:
    """A terminal sends SIGINT to the whole group of processes in the foreground."""
    process = start(folder, run(folder, "long", tmp_path, "--workers", "2"), HEARING)
    end = time.monotonic() + 60
    while not (children := children_of(process)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.001)
    none_left += children
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "interrupted; the same command carries on" in errors
    assert "Traceback" not in errors


def test_a_client_that_diverges_fails_its_scenario_only_and_is_told_once(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "wild.yaml").write_text(
        DIGITS + "  rounds: 2\ninclude:\n"
        "  - {optimizer: {name: sgd, lr: 1e30}}\n  - {strategy: fedavgm}\n"
    )
    line: list[str | Path] = ["run", tmp_path / "wild.yaml", "--data", folder / "mnist"]
    line += ["--results", tmp_path / "r", "--workers", "2"]
    done = run_bench(folder, line)
    assert done.returncode == 3
    assert done.stderr.count("training gave a number that is not finite") == 1
    assert "Traceback" not in done.stderr
    statuses = {load_run(file.parent).status for file in (tmp_path / "r").glob("*/*/run.json")}
    assert statuses == {"failed", "done"}


def test_a_run_keeps_its_threads_when_it_is_carried_on(
    folder: Path, alone: dict[str, str], tmp_path: Path, none_left: list[psutil.Process]
) -> None:
    """On a CPU the bits depend on the threads of a process; this machine would choose others."""
    line = run(folder, "digits", tmp_path, "-k", "strategy=scaffold")
    process = start(folder, [*line, "--workers", "2", "--threads", "1"], LINGERING)
    wait_for(tmp_path, "*/*/state.safetensors", process)
    none_left += children_of(process)
    process.kill()
    process.communicate()
    done = run_bench(folder, line, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert "began with 1 threads a process" in done.stderr
    assert digests(tmp_path) == of("digits/scaffold", alone)
    assert run_in(tmp_path).environment["threads"] == 1


DROPPED = FAMILIES["stragglers"].read({"name": "dropped", "share": 0.5})
SOME = "where there are fewer than workers, some train nothing"


@pytest.mark.parametrize(
    ("fields", "workers", "said"),
    [
        ({"clients": 4}, 4, None),
        ({"clients": 4, "sampling": "poisson", "fraction": 0.1}, 1, None),
        ({"clients": 4}, 6, "6 workers and 4 clients a round: 2 train nothing"),
        # Of four clients each takes part with a half or not at all: two, and perhaps all of them.
        (
            {"clients": 4, "sampling": "poisson", "fraction": 0.5},
            3,
            f"3 workers and 2 clients a round on average: {SOME}",
        ),
        (
            {"clients": 4, "sampling": "poisson", "fraction": 0.5},
            6,
            "6 workers and at most 4 clients a round: 2 train nothing",
        ),
        ({"clients": 4, "sampling": "poisson", "fraction": 0.5}, 2, None),
        (
            {"clients": 4, "dropout": 0.1},
            4,
            f"4 workers and 3.6 clients a round on average: {SOME}",
        ),
        ({"clients": 4, "dropout": 0.1}, 3, None),
        (
            {"clients": 4, "stragglers": DROPPED},
            3,
            "3 workers and 2 clients a round: 1 train nothing",
        ),
        (
            {"clients": 3, "strategy": Choice("local")},
            4,
            "4 workers and 3 clients: 1 train nothing",
        ),
        (
            {"clients": 1, "strategy": Choice("centralized")},
            2,
            "2 workers and one learner: 1 train nothing",
        ),
    ],
    ids=str,
)
def test_who_will_have_nothing_to_do_is_said(
    fields: dict[str, Any], workers: int, said: str | None
) -> None:
    assert _busy(Scenario(**fields), workers)[1] == said


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
@pytest.mark.parametrize("option", ["--workers", "--threads"])
def test_numbers_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    ended = call(capsys, "run", "smoke", option, value)
    assert ended.code == 2
    assert option in ended.err


def test_workers_and_torchrun_exclude_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    ended = call(capsys, "run", "smoke", "--workers", "2")
    assert ended.code == 2
    assert "--workers cannot be used under torchrun" in ended.err


def test_python_m_bench_is_bench() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--version"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("bench ")
