"""``torch.cuda``, and the calls of torch that say where a tensor is to be."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tests.pretended.device import DEVICE, REAL_GENERATOR, Device, Generator, Recording, tensors_of
from tests.pretended.order import Actor, Clock

MEMORY = 2**37
"""Bytes that the device says it has."""
NOT_A_NUMBER = 0xFF
"""The byte that floating-point numbers which are NaN consist of."""
PROPERTIES = {Tensor.device: DEVICE, Tensor.is_cuda: True}
"""Of tensors on the device."""
AUTOGRAD = ("backward", "grad")
"""Calls inside which torch makes tensors, and nobody says where."""


class Gpu(Device):
    """The device, with its streams."""

    def __init__(self) -> None:
        main = Stream("the main stream")
        super().__init__(main)
        self.streams = [main]
        self.pools_asked_for = 0

    def new_pool(self) -> int:
        """A pool of memory for graphs."""
        self.pools_asked_for += 1
        return self.pools_asked_for

    def synchronize(self, device: object = None) -> None:
        """The host waits for everything."""
        self.refuse_in_capture("synchronize")
        for stream in self.streams:
            self.host.learn(stream.knows)

    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A call from Python, above autograd."""
        if not self.looking:
            return function(*args, **named)
        name = getattr(function, "__name__", "")
        own = args[0] if args and isinstance(args[0], Tensor) else None
        if own is not None and name in ("to", "cpu", "cuda"):
            return self._to(name, own, args[1:], named)
        if own is not None and self.holds(own):
            if name == "__get__" and function.__self__ in PROPERTIES:
                return PROPERTIES[function.__self__]
            if name in ("numpy", "__array__"):
                raise TypeError("can't convert cuda:0 device type tensor to numpy: copy it first")
            if name == "tolist":
                return self._to("cpu", own, (), {}).tolist()
        if name in AUTOGRAD:
            return self._within(function, args, named)
        named = dict(named)
        device, pinned = named.pop("device", None), named.pop("pin_memory", False)
        if isinstance(named.get("generator"), Generator):
            raise NotImplementedError("random numbers of a generator other than the device's own")
        if device is None:
            result = function(*args, **named)
        else:
            self.asked = torch.device(device).type == "cuda"
            try:
                result = function(*args, **named)
                self.put(result, here=self.asked)
            finally:
                self.asked = None
        if pinned:
            self.pin(result)
        return result

    def _within(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.inside = True
        try:
            return function(*args, **named)
        finally:
            self.inside = False

    def _to(self, name: str, own: Tensor, rest: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        """``to(device, dtype)``, ``to(dtype)``, ``to(tensor)``, ``cpu()`` and ``cuda()``."""
        device: Any = None if name == "to" else name
        first, *others = [*rest, None]
        if isinstance(first, Tensor):
            device, others = DEVICE if self.holds(first) else "cpu", [first.dtype, *others]
        elif isinstance(first, torch.dtype):
            others = [first, *others]
        elif first is not None:
            device = first
        given = dict(zip(("dtype", "non_blocking", "copy"), others, strict=False)) | named
        device = given.pop("device", device)
        non_blocking = bool(given.pop("non_blocking", False))
        given = {word: value for word, value in given.items() if value not in (None, False)}
        result = own.to(**given) if given else own
        if device is None or (here := torch.device(device).type == "cuda") == self.holds(own):
            return result
        moved: Tensor = Moved.apply(result, self, here, non_blocking)
        return moved

    def moved(self, tensor: Tensor, here: bool, non_blocking: bool) -> Tensor:
        """A copy on the other device."""
        with self.unseen():
            made = torch.empty_like(tensor)
        self.put(made, here=here)
        return made.copy_(tensor, non_blocking=non_blocking)


class Moved(torch.autograd.Function):
    """A copy on the other device, and the gradient's way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gpu: Gpu, here: bool, non_blocking: bool) -> Tensor:
        ctx.gpu, ctx.here = gpu, here
        return gpu.moved(tensor, here, non_blocking)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.gpu.moved(gradient, not ctx.here, False), None, None, None


class Watching:
    """A mode of torch's that hands the device what it sees."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu


class Below(Watching, TorchDispatchMode):
    """Sees every ATen operation."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return self.gpu.run(function, args, kwargs or {})


class Above(Watching, TorchFunctionMode):
    """Sees every call of torch from Python."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return self.gpu.call(function, args, kwargs or {})


class Stream(Actor):
    """``torch.cuda.Stream``."""

    def wait_stream(self, other: Stream) -> None:
        self.learn(other.knows)

    def wait_event(self, event: Event) -> None:
        self.learn(event.knows)


class Event:
    """``torch.cuda.Event``: a place in a stream's order."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.knows: Clock = {}

    def record(self, stream: Stream | None = None) -> None:
        self.knows = dict((stream or self._gpu.stream).knows)

    def synchronize(self) -> None:
        self._gpu.refuse_in_capture("waiting for an event")
        self._gpu.host.learn(self.knows)


class Graph:
    """``torch.cuda.CUDAGraph``."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.recorded: Recording | None = None

    def replay(self) -> None:
        assert self.recorded is not None, "a graph without a capture that was ended is replayed"
        self._gpu.refuse_in_capture("a replay")
        self._gpu.step(self.recorded.reads, self.recorded.writes)
        with self._gpu.unseen():
            for call in self.recorded.calls:
                call()


class Capturing:
    """``torch.cuda.graph``: work inside is recorded, and not done."""

    def __init__(
        self, gpu: Gpu, cuda_graph: Graph, *, pool: int, stream: Stream, capture_error_mode: str
    ) -> None:
        assert capture_error_mode == "thread_local", "another thread's NCCL would break it"
        self._gpu, self._graph, self._stream = gpu, cuda_graph, stream

    def __enter__(self) -> None:
        gpu = self._gpu
        gpu.synchronize()
        self._before, gpu.stream = gpu.stream, self._stream
        gpu.step((), ())
        gpu.recording = Recording(self._stream)
        with gpu.unseen():
            self._contents = [(memory, memory.clone()) for memory in gpu.living()]

    def __exit__(self, kind: object, *_: object) -> None:
        gpu, recorded = self._gpu, self._gpu.recording
        assert recorded is not None
        gpu.recording = None
        with gpu.unseen():
            for memory, contents in self._contents:
                memory.copy_(contents)
            old = {memory._cdata for memory, _ in self._contents}
            for memory in gpu.living():
                if memory._cdata not in old:
                    memory.fill_(NOT_A_NUMBER)
        self._contents.clear()
        if kind is not None or recorded.broken:
            gpu.generator.stuck = True  # and the stream stays the capture's
            raise RuntimeError("operation failed due to a previous error during capture")
        for stream in recorded.drawn_in.values():
            if not self._stream.knows_all_of({stream.name: stream.steps}):
                raise RuntimeError(f"capturing stream has unjoined work, of {stream.name}")
        gpu.stream = self._before
        self._graph.recorded = recorded


@contextmanager
def pretending(patch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """In here there is a GPU."""
    gpu = Gpu()

    def new_stream(device: object = None) -> Stream:
        gpu.streams.append(Stream(f"stream {len(gpu.streams)}"))
        return gpu.streams[-1]

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        before, gpu.stream = gpu.stream, stream
        try:
            yield
        finally:
            gpu.stream = before

    @contextmanager
    def device(_: object) -> Iterator[None]:
        yield

    class EitherGenerator:  # a class, as torch's own annotations want one
        def __new__(cls, device: Any = "cpu") -> Any:
            there = torch.device(device).type == "cuda"
            return Generator(gpu) if there else REAL_GENERATOR(device)

    autocast = torch.autocast

    def autocast_of_the_cpu(device_type: str, *given: Any, **named: Any) -> Any:
        return autocast("cpu" if device_type == "cuda" else device_type, *given, **named)

    def by_gloo(exchange: Callable[..., Any]) -> Callable[..., Any]:
        """Messages are the host's: not seen, like all that is not this device's work."""

        def exchanged(*given: Any, **named: Any) -> Any:
            if any(map(gpu.holds, tensors_of((given, named)))):
                raise RuntimeError("No backend type associated with device type cuda")
            with _disable_current_modes():
                return exchange(*given, **named)

        return exchanged

    def allocated(device: object = None) -> int:
        return sum(memory.nbytes() for memory in gpu.living())

    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "device": device,
        "get_device_name": lambda device=None: "a device that is pretended",
        "get_device_capability": lambda device=None: (9, 0),
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
        "memory_allocated": allocated,
        "max_memory_allocated": allocated,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "synchronize": gpu.synchronize,
        "manual_seed": gpu.generator.manual_seed,
        "manual_seed_all": gpu.generator.manual_seed,
        "get_rng_state": lambda device=None: gpu.generator.get_state(),
        "set_rng_state": lambda state, device=None: gpu.generator.set_state(state),
        "default_generators": (gpu.generator,),
        "Stream": new_stream,
        "Event": lambda: Event(gpu),
        "current_stream": lambda device=None: gpu.stream,
        "stream": on,
        "CUDAGraph": lambda: Graph(gpu),
        "graph": lambda cuda_graph, **given: Capturing(gpu, cuda_graph, **given),
        "graph_pool_handle": gpu.new_pool,
    }.items():
        patch.setattr(torch.cuda, name, value)
    for name in ("broadcast", "all_gather", "all_reduce"):
        patch.setattr(torch.distributed, name, by_gloo(getattr(torch.distributed, name)))
    patch.setattr(torch, "Generator", EitherGenerator)
    patch.setattr(torch, "autocast", autocast_of_the_cpu)
    with Below(gpu), Above(gpu):
        yield gpu


def pretend() -> None:
    """In this process there is a GPU, from now to its end."""
    stack = ExitStack()
    stack.enter_context(pretending(pytest.MonkeyPatch()))
    atexit.register(stack.close)
