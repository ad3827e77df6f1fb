"""Runs ``bench`` in children of one warm process, each killed at a chosen touch of its results.

A touch is whatever Python is about to do to a path: open, rename, remove, make a folder. Killing
before the n-th touch, for every n, visits each state that a kill can leave on the disk, bar those
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
from collections.abc import Sequence
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


def _child(arguments: Sequence[str], watched: str, limit: int | None, count: int) -> None:
    """Runs the command and never returns; ``count`` is the descriptor the touches go to."""
    seen = 0

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS and isinstance(details[0], (str, os.PathLike)):
            if not os.fspath(details[0]).startswith(watched):
                return
            if seen == limit:
                os.kill(os.getpid(), signal.SIGKILL)
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


def attempt(arguments: Sequence[str], watched: Path, limit: int | None) -> tuple[int, int | None]:
    """The exit status (-9 where killed) and, where it ended by itself, the number of touches."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with Path("output.txt").open("ab", buffering=0) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        _child(arguments, str(watched), limit, writing)
    os.close(writing)
    with os.fdopen(reading) as stream:
        touches = stream.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(touches) if touches else None


def main() -> None:
    """Reads {suite, data, points, seed, draw}; writes one JSON object of what came of it.

    ``points`` is how many touches to be killed at, drawn by ``seed``; null is every one. Figures
    are most of the touches and most of the time; ``draw`` false leaves them out.
    """
    asked = json.load(sys.stdin)
    import matplotlib.figure  # noqa: F401 - warm, like the next
    import timm  # noqa: F401

    import bench.report.roc
    import bench.runs.pace
    import bench.runs.worker

    bench.runs.pace.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every round
    if not asked["draw"]:
        bench.report.roc.draw_run = lambda *_, **__: []
    results = Path("results").resolve()
    arguments = ["run", asked["suite"], "--data", asked["data"], "--results", str(results), "-q"]
    code, touches = attempt(arguments, results, None)
    expected = digests(results)
    report: dict[str, Any] = {"code": code, "touches": touches, "files": len(expected)}
    assert touches is not None
    rng = random.Random(asked["seed"])
    wanted = asked["points"]
    points = range(touches) if wanted is None else sorted(rng.sample(range(touches), wanted))
    report["wrong"] = []
    for point in points:
        shutil.rmtree(results)
        killed, _ = attempt(arguments, results, point)
        again, _ = attempt(arguments, results, None)
        found = {
            "point": point,
            "killed": killed,
            "again": again,
            "same": digests(results) == expected,
            "litter": unfinished(results),
        }
        if (killed, again, found["same"], found["litter"]) != (-9, 0, True, []):
            report["wrong"].append(found)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(report))


if __name__ == "__main__":
    main()
