"""Every error a person can meet, each with the exit code the command ends with.

    BenchError
    ├── UsageError             2   the command line asks for something that does not exist
    ├── FileFormatError        2   a file a person wrote or downloaded is not what it must be
    │   ├── SuiteError             a suite, scenario or override
    │   ├── BaselineError          a published table
    │   ├── DataError              a CheXpert tree, an image, a label file, an idx file
    │   ├── PredictionError        a CSV of predictions, truth or radiologists
    │   └── ResultsError           a results folder
    ├── GateFailed             1   `bench check` measured a regression
    ├── ScenarioFailed         3   a scenario stopped; others may have finished
    │   └── NonFiniteError         NaN or infinity in a loss or a parameter
    ├── WorkerLost             3   a process that shared the work ended before its time
    └── NotComparable          4   nothing could be compared

A message has up to five parts: what is wrong, where it stands, what was expected, what was
found, and how to mend it. Programmer errors stay ``AssertionError`` or ``TypeError``.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; prints as ``file:line:col`` with the parts that are known."""

    file: str | PathLike[str]
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [fspath(self.file)]
        parts += [str(n) for n in (self.line, self.column) if n is not None]
        return ":".join(parts)


class BenchError(Exception):
    """An error with a message for a person; ``exit_code`` is what the process ends with."""

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: Where | str | PathLike[str] | None = None,
        expected: str | None = None,
        found: str | None = None,
        mend: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = expected
        self.found = found
        self.mend = mend
        super().__init__(self.message())

    def message(self) -> str:
        """The whole message, one part a line, the place first."""
        head = self.what if self.where is None else f"{self.where}: {self.what}"
        lines = [head]
        for label, text in (
            ("expected", self.expected),
            ("found", self.found),
            ("to mend", self.mend),
        ):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)

    def clause(self) -> str:
        """What is wrong, and what was found, for a line that says more."""
        return self.what if self.found is None else f"{self.what} ({self.found})"


class UsageError(BenchError):
    """The command line asks for something that does not exist or cannot be combined."""


class FileFormatError(BenchError):
    """A file is not what it must be."""


class SuiteError(FileFormatError):
    """A suite file, a scenario or an override is wrong."""


class BaselineError(FileFormatError):
    """A published table is wrong, or no table has the id asked for."""


class DataError(FileFormatError):
    """A data tree, an image or a label file is wrong."""


class PredictionError(FileFormatError):
    """A file of predictions, of truth or of radiologists' labels is wrong."""


class ResultsError(FileFormatError):
    """A results folder cannot be read, or another process owns it."""


class GateFailed(BenchError):
    """A gate measured a regression."""

    exit_code = 1


class ScenarioFailed(BenchError):
    """A scenario stopped before its end."""

    exit_code = 3


class NonFiniteError(ScenarioFailed):
    """NaN or infinity in a loss or a parameter; names the round, the client and the tensor."""


class WorkerLost(BenchError):
    """One of the processes that share a run ended; the run can be carried on."""

    exit_code = 3


class NotComparable(BenchError):
    """Nothing could be compared; never reads as a pass."""

    exit_code = 4


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str | None:
    """``did you mean 'x'?`` for the nearest known word, or None where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def uneven_row(*, cut: bool) -> str:
    """What mends a CSV row of too many or too few cells; ``cut``: too few, and the last of all."""
    if cut:
        return "the file seems to be cut off: get it again"
    return "correct the row; a cell that holds a comma needs quotes"


def first_line(error: Exception, *, named: bool = False) -> str:
    """What a library's error says first, behind its class where ``named``; the class alone where it
    says nothing."""
    kind, text = type(error).__name__, str(error).strip()
    if not text:
        return kind
    return f"{kind}: {text.splitlines()[0]}" if named else text.splitlines()[0]
