"""A run as it lies in the results folder: what was trained, on what, and how it scored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import ResultsError, UsageError, Where
from bench.results.checks import check, judged_split, refuse_constant, wrong
from bench.suites.scenario import Scenario

if TYPE_CHECKING:
    from bench.scoring.studies import StudyScores

SCHEMA = 1
"""Raised when ``run.json`` changes in a way that older readers would misread."""

RUN_FILE = "run.json"
ROUNDS_FILE = "rounds.jsonl"
WEIGHTS_FILE = "weights.safetensors"
STATE_FILE = "state.safetensors"
CLIENTS_FOLDER = "clients"
ROC_FOLDER = "roc"

DEPTHS = ("*/", "*/*/")
"""Where runs lie below a folder that is named: that of a suite, or that of all suites."""
STATUSES = ("running", "interrupted", "failed", "done")


def scores_file(split: str) -> str:
    """The name of the file that keeps a split's scores per study."""
    return f"scores-{split}.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run's record. Mappings are as in ``run.json``; scores and rounds are read on demand."""

    folder: Path
    suite: str
    name: str
    hash: str
    semantics: int
    status: str
    """``running``, ``interrupted``, ``failed`` or ``done``; see :func:`bench.results.ownership`."""
    owner: dict[str, Any]
    scenario: dict[str, Any]
    """The scenario's row, as :meth:`Scenario.row` gives it."""
    origin: dict[str, str]
    """Where each of the scenario's values came from."""
    environment: dict[str, Any]
    git: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    """Per split: level, views, n, members, observations and the mean; empty until scored."""
    totals: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None
    scores_sha256: dict[str, str] = field(default_factory=dict)
    error: dict[str, str] | None = None
    timestamps: dict[str, str] = field(default_factory=dict)
    """``started`` and ``finished``, ISO 8601 in UTC."""

    @property
    def synthetic(self) -> bool:
        """True where the data was generated: everything that shows this run must say so."""
        return bool(self.data.get("synthetic", False))

    @property
    def judged_split(self) -> str:
        """``valid``, or MNIST's ``test``: what the run is judged by where nothing else is asked."""
        return judged_split(self.scenario)

    def as_scenario(self) -> Scenario:
        """The scenario as the object that was run."""
        return Scenario.from_row(self.scenario)

    def scores(self, split: str) -> StudyScores:
        """The scores per study that the run left for that split.

        Raises ResultsError where the file is missing or is not a scores file.
        """
        from bench.scoring.studies import StudyScores

        path = self.folder / scores_file(split)
        if self.has_scores(split):
            return StudyScores.load(path)
        if split in self.metrics:
            raise ResultsError(
                f"the run was scored on '{split}' and its folder does not hold the scores",
                where=path,
                mend="bring the file back, or run the scenario again with --fresh",
            )
        raise ResultsError(
            f"the run has no scores for the split '{split}'",
            where=path,
            found=f"scores for: {', '.join(sorted(self.metrics)) or 'none'}",
            mend="choose one of those splits, or run the scenario again on data that has it",
        )

    def has_scores(self, split: str) -> bool:
        """Whether the folder holds the split's scores per study: a record may outlive them."""
        return (self.folder / scores_file(split)).is_file()

    def rounds(self) -> list[dict[str, Any]]:
        """The finished rounds, in order."""
        from bench.results.rounds import read_rounds

        return read_rounds(self.folder / ROUNDS_FILE)

    def document(self) -> dict[str, Any]:
        """The JSON object of ``run.json``."""
        document = {name: getattr(self, name) for name in self.__slots__ if name != "folder"}
        return {"schema": SCHEMA, **document}

    def write(self) -> None:
        """Replaces ``run.json`` in one step."""
        from bench.atomic import write_json

        write_json(self.folder / RUN_FILE, self.document())


_REQUIRED: dict[str, type] = {
    "suite": str,
    "name": str,
    "hash": str,
    "semantics": int,
    "status": str,
    "owner": dict,
    "scenario": dict,
    "origin": dict,
    "environment": dict,
    "git": dict,
    "data": dict,
    "metrics": dict,
    "totals": dict,
    "scores_sha256": dict,
}


def load_run(folder: Path) -> Run:
    """Reads ``folder/run.json``.

    Keys of a scenario that are younger than the run hold their defaults, under which it was made.

    Raises ResultsError where it is missing, is not JSON, is of a newer schema or lacks a part.
    """
    path = folder / RUN_FILE
    document = _read_json(path)
    schema = document.get("schema")
    if schema != SCHEMA:
        raise ResultsError(
            "the run was written with another schema",
            where=path,
            expected=f"schema {SCHEMA}",
            found=f"schema {schema!r}",
            mend="read it with the version of bench that wrote it, or run the scenario again",
        )
    for key, kind in _REQUIRED.items():
        if not isinstance(document.get(key), kind):
            raise wrong(path, key, kind.__name__, document.get(key))
    if document["status"] not in STATUSES:
        raise ResultsError(
            "the run has an unknown status",
            where=path,
            expected=" or ".join(STATUSES),
            found=repr(document["status"]),
        )
    check(path, document)
    known = {name: document[name] for name in Run.__slots__ if name in document}
    run = Run(folder=folder, **known)
    try:
        scenario = run.as_scenario()
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ResultsError(
            "the scenario in the run cannot be read", where=path, found=str(error)
        ) from error
    return replace(run, scenario=scenario.row())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultsError(
            "there is no run here",
            where=path,
            expected=f"a folder with {RUN_FILE}, as `bench run` leaves it",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError("the file cannot be read", where=path, found=str(error)) from error
    try:
        document = json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise ResultsError(
            f"not JSON: {error.msg}",
            where=Where(path, error.lineno, error.colno),
            mend="run the scenario again with --fresh",
        ) from error
    except ValueError as error:
        raise ResultsError(
            f"not a run: {error}", where=path, mend="run the scenario again with --fresh"
        ) from error
    except RecursionError:
        raise ResultsError("not a run: nested too deeply", where=path) from None
    if not isinstance(document, dict):
        raise ResultsError(
            "not a run", where=path, expected="a JSON object", found=type(document).__name__
        )
    return document


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Every run at or below the given folders, ordered by folder, each once.

    Raises UsageError where a path does not exist and ResultsError where a run cannot be read.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(
                "there is no such run or folder",
                where=path,
                mend="name a folder that `bench run` wrote, such as results/fedavg",
            )
        if path.name == RUN_FILE:
            path = path.parent
        below = [file.parent for depth in DEPTHS for file in sorted(path.glob(depth + RUN_FILE))]
        for folder in [path] if (path / RUN_FILE).is_file() else below:
            folders.setdefault(folder.resolve(), folder)
    return [load_run(folder) for folder in folders.values()]


def some_runs(paths: Sequence[Path]) -> list[Run]:
    """As :func:`find_runs`; raises ResultsError where there is not one run."""
    found = find_runs(paths)
    if not found:
        raise ResultsError(
            "there is no run here",
            where=", ".join(map(str, paths)),
            expected=f"a folder with {RUN_FILE}, or folders with it below",
            mend="name a folder that `bench run` wrote, such as results/fedavg",
        )
    return found
