"""One ATen operation on the device that is pretended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from tests.pretended.order import HOST, Actor, Memory, Place, place, storage

DEVICE = torch.device("cuda", 0)
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
"""Operations whose indices may be on the CPU, and are then copied."""
WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Of operations whose result, or its size, the host has to know."""
REAL_GENERATOR = torch.Generator
"""What ``torch.Generator`` is while nothing is pretended."""


class Generator:
    """The device's random numbers."""

    def __init__(self, device: Device, seed: int = 0) -> None:
        self._device = device
        self.state = REAL_GENERATOR("cpu").manual_seed(seed).get_state()
        self.stuck = False
        """Whether a capture that failed left it believing that one goes on, as torch's may be."""

    def manual_seed(self, seed: int) -> Generator:
        self.set_state(REAL_GENERATOR("cpu").manual_seed(seed).get_state())
        return self

    def get_state(self) -> Tensor:
        self._device.refuse_in_capture("reading the generator")
        return self.state.clone()

    def set_state(self, state: Tensor) -> None:
        self._device.refuse_in_capture("setting the generator")
        self.state = state.clone()

    def graphsafe_get_state(self) -> Generator:
        return self

    def graphsafe_set_state(self, other: Generator) -> None:
        self.state, self.stuck = other.state, other.stuck

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """What draws from the CPU's generator draws from this."""
        assert not self.stuck, "the generator believes that it is being captured"
        cpu = torch.default_generator
        before = cpu.get_state()
        cpu.set_state(self.state)
        try:
            yield
        finally:
            self.state = cpu.get_state()
            cpu.set_state(before)


class Recording:
    """What a capture has seen so far."""

    def __init__(self, stream: Actor) -> None:
        self.stream = stream
        self.calls: list[Callable[[], None]] = []
        self.reads: set[Place] = set()
        self.writes: set[Place] = set()
        self.drawn_in = {stream.name: stream}
        """The streams with work in it."""
        self.broken = False


