"""Processes of this package that help another one: questions and answers, a line of JSON each.

They are plain processes and not ``multiprocessing``'s, which would import the caller's main module
(and with it torch) into each. A helper ends when its input does, as when the process that started
it is gone; Ctrl-C is for that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def start(module: str, *, inherit: Sequence[int] = ()) -> subprocess.Popen[str]:
    """``python -m module``, a module of this package which calls :func:`answer`; ``inherit`` are
    descriptors that it keeps open."""
    package = str(Path(__file__).resolve().parents[1])
    found = os.environ.get("PYTHONPATH")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=tuple(inherit),
        process_group=0,
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{found}" if found else package},
    )


def ask(process: subprocess.Popen[str], question: object) -> dict[str, Any] | None:
    """The helper's answer; None where it is gone, or went while it wrote."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(json.dumps(question), file=process.stdin, flush=True)
    except BrokenPipeError:
        return None
    line = process.stdout.readline()
    return dict(json.loads(line)) if line.endswith("\n") else None


def answer(reply: Callable[[Any], dict[str, Any]]) -> None:
    """The helper's side: replies to every question, until there are no more.

    Where ``reply`` raises OSError the answer is its arguments, as ``error``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        try:
            told = reply(json.loads(line))
        except OSError as error:
            told = {"error": [error.errno, error.strerror, error.filename]}
        print(json.dumps(told), flush=True)


def end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Ends helpers at once, whatever they are at."""
    for process in processes:
        process.kill()
        process.wait()
