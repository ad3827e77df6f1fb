"""Which tensor lies where in a flat vector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One tensor's place: elements ``start`` to ``start + size`` of the vector."""

    name: str
    """As in the module's state dict."""
    shape: tuple[int, ...]
    """As the module sees it; (out, in, height, width) for a convolution's weight."""
    start: int
    size: int

    @property
    def stop(self) -> int:
        """One past the last element."""
        return self.start + self.size

    def view(self, vector: Tensor) -> Tensor:
        """The tensor inside ``vector``: no copy. 4-d tensors are channels-last strided, so that a
        channels-last convolution reads them as they lie."""
        part = vector[self.start : self.stop]
        if len(self.shape) == 4:
            o, i, h, w = self.shape
            return part.view(o, h, w, i).permute(0, 3, 1, 2)
        return part.view(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The slots of a model's three vectors, each in order and without gaps."""

    parameters: tuple[Slot, ...]
    buffers: tuple[Slot, ...]
    counters: tuple[Slot, ...]

    @property
    def groups(self) -> tuple[tuple[Slot, ...], tuple[Slot, ...], tuple[Slot, ...]]:
        """Parameters, buffers, counters."""
        return self.parameters, self.buffers, self.counters

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(P, Q, R): the elements of each vector."""
        p, q, r = (sum(slot.size for slot in slots) for slots in self.groups)
        return p, q, r


def slots_for(tensors: Iterable[tuple[str, Tensor]]) -> tuple[Slot, ...]:
    """Slots for the tensors in the order given, one after the other."""
    slots, start = [], 0
    for name, tensor in tensors:
        slots.append(Slot(name=name, shape=tuple(tensor.shape), start=start, size=tensor.numel()))
        start += tensor.numel()
    return tuple(slots)
