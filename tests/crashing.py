"""Runs ``bench`` in children of one warm process, each killed at a chosen touch of its results.

A touch is whatever Python is about to do to a path: open, rename, remove, make a folder. What is on
the disk before the n-th touch, for every n, is each state that a kill can leave there, bar those
within one write. Used as ``python -m tests.crashing``, with a JSON object on standard input.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
FINAL = ("weights.safetensors", "scores-*.npz")


def digests(results: Path) -> dict[str, str]:
    """SHA-256 of every final file, by its path in the results folder."""
    return {
        str(file.relative_to(results)): hashlib.sha256(file.read_bytes()).hexdigest()
        for pattern in FINAL
        for file in sorted(results.rglob(pattern))
    }


def unfinished(results: Path) -> list[str]:
    """Files that a finished run has no use for."""
    patterns = ("state.safetensors", "clients", ".*.tmp", "*.tmp", "traceback.txt")
    return [str(file.relative_to(results)) for p in patterns for file in results.rglob(p)]


def dying_after(number: int) -> str:
    """Statements after which a run of this process is gone, with code 9, as soon as round
    ``number`` is in its record; every round before it has a checkpoint."""
    return (
        "import os, bench.runs.pace; bench.runs.pace.CHECKPOINT_SECONDS = 0.0\n"
        "from bench.results.rounds import RoundLog\n"
        "append = RoundLog.append\n"
        "def dying(log, record):\n"
        "    append(log, record)\n"
        f"    if record['round'] == {number}: os._exit(9)\n"
        "RoundLog.append = dying"
    )


class Camera:
    """Copies of a folder as it was before each touch, equal ones once."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self._folder, self._copies = folder, copies
        self._known: set[str] = set()

    def __call__(self, touch: int) -> None:
        if not self._folder.exists():
            return
        files = sorted(self._folder.rglob("*"))
        state = hashlib.sha256()
        for file in files:
            state.update(f"{file}\n".encode())
            state.update(hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b"")
        if state.hexdigest() not in self._known:
            self._known.add(state.hexdigest())
            shutil.copytree(self._folder, self._copies / str(touch))


def _child(
    arguments: Sequence[str],
    watched: str,
    limit: int | None,
    count: int,
    camera: Camera | None,
) -> None:
    """Runs the command and never returns; ``count`` is the descriptor the touches go to."""
    seen = 0
    busy = False

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal seen, busy
        if event in EVENTS and isinstance(details[0], (str, os.PathLike)) and not busy:
            if not os.fspath(details[0]).startswith(watched):
                return
            if seen == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            if camera is not None:
                busy = True
                try:
                    camera(seen)
                finally:
                    busy = False
            seen += 1

    code = 70
    sys.addaudithook(hook)
    try:
        from bench.cli import main

        sys.argv = ["bench", *arguments]
        main()
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 0
    finally:
        os.write(count, str(seen).encode())
        os._exit(code)


def attempt(
    arguments: Sequence[str],
    watched: Path,
    limit: int | None = None,
    *,
    camera: Camera | None = None,
    seconds: float | None = None,
) -> tuple[int, int | None]:
    """The exit status (-9 where killed) and, where it ended by itself, the number of touches.

    It is killed before touch ``limit``, or after ``seconds``.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with Path("output.txt").open("ab", buffering=0) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        _child(arguments, str(watched), limit, writing, camera)
    os.close(writing)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as stream:
        touches = stream.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(touches) if touches else None


def main() -> None:
    """Reads {suite, data, how, seed, draw}; writes one JSON object of what came of it.

    ``how`` is {everywhere: true}: what a kill before each touch would leave, taken from one run;
    {touches: n}: killed before one of n that ``seed`` draws; or {moments: n, kills: k}: n times
    over, killed k times after a while that ``seed`` draws. Each is carried on from. Figures are
    most of the touches and most of the time; ``draw`` false leaves them out.
    """
    asked = json.load(sys.stdin)
    import matplotlib.figure  # noqa: F401 - warm, like the next

    import bench.report.roc
    import bench.runs.pace
    import bench.runs.worker

    bench.runs.pace.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every round
    if not asked["draw"]:
        bench.report.roc.draw_run = lambda *_, **__: []
    results, copies = Path("results").resolve(), Path("copies")
    copies.mkdir()
    arguments = ["run", asked["suite"], "--data", asked["data"], "--results", str(results), "-q"]
    how, rng = asked["how"], random.Random(asked["seed"])
    began = time.monotonic()
    camera = Camera(results, copies) if "everywhere" in how else None
    code, touches = attempt(arguments, results, camera=camera)
    longest = time.monotonic() - began
    expected = digests(results)
    assert touches is not None

    def killed_before(touch: int) -> bool:
        return attempt(arguments, results, touch)[0] == -signal.SIGKILL

    def as_copied(copy: Path) -> bool:
        return bool(shutil.copytree(copy, results))

    def killed_after(shares: Sequence[float]) -> bool:
        ends = [attempt(arguments, results, seconds=share * longest)[0] for share in shares]
        return -signal.SIGKILL in ends

    trials: list[Callable[[], bool]] = [partial(as_copied, copy) for copy in copies.iterdir()]
    drawn = sorted(rng.sample(range(touches), how.get("touches", 0)))
    trials += [partial(killed_before, touch) for touch in drawn]
    for _ in range(how.get("moments", 0)):
        shares = [rng.uniform(0.0, 0.9) for _ in range(how["kills"])]
        trials.append(partial(killed_after, shares))
    wrong = []
    for trial in trials:
        shutil.rmtree(results)
        killed = trial()
        again, _ = attempt(arguments, results)
        same, litter = digests(results) == expected, unfinished(results)
        if (killed, again, same, litter) != (True, 0, True, []):
            found = {"killed": killed, "again": again, "same": same, "litter": litter}
            wrong.append({"trial": str(trial), **found})
    report = {"code": code, "touches": touches, "digests": expected, "trials": len(trials)}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({**report, "wrong": wrong}))


if __name__ == "__main__":
    main()