class Device:
    """Which tensors are on it, and what operations on them do. ``stream`` is the current one."""

    def __init__(self, stream: Actor) -> None:
        self.operations = 0
        """Operations on the device, replayed ones not counted; a kernel or a few each."""
        self.waits: list[str] = []
        """What made the host wait for it, in order."""
        self.host = Actor(HOST)
        self.stream = stream
        self.memory = Memory()
        self.generator = Generator(self)
        self.recording: Recording | None = None
        self.looking = True
        self.asked: bool | None = None
        """Where a program asked for the tensor that is being made; None where it did not."""
        self.inside = False
        """Whether torch itself makes tensors, in a backward pass: they are where they are used."""
        self._here: dict[int, StorageWeakRef] = {}
        self._anywhere: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}

    # Which tensor is where.

    def holds(self, tensor: Tensor) -> bool:
        """Whether the tensor is on the device."""
        return storage(tensor) in self._here

    def put(self, tensor: Tensor, *, here: bool) -> None:
        """The tensor's memory is the device's, or the host's, from now on."""
        for table in (self._here, self._anywhere):
            table.pop(storage(tensor), None)
        if here:
            self._here[storage(tensor)] = StorageWeakRef(tensor.untyped_storage())

    def pin(self, tensor: Tensor) -> None:
        """The tensor's memory is the host's, and copied from and to by the device."""
        self._pinned[storage(tensor)] = StorageWeakRef(tensor.untyped_storage())

    def living(self) -> list[torch.UntypedStorage]:
        """All memory on the device; forgets what is gone."""
        for table in (self._here, self._anywhere, self._pinned):
            for gone in [name for name, ref in table.items() if ref.expired()]:
                del table[gone]
                self.memory.forget(gone)
        refs = self._here.values()
        return [torch.UntypedStorage._new_with_weak_ptr(ref.cdata) for ref in refs]

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Tensor work inside is the stand-in's own."""
        before, self.looking = self.looking, False
        try:
            with torch.no_grad():
                yield
        finally:
            self.looking = before

    # Order.

    def refuse_in_capture(self, what: str) -> None:
        """Raises what CUDA says, and the capture cannot be ended any more."""
        if self.recording is not None:
            self.recording.broken = True
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")

    def wait(self, why: str) -> None:
        """The host waits for the current stream."""
        self.refuse_in_capture(why)
        self.waits.append(why)
        self.host.learn(self.stream.knows)

    def step(self, reads: Iterable[Place], writes: Iterable[Place]) -> None:
        """The current stream's next, which the host has started."""
        stream, recording = self.stream, self.recording
        if recording is not None and stream.name not in recording.drawn_in:
            begun = {recording.stream.name: recording.stream.steps}
            if not stream.knows_all_of(begun):
                self.refuse_in_capture(f"work on {stream.name}, which is not part of it")
            recording.drawn_in[stream.name] = stream
        stream.learn(self.host.knows)
        self.memory.touch(stream, reads, writes)

    # Operations.

    def run(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """An operation, below autograd."""
        if not self.looking:
            return function(*args, **named)
        given = tensors_of((args, named))
        if not given and (self.asked or self.inside):
            return self._make(function, args, named)
        if not any(map(self.holds, given)):
            if any(storage(t) in self._pinned for t in given) and not is_view(function):
                reads, writes = touched(function, args, named)
                self.memory.touch(self.host, map(place, reads), map(place, writes))
            result = function(*args, **named)
            for tensor in tensors_of(result):
                self.put(tensor, here=False)
            return result
        name = function.overloadpacket.__name__
        if name == "copy_" and self.holds(args[0]) != self.holds(args[1]):
            return self._move(function, args, named)
        self._meet(function, name, args, given)
        if masked(args[1]) if name in INDEXING else WAITING & {*function.tags}:
            self.step(map(place, given), ())
            self.wait(name)
        return self._do(function, args, named, given)

    def _make(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A tensor of nothing."""
        if self.asked:
            return self._do(function, args, named, [])
        result = function(*args, **named)
        self._anywhere[storage(result)] = StorageWeakRef(result.untyped_storage())
        if self.recording is not None:
            self._record(function, args, named, [result])
        return result

    def _move(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A copy from one device to the other."""
        to, given = args[:2]
        waits = not (args[2] if len(args) > 2 else named.get("non_blocking", False))
        there = self.holds(to)
        host = given if there else to
        pinned = storage(host) in self._pinned
        if not pinned:
            self.refuse_in_capture("a copy from or to pageable memory")
        self.operations += 1
        result = function(*args, **named)
        self.step(*([place(t)] if t is not host or pinned else [] for t in (given, to)))
        if waits or not (there or pinned):
            self.wait(f"a copy to the {'device' if there else 'host'}")
        elif self.recording is not None:
            self._record(function, args, named, [])
        return result

    def _meet(
        self, function: Any, name: str, args: tuple[Any, ...], given: Iterable[Tensor]
    ) -> None:
        """Raises where tensors that must be on one device are not."""
        elsewhere = []
        for tensor in given:
            if storage(tensor) in self._anywhere:
                self.put(tensor, here=True)
            elif not self.holds(tensor):
                elsewhere.append(tensor)
        if name in INDEXING and elsewhere and self.holds(args[0]):
            self.wait("indices that are on the host")
        elif elsewhere and not (
            torch.Tag.pointwise in function.tags and all(t.dim() == 0 for t in elsewhere)
        ):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu, in {function}"
            )

    def _do(
        self, function: Any, args: tuple[Any, ...], named: dict[str, Any], given: list[Tensor]
    ) -> Any:
        """The operation itself, all of whose tensors are here."""
        result = self._execute(function, args, named)
        known = {*map(storage, given)}
        made = [t for t in tensors_of(result) if storage(t) not in known]
        for tensor in made:
            self.put(tensor, here=True)
        if not is_view(function):
            self.operations += 1
            reads, writes = touched(function, args, named)
            self.step(map(place, reads), map(place, [*writes, *made]))
            if self.recording is not None:
                self._record(function, args, named, made)
        return result

    def _execute(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **named)
        with self.generator.drawing():
            return function(*args, **named)

    def _record(
        self, function: Any, args: tuple[Any, ...], named: dict[str, Any], made: list[Tensor]
    ) -> None:
        """Adds the operation to the graph: what it writes it writes again, to the same memory."""
        known = {*map(storage, tensors_of((args, named)))}

        def call() -> None:
            result = self._execute(function, args, named)
            again = [t for t in tensors_of(result) if storage(t) not in known]
            for kept, tensor in zip(made, again, strict=True):
                kept.copy_(tensor)

        assert self.recording is not None
        reads, writes = touched(function, args, named)
        self.recording.calls.append(call)
        self.recording.reads.update(map(place, reads))
        self.recording.writes.update(map(place, [*writes, *made]))


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors among an operation's arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, tuple | list):
        return []
    return [tensor for one in value for tensor in tensors_of(one)]


def masked(indices: Iterable[Tensor | None]) -> bool:
    """Whether what is indexed by them has a size that has to be counted first."""
    return any(i is not None and i.dtype == torch.bool for i in indices)


def is_view(function: Any) -> bool:
    """Whether it computes nothing: its result is its argument's memory, seen in another way."""
    found = [returned.alias_info for returned in function._schema.returns]
    return bool(found) and all(alias is not None and not alias.is_write for alias in found)


def touched(
    function: Any, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors among its arguments that an operation reads, and those it writes."""
    reads: list[Tensor] = []
    writes: list[Tensor] = []
    for number, argument in enumerate(function._schema.arguments):
        value = args[number] if number < len(args) else named.get(argument.name)
        alias = argument.alias_info
        (writes if alias is not None and alias.is_write else reads).extend(tensors_of(value))
    return reads, writes
