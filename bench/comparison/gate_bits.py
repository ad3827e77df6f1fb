"""The bit-equality gate: where the same bits were promised, any difference fails.

They are promised where scenario, data and ``semantics`` are the same and so are machine,
versions, device, precision and threads, the device being a CPU. The threads are those of a process:
convolutions and matrix products split their sums among them. How many processes shared the work is
no part of it, and neither is the git commit: a change of the source that changes numbers has to
raise ``SEMANTICS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.comparison.verdicts import CANNOT_TELL, NOT_PROMISED, PASS, REGRESSION, Finding
from bench.errors import ResultsError
from bench.results.run import Run, scores_file
from bench.scoring.studies import StudyScores

GATE = "bit-equality"


def bit_gate(run: Run, reference: Run) -> Finding:
    """Scores of every study and the weights, bit for bit, or why nobody promised that."""
    broken = why_not_promised(run, reference)
    if broken:
        return Finding(
            run=run.name,
            gate=GATE,
            verdict=NOT_PROMISED,
            reason="; ".join(broken),
            figures={"promised": False},
        )
    try:
        _check_reference(reference)
        found = _differences(run, reference)
    except ResultsError as error:
        return _promised(run, None, CANNOT_TELL, error.clause())
    if found:
        reason = "bit-equality was promised and is broken: " + "; ".join(found)
        return _promised(run, "different", REGRESSION, reason)
    return _promised(run, "identical", PASS, "same machine, versions, precision and threads")


def _promised(run: Run, measured: str | None, verdict: str, reason: str) -> Finding:
    return Finding(
        run=run.name,
        gate=GATE,
        measured=measured,
        threshold="no difference",
        verdict=verdict,
        reason=reason,
        figures={"promised": True},
    )


def why_not_promised(run: Run, reference: Run) -> list[str]:
    """What forbids to expect the same bits; empty where they are promised."""
    reasons = machine_differences(run, reference)
    now, before = run.environment, reference.environment
    if now.get("device") != "cpu":
        reasons.append(f"the device is {now.get('device')}, not cpu")
    reasons += _changed(before, now, ("device", "precision"))
    reasons += _changed(before.get("versions") or {}, now.get("versions") or {}, None)
    return reasons


def machine_differences(run: Run, reference: Run) -> list[str]:
    """In what the machines differ, threads included; empty where they are the same."""
    machines = [side.environment.get("machine") or {} for side in (reference, run)]
    if not all(machine.get("processor") for machine in machines):
        return ["the machine is not recorded"]
    return _changed(machines[0], machines[1], None) + _changed(
        reference.environment, run.environment, ("threads",)
    )


def _changed(
    before: Mapping[str, Any], now: Mapping[str, Any], keys: tuple[str, ...] | None
) -> list[str]:
    """``other processor (A, now B)`` for every key whose values differ; None means all keys."""
    return [
        f"other {key} ({before.get(key)}, now {now.get(key)})"
        for key in (keys if keys is not None else dict.fromkeys([*before, *now]))
        if before.get(key) != now.get(key)
    ]


def _check_reference(reference: Run) -> None:
    """The reference's scores are those that its ``run.json`` speaks of, else ResultsError."""
    split = reference.judged_split
    recorded = reference.scores_sha256.get(split)
    path = reference.folder / scores_file(split)
    if not path.is_file() or recorded is None:
        raise ResultsError("the reference keeps no scores")
    if hashlib.sha256(path.read_bytes()).hexdigest() != recorded:
        raise ResultsError("the reference's scores are not those its run.json records")


def _differences(run: Run, reference: Run) -> list[str]:
    """Everything that differs, in words; the scores as they are on the disk, not as recorded."""
    found = []
    judged = reference.judged_split
    first = first_difference(reference.scores(judged), run.scores(judged))
    if first is not None:
        found.append(first)
    found += [
        f"the scores of '{split}' differ"
        for split, digest in reference.scores_sha256.items()
        if split != judged and run.scores_sha256.get(split, digest) != digest
    ]
    if reference.weights_sha256 and run.weights_sha256 not in (None, reference.weights_sha256):
        found.append("the weights differ")
    if found and (number := _first_loss(reference, run)) is not None:
        found.append(f"the loss differs from round {number} on")
    return found


def first_difference(before: StudyScores, now: StudyScores) -> str | None:
    """Where the scores first differ in any bit and by how much, or None."""
    for part in ("studies", "observations", "members"):
        if not np.array_equal(getattr(before, part), getattr(now, part)):
            return f"the {part} that were scored differ"
    if before.scores.dtype != now.scores.dtype:
        return f"the scores are {now.scores.dtype}, were {before.scores.dtype}"
    differ = _bits(before) != _bits(now)
    if not differ.any():
        return None
    member, study, column = np.argwhere(differ)[0]
    old, new = (float(side.scores[member, study, column]) for side in (before, now))
    several = f" of {now.members[member]}" if len(now.members) > 1 else ""
    return (
        f"{int(differ.sum()):,} of {differ.size:,} scores differ, the first being "
        f"{now.observations[column]} of {now.studies[study]}{several}, by {new - old:+.2g}"
    )


def _bits(scored: StudyScores) -> np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]:
    """(m, s, o) the scores' bit patterns: a NaN equals itself, and -0 is not 0."""
    scores = np.ascontiguousarray(scored.scores)
    return scores.view(f"u{scores.dtype.itemsize}")


def _first_loss(reference: Run, run: Run) -> int | None:
    """The first round whose training loss is another."""
    for before, now in zip(reference.rounds(), run.rounds(), strict=False):
        if before.get("loss") != now.get("loss"):
            return int(now["round"])
    return None
