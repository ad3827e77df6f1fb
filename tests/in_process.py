"""``bench`` called in this process: for commands that train nothing, hundreds of times as cheap."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Ended:
    """Runs the command line; an exception that is not an exit is the test's failure."""
    before = sys.argv
    sys.argv = ["bench", *map(str, arguments)]
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    return Ended(code=code, out=out, err=err)


def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no ROC curves, which takes longer than to train the models of these tests."""
    monkeypatch.setattr("bench.report.roc.draw_run", lambda *_, **__: [])
