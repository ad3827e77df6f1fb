"""Processes of this package that help another one: questions and answers, a line of JSON each.

``python -m bench.helpers MODULE`` is a helper that answers with the module's function ``reply``.
They are plain processes and not ``multiprocessing``'s, which would import the caller's main module
(and with it torch) into each. A helper ends when its input does, as when the process that started
it is gone; Ctrl-C is for that process.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from bench.memory import keep_freed_memory


class HelperLost(Exception):
    """A helper ended before it answered."""

    def __init__(self, question: int, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.question = question
        """The number of the question that it did not answer."""


def start(module: str, *, inherit: Sequence[int] = ()) -> subprocess.Popen[str]:
    """A helper that answers with ``module.reply``; ``inherit`` are descriptors that it keeps
    open."""
    package = str(Path(__file__).resolve().parents[1])
    found = os.environ.get("PYTHONPATH")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.helpers", module],
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


def answers(
    module: str, questions: Sequence[object], count: int, *, inherit: Sequence[int] = ()
) -> Generator[tuple[int, dict[str, Any]]]:
    """Has ``count`` helpers answer all questions, each taking the next one that is left.

    Yields the number of a question with its answer, in any order. ``inherit`` is as for
    :func:`start`. Raises the OSError that a helper met, and HelperLost.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, dict[str, Any] | Exception]] = queue.SimpleQueue()
    for number in range(len(questions)):
        todo.put(number)

    def feed(process: subprocess.Popen[str]) -> None:
        """One helper's questions; an exception ends it and is passed on."""
        while True:
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                told = ask(process, questions[number])
                if told is None:
                    raise HelperLost(number, process.wait())
                if "error" in told:
                    raise OSError(*told["error"])
            except Exception as error:  # whatever it is: the caller waits for an answer
                done.put((number, error))
                return
            done.put((number, told))

    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(min(count, len(questions))):
            processes.append(start(module, inherit=inherit))
            threading.Thread(target=feed, args=processes[-1:], daemon=True).start()
        for _ in questions:
            number, told = done.get()
            if isinstance(told, Exception):
                raise told
            yield number, told
    finally:
        end(processes)


def end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Ends helpers at once, whatever they are at."""
    for process in processes:
        process.kill()
        process.wait()


def _help(module: str) -> None:
    """The helper's side: replies to every question, until there are no more.

    Where ``reply`` raises OSError the answer is its arguments, as ``error``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    reply: Callable[[Any], dict[str, Any]] = importlib.import_module(module).reply
    for line in sys.stdin:
        try:
            told = reply(json.loads(line))
        except OSError as error:
            told = {"error": [error.errno, error.strerror, error.filename]}
        try:
            print(json.dumps(told), flush=True)
        except BrokenPipeError:
            os._exit(0)  # whoever asked is gone; Python would try to write it once more


if __name__ == "__main__":
    _help(sys.argv[1])
