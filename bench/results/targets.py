"""Rounds to a target, as McMahan et al. 2017 count them (section 3).

The curve of a figure over rounds is made monotone, each point the best so far, and the target's
round is found by linear interpolation between the evaluated rounds on either side of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Where a run stands towards a target. Not having reached it is a value, not a gap."""

    target: float
    best: float | None
    """The best figure of any round; None where no round was evaluated."""
    rounds: float | None
    """Interpolated; None where the target was not reached. The first evaluated round where that
    already reached it: nothing is known of the model before."""
    bytes: float | None
    """Up and down together, interpolated over the same two rounds."""
    rounds_run: int

    def record(self, headline: str) -> dict[str, Any]:
        """What run.json keeps under ``target``."""
        return {
            "figure": headline,
            "target": self.target,
            "reached": self.rounds is not None,
            "rounds": self.rounds,
            "bytes": self.bytes,
            "best": self.best,
            "rounds_run": self.rounds_run,
        }


def rounds_to_target(rounds: Sequence[Mapping[str, Any]], headline: str, target: float) -> Reached:
    """What the lines of ``rounds.jsonl`` say of a target for the figure ``headline``.

    Rounds whose figure is missing or undefined are passed over, as if not evaluated.
    """
    sent = 0
    best: float | None = None
    before: tuple[int, float, int] | None = None
    """The last evaluated round, the best figure up to it and the bytes up to it."""
    crossing: tuple[float, float] | None = None
    for line in rounds:
        sent += line["bytes_up"] + line["bytes_down"]
        figure = line.get(headline)
        if figure is None:
            continue
        best = figure if best is None else max(best, figure)
        here = (line["round"], best, sent)
        if crossing is None and best >= target:
            crossing = _crossing(before, here, target)
        before = here
    return Reached(
        target=target,
        best=best,
        rounds=None if crossing is None else crossing[0],
        bytes=None if crossing is None else crossing[1],
        rounds_run=rounds[-1]["round"] if rounds else 0,
    )


def _crossing(
    before: tuple[int, float, int] | None, here: tuple[int, float, int], target: float
) -> tuple[float, float]:
    """(round, bytes) at which the line between two points of the curve meets the target."""
    if before is None:
        return float(here[0]), float(here[2])
    share = (target - before[1]) / (here[1] - before[1])
    return before[0] + share * (here[0] - before[0]), before[2] + share * (here[2] - before[2])
