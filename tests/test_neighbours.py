"""What other programs leave of the cores: by hand from two looks at /proc/stat, and for real."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.runs import neighbours
from bench.runs.neighbours import Neighbours

HERTZ = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Four cores whose times, and whose clock, a test sets; in seconds."""
    state = SimpleNamespace(clock=100.0, user=50.0, own=5.0, steal=1.0, cores=4)
    stat = tmp_path / "stat"

    def write() -> None:
        fields = [state.user, 2, 3, 1000, 40, 0, 1, state.steal, 7, 0]
        line = " ".join(str(int(seconds * HERTZ)) for seconds in fields)
        stat.write_text(f"cpu  {line}\ncpu0 1 2 3 4 5 6 7 8 9 0\n")

    def moment() -> float:
        write()
        return state.clock

    def times() -> SimpleNamespace:
        parts = {"system": 1.0, "children_user": 2.0, "children_system": 0.5}
        return SimpleNamespace(user=state.own, **parts)

    write()
    monkeypatch.setattr(neighbours, "STAT", stat)
    monkeypatch.setattr(neighbours.time, "monotonic", lambda: state.clock)
    monkeypatch.setattr(neighbours.os, "times", times)
    monkeypatch.setattr(neighbours.os, "cpu_count", lambda: state.cores)
    state.write = write
    return state


def passing(machine: SimpleNamespace, seconds: float, *, others: float, own: float) -> None:
    """Time in which other programs and this one keep so many cores busy."""
    machine.clock += seconds
    machine.user += seconds * (0.75 * others + own)
    machine.steal += seconds * 0.25 * others
    machine.own += seconds * own
    machine.write()


@pytest.mark.parametrize(
    ("others", "threads", "fewer"),
    [(0.0, 4, None), (0.5, 4, None), (1.0, 4, 3), (1.0, 3, None), (3.9, 2, 1), (4.0, 1, None)],
)
def test_threads_that_find_no_core_are_warned_of(
    machine: SimpleNamespace, others: float, threads: int, fewer: int | None
) -> None:
    watch = Neighbours()
    passing(machine, 4.0, others=others, own=1.5)
    assert watch.busy() == pytest.approx(others, abs=0.02)
    said = watch.warning(threads)
    if fewer is None:
        assert said is None
    else:
        assert said is not None
        assert f"keep {others:.1f} of 4 cores busy" in said
        assert f"--threads {fewer} " in said


def test_nothing_is_said_of_too_short_a_time_or_where_nothing_is_seen(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watch = Neighbours()
    passing(machine, 0.4, others=4.0, own=0.0)
    assert watch.busy() is None
    assert watch.warning(4) is None
    passing(machine, 4.0, others=4.0, own=0.0)
    assert watch.warning(4) is not None
    monkeypatch.setattr(neighbours, "STAT", tmp_path / "nowhere")
    assert watch.busy() is None
    assert Neighbours().warning(4) is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc/stat")
def test_a_program_that_computes_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        watch = Neighbours()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        busy = watch.busy()
        other.kill()
    assert busy is not None
    assert busy > 0.4
