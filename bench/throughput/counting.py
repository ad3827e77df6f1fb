"""Arithmetic, memory traffic and memory of a step, counted operation by operation as it runs.

Conventions. A FLOP is one addition or one multiplication, so a multiply-add is two; convolutions,
matrix products and attention are counted (``torch.utils.flop_counter``), the rest is negligible.
Traffic is that of eager execution: each operation reads its inputs and writes its outputs once, at
their dtype; batch normalisation in training reads the images' values twice, because statistics come
before normalisation and sums before gradients. Views are free. Nothing is assumed to stay in a
cache, so a processor with a large one can be faster than the traffic allows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

SAMPLES = (2, 3)
"""Batches that are counted; the counts of any other lie on the line through these two."""

ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
"""Operations that write nothing yet."""
OVERWRITES = {"zero_", "fill_", "copy_", "_foreach_copy_", "_foreach_zero_"}
"""Operations whose first argument is written without being read."""
RESHAPES = {"_unsafe_view", "as_strided_", "set_", "resize_", "lift_fresh"}
"""Operations that move no values although their schema does not call them views."""


@dataclass(frozen=True, slots=True)
class Line:
    """fixed + per_image · batch."""

    fixed: float
    per_image: float

    def at(self, batch: int) -> float:
        """The value for a whole batch."""
        return self.fixed + self.per_image * batch

    def each(self, batch: int) -> float:
        """The share of one image of a batch."""
        return self.at(batch) / batch


@dataclass(frozen=True, slots=True)
class Counts:
    """What a batch costs."""

    flops: Line
    bytes: Line
    """Read and written."""
    live: Line
    """The most bytes of tensors alive at once that the step itself made."""


class Meter(TorchDispatchMode):
    """Sums the traffic of every operation in the block, and follows the tensors it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.peak = 0
        self._live = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.bytes += traffic(func, args, kwargs, result)
        self._follow(func, tensors(result))
        return result

    def _follow(self, func: Any, made: Sequence[Tensor]) -> None:
        if aliases(func):
            return
        for tensor in made:
            storage = tensor.untyped_storage()
            if storage in self._known:
                continue
            size = storage.nbytes()
            self._known.add(storage)
            self._live += size
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self._live -= size


def tensors(tree: Any) -> list[Tensor]:
    """Every tensor in a nest of lists, tuples and dictionaries."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def traffic(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Bytes that one eager operation reads and writes."""
    name = func._schema.name.split("::")[-1]
    outputs = tensors(result)
    if name in ALLOCATIONS or name in RESHAPES or is_view(func):
        return 0
    written = outputs or tensors(args[:1])  # operations on lists return nothing
    inputs = [] if _is_factory(name) else tensors(args[name in OVERWRITES :]) + tensors(kwargs)
    total = sum(map(size_of, inputs)) + sum(map(size_of, written))
    if "batch_norm" in name and _is_training(func, args, kwargs):
        largest = max(map(size_of, outputs))
        total += sum(size_of(t) for t in inputs if t.numel() * t.element_size() >= largest)
    return total


def size_of(tensor: Tensor) -> int:
    """Bytes of the tensor's distinct elements: expanded dimensions take no memory."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= 1 if stride == 0 and size > 0 else size
    return count * tensor.element_size()


def is_view(func: Any) -> bool:
    """Whether the operation's results share memory with its arguments and nothing is written."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def aliases(func: Any) -> bool:
    """Whether a result is an argument's memory: a view, or the argument written in place."""
    return any(r.alias_info is not None for r in func._schema.returns)


def _is_factory(name: str) -> bool:
    """Whether the operation takes a tensor's shape and dtype only, such as ``zeros_like``."""
    return name.startswith("new_") or name.endswith("_like")


def _is_training(func: Any, args: Any, kwargs: Any) -> bool:
    """The operation's own flag; backends without one normalise by a batch's statistics only."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.name in ("training", "train"):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            return bool(value)
    return True


def count(work: Callable[[int], object]) -> Counts:
    """What ``work(batch)``, one step or one forward pass of that many images, costs.

    Runs it for each batch of ``SAMPLES``.
    """
    found = []
    for batch in SAMPLES:
        meter = Meter()
        flops = FlopCounterMode(display=False, custom_mapping=_attention_on_cpu())
        with flops, meter:
            work(batch)
        found.append((flops.get_total_flops(), meter.bytes, meter.peak))
    low, high = found
    return Counts(*(_line(a, b) for a, b in zip(low, high, strict=True)))


def _line(low: float, high: float) -> Line:
    first, second = SAMPLES
    per_image = (high - low) / (second - first)
    return Line(low - per_image * first, per_image)


def _attention_on_cpu() -> dict[Any, Any]:
    """The FLOPs of the CPU's fused attention, which torch's table leaves out."""
    attention = torch.ops.aten

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_backward_flop_count(gradient, query, key, value)

    return {
        attention._scaled_dot_product_flash_attention_for_cpu: forward,
        attention._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
