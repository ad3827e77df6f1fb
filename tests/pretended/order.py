"""Who waits for whom, and whether two that do not touch the same memory (vector clocks)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

Clock = dict[str, int]
"""By actor, how many of its steps are known to be done."""
Place = tuple[int, int, int]
"""Of memory: the storage, its first byte that is touched and the one after the last."""
Touch = tuple[Place, str, int]
"""A place, the actor, and the number of the actor's step."""
HOST = "the host"


class Race(AssertionError):
    """Two actors touch the same memory, one of them writes, and neither waits for the other."""


class Actor:
    """The host or a stream: steps in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.knows: Clock = {}

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.knows.get(self.name, 0)

    def learn(self, clock: Clock) -> None:
        """What is known there is known here."""
        for name, step in clock.items():
            self.knows[name] = max(step, self.knows.get(name, 0))

    def knows_all_of(self, clock: Clock) -> bool:
        """Whether nothing is known there that is not known here."""
        return all(self.knows.get(name, 0) >= step for name, step in clock.items())


class Memory:
    """The last that touched each place."""

    def __init__(self) -> None:
        self._written: dict[int, list[Touch]] = {}
        self._read: dict[int, list[Touch]] = {}

    def touch(self, actor: Actor, reads: Iterable[Place], writes: Iterable[Place]) -> None:
        """The actor's next step. Raises Race where it does not wait for what it had to."""
        actor.knows[actor.name] = actor.steps + 1
        reads, writes = {*reads}, {*writes}
        for one in reads | writes:
            self._refuse(actor, one, self._written, "is writing")
        for one in writes:
            self._refuse(actor, one, self._read, "is reading")
        for table, places in ((self._written, writes), (self._read, reads)):
            for one in places:
                known = table.get(one[0], ())
                kept = [t for t in known if not actor.knows_all_of({t[1]: t[2]})]
                table[one[0]] = [*kept, (one, actor.name, actor.steps)]

    def _refuse(self, actor: Actor, one: Place, table: dict[int, list[Touch]], what: str) -> None:
        for other, name, step in table.get(one[0], ()):
            if not actor.knows_all_of({name: step}) and one[1] < other[2] and other[1] < one[2]:
                raise Race(f"{actor.name} touches what {name} {what}")

    def forget(self, storage: int) -> None:
        """The storage is no more."""
        self._written.pop(storage, None)
        self._read.pop(storage, None)


def storage(tensor: Tensor) -> int:
    """A name for the memory that the tensor is a view of."""
    return tensor.untyped_storage()._cdata


def place(tensor: Tensor) -> Place:
    """The memory that the tensor's elements lie in, and what is between them."""
    size, first = tensor.element_size(), tensor.storage_offset()
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = first + 1 + sum((n - 1) * stride for n, stride in steps) if tensor.numel() else first
    return storage(tensor), first * size, last * size
