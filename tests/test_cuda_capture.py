"""How captures drive torch's interface to CUDA graphs, on a stand-in for it.

What CUDA does is for ``test_trainer_gpu.py``; here it is the order of calls, what is left behind
where a capture fails, and that the interface is called as torch 2.11 and later have it.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import weakref
from contextlib import contextmanager

import pytest
import torch

from bench.training.graphs import WARM_UPS, CudaCapture

DEVICE = torch.device("cuda", 0)


class Stream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: Stream) -> None:
        self.cuda.log.append(f"{self.name} waits for {other.name}")


class Graph:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.log.append("replay")


class DeviceGenerator:
    """A device's generator; ``stuck`` is what a failed capture makes of it."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.stuck = seed, False

    def get_state(self) -> int:
        return self.seed

    def set_state(self, state: int) -> None:
        self.seed = state

    def graphsafe_get_state(self) -> DeviceGenerator:
        return self

    def graphsafe_set_state(self, other: DeviceGenerator) -> None:
        self.seed, self.stuck = other.seed, other.stuck


class Capturing:
    """A class, as torch's is: a generator's frames would keep a failed step's memory alive."""

    def __init__(self, cuda: Cuda, pool: int, stream: Stream) -> None:
        self.cuda, self.pool, self.stream = cuda, pool, stream

    def __enter__(self) -> None:
        self.cuda.log.append(f"begin in pool {self.pool} on {self.stream.name}")
        self.cuda.current = self.stream

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.cuda.default_generators[0].stuck = True
            raise RuntimeError("operation failed due to a previous error during capture")
        self.cuda.log.append("end")


class Cuda:
    """Enough of ``torch.cuda`` for a capture; ending one fails where its work failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.pools = 0
        self.current = Stream(self, "main")
        self.default_generators = (DeviceGenerator(7),)
        for name in ("Stream", "CUDAGraph", "graph", "stream", "device"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", self._pool)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.current)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "default_generators", self.default_generators)
        monkeypatch.setattr(torch, "Generator", lambda device: DeviceGenerator())

    def _Stream(self, device: torch.device) -> Stream:
        assert device == DEVICE
        return Stream(self, "side")

    def _CUDAGraph(self) -> Graph:
        return Graph(self)

    def _pool(self) -> int:
        self.pools += 1
        return self.pools

    @contextmanager
    def _device(self, device: torch.device):
        assert device == DEVICE
        yield

    @contextmanager
    def _stream(self, stream: Stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def _graph(
        self, graph: Graph, *, pool: int, stream: Stream, capture_error_mode: str
    ) -> Capturing:
        assert capture_error_mode == "thread_local"
        return Capturing(self, pool, stream)


@pytest.fixture
def cuda(monkeypatch):
    return Cuda(monkeypatch)


def test_warms_up_aside_then_captures_and_replays(cuda):
    capture = CudaCapture(DEVICE)
    replay = capture(lambda: cuda.log.append(f"work on {cuda.current.name}"))
    assert cuda.log == [
        "side waits for main",
        *["work on side"] * WARM_UPS,
        "begin in pool 1 on side",
        "work on side",
        "end",
        "main waits for side",
    ]
    replay()
    assert cuda.log[-1] == "replay"
    capture(lambda: None)
    assert cuda.log.count("begin in pool 1 on side") == 2  # one pool for all
    assert cuda.current.name == "main"


def test_the_first_error_is_raised_and_nothing_is_left_stuck(cuda):
    capture = CudaCapture(DEVICE)
    calls = []

    def work():
        calls.append(1)
        if len(calls) > WARM_UPS:
            raise ValueError("this waits for the device")

    with pytest.raises(ValueError, match="this waits"):
        capture(work)
    assert cuda.current.name == "main"
    assert cuda.log[-1] == "main waits for side"
    generator = cuda.default_generators[0]
    assert (generator.stuck, generator.seed) == (False, 7)
    capture(lambda: None)
    assert "begin in pool 2 on side" in cuda.log


def test_a_failed_capture_keeps_nothing_of_its_work_alive(cuda):
    calls, kept = [], []

    def work():
        calls.append(1)
        activations = torch.zeros(3)
        if len(calls) > WARM_UPS:
            kept.append(weakref.ref(activations))
            raise ValueError("this waits for the device")

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            CudaCapture(DEVICE)(work)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_an_error_in_warming_up_begins_no_capture(cuda):
    def work():
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaCapture(DEVICE)(work)
    assert cuda.log == ["side waits for main", "main waits for side"]
    assert cuda.current.name == "main"


def test_work_that_draws_on_the_cpu_is_refused(cuda):
    with pytest.raises(RuntimeError, match="random numbers on the CPU"):
        CudaCapture(DEVICE)(lambda: torch.rand(1))
    assert not any(line.startswith("begin") for line in cuda.log)


def test_torch_has_the_interface_that_is_used():
    graph = inspect.signature(torch.cuda.graph.__init__).parameters
    assert {"cuda_graph", "pool", "stream", "capture_error_mode"} <= graph.keys()
    assert callable(torch.cuda.CUDAGraph.replay)
    for name in ("get_state", "set_state", "graphsafe_get_state", "graphsafe_set_state"):
        assert hasattr(torch.Generator, name)
    for name in ("get_rng_state", "set_rng_state"):
        assert "device" in inspect.signature(getattr(torch.cuda, name)).parameters
