"""A training step's kernels recorded once as a CUDA graph, and launched together ever after.

A network like DenseNet121 starts about 1,460 kernels a step; with small batches starting them takes
longer than running them. A graph starts them all at once. What it reads and writes lies at fixed
addresses: parameters, gradients and running statistics do so anyway, a batch is copied to where the
graph expects it.

Random numbers. torch's generator of the device gives a captured kernel its seed and position at
every replay, and moves on by what the graph draws. Replays therefore draw what the same calls would
have drawn, and ``manual_seed`` before a client's training holds for them too. What is drawn on the
CPU would be the same in every replay: such a network is not captured.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.flat import FlatModel

WARM_UPS = 3
"""Executions before a capture: libraries choose kernels, and compilers compile, in the first."""

ERRORS = "thread_local"
"""What other threads do meanwhile, such as NCCL's that watches over messages, breaks no capture."""

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""capture(work) → replay, which does the same again on whatever then lies in the same tensors. It
may execute ``work`` in between; raises what ``work`` or the device raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchGraph:
    """Loss and gradient of one batch, of one size, as a graph."""

    inputs: Tensor
    """(b, 1, h, w) fp32, where the graph reads."""
    targets: Tensor
    loss: Tensor
    """() fp32, where it leaves the batch's mean loss; (c,) for the batches of c clients."""
    replay: Work

    @staticmethod
    def record(
        gradients: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor,
        targets: Tensor,
        capture: Capture,
        losses: tuple[int, ...] = (),
    ) -> BatchGraph:
        """The graph of ``gradients``, which takes a batch and returns its loss, for batches shaped
        and strided like this one. ``losses`` is the shape of what it returns."""
        held, held_targets = _like(inputs), _like(targets)
        loss = torch.zeros(losses, device=inputs.device)

        def work() -> None:
            loss.copy_(gradients(held, held_targets))

        return BatchGraph(inputs=held, targets=held_targets, loss=loss, replay=capture(work))

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of that batch; valid until the next call, which writes to the same place."""
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        self.replay()
        return self.loss


class CudaCapture:
    """Captures work in CUDA graphs that share one pool of memory.

    They may share it because nothing that a graph leaves for others lies in the pool: the loss, the
    gradients and the statistics have their own place.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Executes ``work`` a few times, then records it.

        Raises RuntimeError where it draws random numbers on the CPU or cannot be captured, for
        instance because it waits for the device.
        """
        # Nodes of an earlier backward pass that a cycle keeps alive would draw its stream in here.
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), self._aside():
            drawn = torch.get_rng_state()
            for _ in range(WARM_UPS):
                work()
            if not torch.equal(drawn, torch.get_rng_state()):
                raise RuntimeError("it draws random numbers on the CPU")
            self._record(graph, work)
        return graph.replay

    def _record(self, graph: torch.cuda.CUDAGraph, work: Work) -> None:
        """Raises what went wrong first: ending a capture that failed fails once more."""
        failure: BaseException | None = None
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode=ERRORS
            ):
                try:
                    work()
                except BaseException as error:
                    failure = error
                    raise
        except BaseException as error:
            failure = failure or error
        if failure is None:
            return
        self._start_anew()
        try:
            raise failure
        finally:
            del failure  # with its frames it would keep a step's memory until cycles are collected

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On a stream of its own, after what was queued so far and before what follows.

        ``torch.cuda.graph`` does not leave its stream where ending a capture fails; this does.
        """
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            current.wait_stream(self._stream)

    def _start_anew(self) -> None:
        """After a capture that failed: another pool, and a generator that can draw.

        Before it kept its state by capture, torch's generator went on believing that it was being
        captured, and refused to draw. Graphs that draw random numbers and were recorded earlier
        must not be replayed any more.
        """
        self._pool = torch.cuda.graph_pool_handle()
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        state = generator.get_state()
        generator.graphsafe_set_state(torch.Generator(self._device).graphsafe_get_state())
        generator.set_state(state)


@contextmanager
def choosing_kernels() -> Iterator[None]:
    """cuDNN times its kernels for every convolution it meets, and keeps the fastest for its shape.

    That takes seconds for a deep network, and is worth it for the size that whole batches have, not
    for each of the sizes that last batches have.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def undisturbed(flat: FlatModel) -> Iterator[None]:
    """Puts back running statistics and generators; parameters must not be touched inside.

    ``gradients_flat`` is left as it falls: the next step writes it.
    """
    on_gpu = flat.device.type == "cuda"
    statistics = flat.buffers_flat.clone()
    generator = torch.get_rng_state()
    device_generator = torch.cuda.get_rng_state(flat.device) if on_gpu else None
    try:
        yield
    finally:
        flat.buffers_flat.copy_(statistics)
        torch.set_rng_state(generator)
        if device_generator is not None:
            torch.cuda.set_rng_state(device_generator, flat.device)


def _like(tensor: Tensor) -> Tensor:
    """A copy with the same strides, in memory of its own."""
    return torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device
    ).copy_(tensor)
