"""How captures drive torch's interface to CUDA graphs, on a device that is pretended: the order of
calls, what is left behind where a capture fails, and that torch 2.11 and later have the interface.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import weakref

import pytest
import torch

from bench.training.graphs import WARM_UPS, CudaCapture
from tests.pretended import DEVICE, Race, pretending

SEED = 7


@pytest.fixture
def gpu(monkeypatch):
    with pretending(monkeypatch) as gpu:
        torch.cuda.manual_seed(SEED)
        yield gpu


def test_it_warms_up_aside_then_captures(gpu):
    """On a stream of its own, after what was queued so far and before what follows."""
    total = torch.zeros(3, device=DEVICE)
    seen = []

    def work():
        seen.append((torch.cuda.current_stream().name, gpu.recording is not None))
        total.add_(1)

    capture = CudaCapture(DEVICE)
    main = torch.cuda.current_stream()
    replay = capture(work)
    assert seen == [*[("stream 1", False)] * WARM_UPS, ("stream 1", True)]
    assert torch.cuda.current_stream() is main
    replay()
    replay()
    assert total.tolist() == [WARM_UPS + 2.0] * 3
    capture(work)()
    assert gpu.pools_asked_for == 1
    assert total.tolist() == [2 * WARM_UPS + 3.0] * 3


def test_the_current_stream_is_waited_for_and_no_other(gpu):
    total, elsewhere = torch.zeros(3, device=DEVICE), torch.cuda.Stream()
    elsewhere.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(elsewhere):
        total.add_(1)
    with pytest.raises(Race):
        CudaCapture(DEVICE)(lambda: total.add_(1))


def test_the_first_error_is_raised_and_nothing_is_left_stuck(gpu):
    capture = CudaCapture(DEVICE)
    main, calls = torch.cuda.current_stream(), []
    there = torch.ones(3, device=DEVICE)

    def work():
        calls.append(1)
        if len(calls) > WARM_UPS:
            there.sum().item()

    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        capture(work)
    assert torch.cuda.current_stream() is main
    assert not gpu.generator.stuck
    drawn = torch.rand(4, device=DEVICE)
    torch.cuda.manual_seed(SEED)
    assert torch.equal(torch.rand(4, device=DEVICE), drawn)  # where it was, it went on
    capture(lambda: there.add_(1))()
    assert there.tolist() == [WARM_UPS + 2.0] * 3
    assert gpu.pools_asked_for == 2


def test_a_failed_capture_keeps_nothing_of_its_work_alive(gpu):
    calls, kept = [], []

    def work():
        calls.append(1)
        activations = torch.zeros(3, device=DEVICE)
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


def test_an_error_in_warming_up_begins_no_capture(gpu):
    main = torch.cuda.current_stream()

    def work():
        assert gpu.recording is None
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaCapture(DEVICE)(work)
    assert torch.cuda.current_stream() is main


def test_work_that_draws_on_the_cpu_is_refused(gpu):
    def work():
        assert gpu.recording is None
        torch.rand(1)

    with pytest.raises(RuntimeError, match="random numbers on the CPU"):
        CudaCapture(DEVICE)(work)


def test_torch_has_the_interface_that_is_used():
    graph = inspect.signature(torch.cuda.graph.__init__).parameters
    assert {"cuda_graph", "pool", "stream", "capture_error_mode"} <= graph.keys()
    assert callable(torch.cuda.CUDAGraph.replay)
    for name in ("get_state", "set_state", "graphsafe_get_state", "graphsafe_set_state"):
        assert hasattr(torch.Generator, name)
    for name in ("get_rng_state", "set_rng_state"):
        assert "device" in inspect.signature(getattr(torch.cuda, name)).parameters
