"""The figure by which runs are set side by side in one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.observations import COMPETITION

Block = Mapping[str, Any]
"""A split's block of a run's metrics, or its ``personal`` part."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The mean over the competition tasks, or one observation's AUROC where no run has a mean."""

    observation: str | None = None
    """None: the mean."""

    @property
    def title(self) -> str:
        """How a column of it is headed."""
        return "Mean AUROC" if self.observation is None else f"AUROC, {self.observation}"

    def auroc(self, block: Block) -> float | None:
        """None where it is undefined."""
        return block["mean_auroc"] if self.observation is None else self._entry(block).get("auroc")

    def interval(self, block: Block) -> list[float] | None:
        """(low, high) of its 95 % interval."""
        return block["mean_ci"] if self.observation is None else self._entry(block).get("ci")

    def best_member(self, block: Block) -> tuple[str, float] | None:
        """The member with the largest AUROC, and that AUROC; None where there are no members.

        Chosen by the very score that is shown, so it flatters: an upper bound on what picking a
        client's model by other means would have reached.
        """
        scored = {
            name: member["mean_auroc"]
            if self.observation is None
            else member["auroc"].get(self.observation)
            for name, member in block.get("by_member", {}).items()
        }
        known = {name: auroc for name, auroc in scored.items() if auroc is not None}
        return max(known.items(), key=lambda pair: pair[1]) if known else None

    def _entry(self, block: Block) -> Mapping[str, Any]:
        entry: Mapping[str, Any] = block["observations"].get(self.observation, {})
        return entry


def headline_of(blocks: Sequence[Block]) -> Headline:
    """The mean where any block has one, else the first observation that any has an AUROC for."""
    if any(block["mean_auroc"] is not None for block in blocks):
        return Headline()
    for block in blocks:
        for name, entry in block["observations"].items():
            if name not in COMPETITION and entry["auroc"] is not None:
                return Headline(name)
    return Headline()
