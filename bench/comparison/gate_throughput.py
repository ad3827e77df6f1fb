"""The throughput gate: a slowdown beyond the tolerance that a rank-sum test confirms.

The samples are the rounds' training speeds. Where both sides timed the yardstick (a fixed
convolution workload, beside the training), each round's speed is divided by it: a rented machine
differs from the next, and the same machine differs from itself while a neighbour is busy. Without
yardsticks, speeds are compared only on the same machine. On the same machine with yardsticks, a
regression must show in the plain speeds as well: the yardstick is a short sample, and on a shared
machine it swings more than the rounds beside it. A yardstick is blind to what slows the
convolutions themselves, such as another version of torch; the plain speeds are shown for that.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import Any

from bench.comparison.gate_bits import machine_differences
from bench.comparison.verdicts import (
    CANNOT_TELL,
    INCONCLUSIVE,
    PASS,
    REGRESSION,
    Finding,
    p_text,
)
from bench.errors import ResultsError
from bench.results.run import Run
from bench.scoring.ranksum import lower_p
from bench.suites.gates import ThroughputGate

GATE = "throughput"
YARDSTICK, RAW = "yardstick", "images/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What is compared: one value a round, on both sides."""

    basis: str
    """``yardstick``: speeds as multiples of it; or ``images/s``."""
    reference: tuple[float, ...]
    now: tuple[float, ...]
    plain: Samples | None = None
    """With yardsticks and on the same machine: the speeds as they are."""
    medians: tuple[float, float] | None = None
    """With yardsticks: the median speeds of all rounds, images/s, reference first."""


def throughput_gate(run: Run, reference: Run, gate: ThroughputGate) -> Finding:
    """Compares the speeds of two runs of one scenario."""
    threshold = f"drop > {100 * gate.tolerance:g} % and p < {gate.alpha:g}"
    try:
        chosen = choose_samples(run, reference, gate.minimum_samples)
    except ResultsError as error:
        chosen = error.what
    if isinstance(chosen, str):
        return Finding(
            run=run.name, gate=GATE, threshold=threshold, verdict=CANNOT_TELL, reason=chosen
        )
    change, p = _measure(chosen)
    verdict, reason = judge(change, p, gate)
    if verdict == REGRESSION and chosen.plain is not None:
        plain, words = judge(*_measure(chosen.plain), gate)
        if plain != REGRESSION:
            verdict = INCONCLUSIVE
            reason += f" by the yardstick, but the plain speeds on this same machine are {words}"
    unit = "× yardstick" if chosen.basis == YARDSTICK else "images/s"
    before, now = (statistics.median(side) for side in (chosen.reference, chosen.now))
    return Finding(
        run=run.name,
        gate=GATE,
        measured=f"{_three_digits(before)} → {_three_digits(now)} {unit}",
        threshold=threshold,
        verdict=verdict,
        reason="; ".join([reason, *_remarks(run, reference, chosen)]),
        figures=_figures(chosen, before, now, change, p, gate),
    )


def _measure(samples: Samples) -> tuple[float, float]:
    """The median's relative change, and the one-sided p of being slower."""
    change = relative_change(samples.reference, samples.now)
    return change, lower_p(samples.now, samples.reference)


def judge(change: float, p: float, gate: ThroughputGate) -> tuple[str, str]:
    """The verdict on a relative change of the median, and why; ``p`` is one-sided for slower."""
    moved = f"{'slower' if change < 0 else 'faster'} by {abs(100 * change):.1f} %"
    if change == 0.0:
        moved = "as fast"
    if -change > gate.tolerance:
        if p < gate.alpha:
            return REGRESSION, f"{moved}, {p_text(p)}"
        return INCONCLUSIVE, f"{moved}, which may be chance: {p_text(p)}"
    if change < 0.0 and p < gate.alpha:
        return PASS, f"{moved}, significantly ({p_text(p)}) but within the tolerance"
    return PASS, f"{moved}, {p_text(p)}"


def relative_change(reference: tuple[float, ...], now: tuple[float, ...]) -> float:
    """The median's change as a share of the reference's; below zero is slower."""
    return statistics.median(now) / statistics.median(reference) - 1.0


def choose_samples(run: Run, reference: Run, minimum: int) -> Samples | str:
    """The samples to compare, or why there are none.

    The first round of a run pays for what happens once (memory, kernels' preparation) and is left
    out where ``minimum`` rounds remain on both sides; else it counts on both.
    """
    for key, unrecorded in (("device", None), ("precision", None), ("workers", 1)):
        before, now = (r.environment.get(key, unrecorded) for r in (reference, run))
        if before != now:
            return f"other {key} ({before}, now {now}): the speeds have nothing in common"
    elsewhere = machine_differences(run, reference)
    sides = reference.rounds(), run.rounds()
    ratios = [[_ratio(record) for record in rounds] for rounds in sides]
    speeds = [[_speed(record) for record in rounds] for rounds in sides]
    counts = [sum(v is not None for v in side) for side in ratios]
    if min(counts) >= minimum:
        plain = None if elsewhere else _samples(RAW, speeds, minimum)
        medians = [statistics.median(v for v in side if v is not None) for side in speeds]
        return replace(
            _samples(YARDSTICK, ratios, minimum), plain=plain, medians=(medians[0], medians[1])
        )
    if elsewhere:
        return (
            f"{'; '.join(elsewhere)}, and too few rounds timed the yardstick: "
            f"{counts[0]} in the reference, {counts[1]} now, {minimum} needed"
        )
    counts = [sum(v is not None for v in side) for side in speeds]
    if min(counts) >= minimum:
        return _samples(RAW, speeds, minimum)
    return f"too few rounds: {counts[0]} in the reference, {counts[1]} now, {minimum} needed"


def _samples(basis: str, sides: list[list[float | None]], minimum: int) -> Samples:
    later = [[value for value in side[1:] if value is not None] for side in sides]
    if min(map(len, later)) < minimum:
        later = [[value for value in side if value is not None] for side in sides]
    return Samples(basis=basis, reference=tuple(later[0]), now=tuple(later[1]))


def _speed(record: dict[str, Any]) -> float | None:
    value = record.get("images_per_second")
    return float(value) if value and math.isfinite(value) and value > 0 else None


def _ratio(record: dict[str, Any]) -> float | None:
    speed, yardstick = _speed(record), record.get("yardstick")
    if speed is None or not yardstick or not math.isfinite(yardstick) or yardstick <= 0:
        return None
    return speed / yardstick


def _remarks(run: Run, reference: Run, chosen: Samples) -> list[str]:
    """What must be known beside the verdict."""
    remarks = []
    if chosen.medians is not None:
        before, now = chosen.medians
        remarks.append(f"{_three_digits(before)} → {_three_digits(now)} images/s")
        if machine_differences(run, reference):
            remarks.append("on another machine, so through the yardstick alone")
    versions = [(side.environment.get("versions") or {}).get("torch") for side in (reference, run)]
    if versions[0] != versions[1]:
        remarks.append(f"other torch ({versions[0]}, now {versions[1]})")
    return remarks


def _figures(
    chosen: Samples, before: float, now: float, change: float, p: float, gate: ThroughputGate
) -> dict[str, Any]:
    return {
        "basis": chosen.basis,
        "reference": before,
        "now": now,
        "change": change,
        "p": p,
        "tolerance": gate.tolerance,
        "alpha": gate.alpha,
        "samples": [len(chosen.reference), len(chosen.now)],
    }


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
