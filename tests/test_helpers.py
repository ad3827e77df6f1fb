"""Processes that help: every question is answered once, and no helper ends without a word."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import Any

import pytest

from bench import helpers

LAST_WORDS = 7


def reply(question: Any) -> dict[str, Any]:
    """What the helpers of these tests do: this module is theirs too."""
    if question == "fail":
        raise OSError(errno.ENOSPC, "no room", "a/file")
    if question == "end":
        os._exit(LAST_WORDS)
    return {"square": question**2, "process": os.getpid()}


def test_every_question_is_answered_once() -> None:
    found = dict(helpers.answers(__name__, range(100), 3))
    assert {number: told["square"] for number, told in found.items()} == {
        number: number**2 for number in range(100)
    }
    assert os.getpid() not in {told["process"] for told in found.values()}


def test_there_are_no_more_helpers_than_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = helpers.start
    monkeypatch.setattr(helpers, "start", lambda *a, **k: started.append(a) or start(*a, **k))
    assert [number for number, _ in helpers.answers(__name__, [5], 4)] == [0]
    assert len(started) == 1
    assert list(helpers.answers(__name__, [], 4)) == []
    assert len(started) == 1


def test_what_the_system_refused_is_raised_here() -> None:
    with pytest.raises(OSError, match="no room") as caught:
        list(helpers.answers(__name__, [1, "fail", 2], 1))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "a/file")


def test_a_lost_helper_is_told_with_its_question() -> None:
    with pytest.raises(helpers.HelperLost, match=f"exit status {LAST_WORDS}") as caught:
        list(helpers.answers(__name__, [1, 2, "end", 3], 1))
    assert caught.value.question == 2


def test_a_helper_whose_asker_is_gone_ends_in_silence() -> None:
    """As where that one was killed: the answer has nowhere to go."""
    line = [sys.executable, "-m", "bench.helpers", __name__]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nowhere:
        done = subprocess.run(
            line, input="3\n", stdout=nowhere, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, "")
