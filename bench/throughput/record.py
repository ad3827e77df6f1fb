"""A session as it is kept: one JSON object, a line of the machine's history.

``{"schema": 1, "date", "git", "machine", "versions", "device", "threads", "load", "settings",
"ceilings", "rows", "recommended"}``. A row's keys are those of :meth:`Row.record`; speeds are
images/s, counts are per image, shares are of the roofline. Sessions are only ever appended.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environment import git_state
from bench.errors import ResultsError, UsageError, Where

if TYPE_CHECKING:
    from bench.throughput.ceilings import Ceilings
    from bench.throughput.request import Request

SCHEMA = 1
FOLDER = Path("results") / "measured" / "throughput"
"""Where histories are kept, from the working folder; results/measured is under version control."""
RECOMMENDED = (
    "backbone",
    "image_size",
    "batch",
    "precision",
    "step",
    "training_images_per_second",
    "one_thread_images_per_second",
)
"""The keys of a row that a recommendation repeats."""
NEAR = 0.03
"""A smaller batch within this share of the fastest is recommended: the batch is part of an
experiment, and differences below it are noise."""


def session_record(
    *,
    machine: Mapping[str, Any],
    versions: Mapping[str, Any],
    device: str,
    threads: int,
    load: float | None,
    request: Request,
    ceilings: Ceilings,
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The session's object. ``load`` is the load average that it started under."""
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "machine": dict(machine),
        "versions": dict(versions),
        "device": device,
        "threads": threads,
        "load": None if load is None else round(load, 2),
        "settings": {"seconds": request.seconds, "clients": request.clients},
        "ceilings": {
            "flops_per_second": {k: float(f"{v:.5g}") for k, v in ceilings.flops.items()},
            "bytes_per_second": float(f"{ceilings.bytes:.5g}"),
        },
        "rows": [dict(row) for row in rows],
        "recommended": recommended(rows),
    }


def recommended(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each backbone and image size, the setting to train with.

    Precision and step are the fastest row's; the batch is the smallest of those whose images/s are
    within ``NEAR`` of it. Nothing where no row was measured.
    """
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["training_images_per_second"] is not None:
            groups.setdefault((row["backbone"], row["image_size"]), []).append(row)
    chosen = []
    for group in groups.values():
        fastest = max(group, key=_speed)
        near = [
            row
            for row in group
            if all(row[key] == fastest[key] for key in ("precision", "step"))
            and _speed(row) >= (1 - NEAR) * _speed(fastest)
        ]
        best = min(near, key=lambda row: row["batch"])
        chosen.append({key: best[key] for key in RECOMMENDED})
    return chosen


def _speed(row: Mapping[str, Any]) -> float:
    return float(row["training_images_per_second"])


def machine_slug(machine: Mapping[str, Any]) -> str:
    """A file name for the machine: its GPU, or its processor and cores."""
    name = machine["gpu"]
    if name is None:
        name = f"{machine['processor'].partition(',')[0]} {machine['cores']} cores"
    name = re.sub(r"\((r|tm)\)|@.*?hz", " ", str(name).lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "machine"


def history_file(machine: Mapping[str, Any]) -> Path:
    """The machine's own history, from the working folder."""
    return FOLDER / f"{machine_slug(machine)}.jsonl"


def check_history(path: Path) -> None:
    """Raises before anything is measured what :func:`append` would raise after: UsageError where
    the file cannot be written, ResultsError where it holds something else."""
    if path.is_dir():
        raise UsageError("--history names a folder", where=path, mend="name a file inside it")
    if path.exists():
        load_history(path)
    nearest = next(p for p in [path, *path.absolute().parents] if p.exists())
    if not os.access(nearest, os.W_OK) or (nearest != path and not nearest.is_dir()):
        raise UsageError("--history cannot be written", where=path, found=f"{nearest} is read-only")


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line, in one write; a line that a killed process left torn is ended first."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream:
            if stream.seek(0, os.SEEK_END):
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    line = "\n" + line
            stream.write(line.encode())
    except OSError as error:
        raise UsageError(
            "--history cannot be written", where=path, found=error.strerror or str(error)
        ) from error


def load_history(path: Path) -> list[dict[str, Any]]:
    """Every session in the file, oldest first.

    Raises ResultsError, with the line, for what is no session of this schema.
    """
    sessions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            session = json.loads(line, parse_constant=_refuse)
        except ValueError as error:
            raise _wrong(path, number, str(error)) from error
        if not isinstance(session, dict) or session.get("schema") != SCHEMA:
            raise _wrong(path, number, "no session of schema 1")
        sessions.append(session)
    return sessions


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _wrong(path: Path, line: int, found: str) -> ResultsError:
    return ResultsError(
        "this line is no session of bench throughput",
        where=Where(path, line),
        found=found,
        mend="remove the line, or give --history another file",
    )


def is_busy(load: float | None, threads: int) -> bool:
    """Whether others were using the machine when the session started."""
    return load is not None and math.isfinite(load) and load > 0.25 * threads
