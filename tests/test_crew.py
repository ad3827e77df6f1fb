"""How processes are told apart, how one's end is worded, and how long messages are cut."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from bench.errors import UsageError, WorkerLost
from bench.federation.distributed import FIRST_BYTES, _framed, _in_brief, _length, _tail, _text
from bench.runs.crew import Crew, Place, _ending, _Started, by_torchrun
from bench.runs.hardware import Hardware

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"WORLD_SIZE": "1"}, False),
        ({"MASTER_ADDR": ""}, False),
        ({"RANK": ""}, False),
    ],
)
def test_torchrun_is_known_by_all_that_it_sets(changes: dict[str, str], found: bool) -> None:
    assert by_torchrun(TORCHRUN | changes) is found


def test_a_process_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Crew(workers=4).place == Place(number=0, processes=4)
    assert Crew(workers=4).leads
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert Crew().place == Place(number=1, processes=2, torchrun=True)
    assert not Crew().leads


def test_one_worker_starts_nothing() -> None:
    with Crew() as crew:
        assert crew.enrol().size == 1
        crew.dismiss()
    assert "bench.federation.shared_memory" not in _imported_by("Crew().enrol()")


def _imported_by(statement: str) -> set[str]:
    code = f"from bench.runs.crew import Crew; {statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_members_that_end_before_their_time_interrupt_the_leader() -> None:

    def lead() -> None:
        with Crew(3) as crew:
            crew.enrol()
            crew._started[0].process.kill()
            time.sleep(60)  # whatever the leader is doing

    with pytest.raises(WorkerLost, match="worker 2 of 3 is gone") as caught:
        lead()
    assert "killed by SIGKILL" in str(caught.value)


def test_a_member_that_fails_says_why() -> None:
    """An order that begins nothing is more than it can take."""

    def lead() -> None:
        with Crew(2) as crew:
            team = crew.enrol()
            team.share(["round", 1])
            team.gather(None)

    with pytest.raises(WorkerLost) as caught:
        lead()
    assert "exit code 1" in str(caught.value)
    assert "the order 'round' before any scenario" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (None, b"", "it no longer answers"),
        (-9, b"", "it was killed by SIGKILL"),
        (1, b"", "exit code 1"),
        (1, b"Traceback\nNo space\n", "exit code 1\nTraceback\nNo space"),
    ],
)
def test_an_end_in_words(code: int | None, said: bytes, words: str) -> None:
    process: Any = None
    assert _ending(code, _Started(process, io.BytesIO(said))) == words


@pytest.mark.parametrize(
    ("said", "brief"),
    [
        (
            "[/a/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:8116: Connection reset by "
            "peer. This is typically caused by a remote worker hanging or bugs.",
            "Read error [127.0.0.1]:8116: Connection reset by peer",
        ),
        ("Connection closed\nby someone", "Connection closed"),
        ("", "RuntimeError"),
    ],
)
def test_a_library_s_words_are_cut_to_what_it_found(said: str, brief: str) -> None:
    assert _in_brief(RuntimeError(said)) == brief


@pytest.mark.parametrize("length", [0, 1, FIRST_BYTES - 8, FIRST_BYTES - 7, 3 * FIRST_BYTES])
@pytest.mark.parametrize("longest", [0, FIRST_BYTES - 7, 3 * FIRST_BYTES])
def test_a_message_of_any_length_arrives_beside_a_longer_one(length: int, longest: int) -> None:
    data = os.urandom(length)
    first, rest = _framed(data), _tail(data, max(length, longest))
    assert len(first) == FIRST_BYTES
    assert len(rest) == max(0, max(length, longest) - (FIRST_BYTES - 8))
    assert _text(first, rest, _length(first)) == data


def test_workers_and_a_gpu_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(
        "bench.training.device.resolve_device", lambda asked: torch.device("cuda", 0)
    )
    with pytest.raises(UsageError, match="share the cores of a CPU, not a GPU") as caught:
        Hardware.open("auto", place=Place(processes=2), team=2)
    assert "torchrun --nproc-per-node N -m bench run" in str(caught.value)
    with pytest.raises(UsageError, match="every process takes a GPU of its own"):
        Hardware.open("cuda:1", place=Place(number=1, processes=2, torchrun=True), team=2)


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.training import device

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(device.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "_capabilities", dict)
    monkeypatch.setattr("bench.environment.quota", lambda: None)
    assert [device.choose_threads(n) for n in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device.choose_threads(4) == 3
