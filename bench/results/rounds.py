"""The append-only log of rounds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.errors import ResultsError, Where
from bench.results.checks import flaw_of_round, refuse_constant


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the log; a torn last line, left by a kill, is not one of them.

    Raises ResultsError where a line before the last is not the record of a round.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rounds: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line, parse_constant=refuse_constant)
        except ValueError:
            record = None
        if flaw := flaw_of_round(record):
            raise ResultsError(
                "the line is not a round",
                where=Where(path, number),
                expected=flaw,
                found=line.decode(errors="replace")[:60],
                mend="run the scenario again with --fresh",
            )
        rounds.append(record)
    return rounds


class RoundLog:
    """Appends rounds. A line survives the process from :meth:`append` on, a power cut from
    :meth:`sync` on, which the runner calls before each checkpoint."""

    def __init__(self, path: Path, *, keep: int) -> None:
        """Opens the log and cuts it behind round ``keep``, torn tail included.

        Raises ResultsError where fewer than ``keep`` whole rounds are there: the checkpoint and
        the log do not belong together.
        """
        whole = read_rounds(path) if keep else []
        if len(whole) < keep:
            raise ResultsError(
                "the log ends before the checkpoint",
                where=path,
                expected=f"{keep} rounds",
                found=f"{len(whole)} rounds",
                mend="run the scenario again with --fresh",
            )
        self._file = path.open("rb+" if path.exists() else "wb+")
        for _ in range(keep):
            self._file.readline()
        self._file.truncate(self._file.tell())
        self._file.seek(0, os.SEEK_END)

    def append(self, record: dict[str, Any]) -> None:
        """Writes one round as one line."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Brings every line to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
