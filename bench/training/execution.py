"""How a training step is executed: operation by operation, from a CUDA graph, compiled, or both.

Numbers agree to rounding whichever it is. What is chosen here is what is tried; where a network
cannot be compiled or captured the step goes on without, and says so
(:mod:`bench.training.accelerated`).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch

from bench.errors import UsageError
from bench.training.device import SMALL_NETWORKS

WORTH_PIXELS = 2**36
"""Pixels that a run must train on for ``compile: auto`` to compile: 670,000 images of 320×320.

By the floors of memory traffic for DenseNet121 on an H200 (3,250 images/s, 4,280 with batch
normalisation and ReLU fused) compilation saves at most 74 µs an image of that size, and it takes of
the order of a minute where nothing is cached: 800,000 images. An estimate; not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What executes a step, and why."""

    graph: bool
    """Whether whole batches replay a CUDA graph."""
    compiled: bool
    """Whether whole batches run the network that ``torch.compile`` made."""
    reason: str
    """For people."""

    @property
    def name(self) -> str:
        """``eager``, ``graph``, ``compiled`` or ``compiled graph``."""
        words = [w for w, used in (("compiled", self.compiled), ("graph", self.graph)) if used]
        return " ".join(words) or "eager"


EAGER = Execution(graph=False, compiled=False, reason="operation by operation")


def resolve_execution(
    asked: bool | str, device: torch.device, backbone: str, *, images: int, side: int
) -> Execution:
    """What to try for a run that trains on ``images`` images of ``side``×``side`` in all.

    ``asked`` is the scenario's ``compile``: True, False or ``auto``, which compiles on a GPU where
    the network is large and the run long enough to gain by it. A graph is tried on every GPU: it
    costs a few steps.
    """
    graph = device.type == "cuda"
    if asked != "auto":
        return Execution(graph=graph, compiled=bool(asked), reason=f"compile: {str(asked).lower()}")
    against = _against(device, backbone, images=images, side=side)
    reason = against or f"compile: auto, for {images:,} images of {side} px"
    return Execution(graph=graph, compiled=against is None, reason=reason)


def execution_named(word: str, device: torch.device) -> Execution:
    """``eager``, ``graph``, ``compiled`` (on a GPU both) or ``auto``, a graph where there is a GPU.

    Raises UsageError for a graph on a CPU.
    """
    assert word in ("auto", "eager", "graph", "compiled"), f"unknown step {word}"
    graph = device.type == "cuda" and word != "eager"
    if word == "graph" and not graph:
        raise UsageError(
            "a step can be a graph on a GPU only",
            found=f"--step graph on {device.type}",
            mend="leave --step out, or say --step eager,compiled",
        )
    return Execution(graph=graph, compiled=word == "compiled", reason=f"--step {word}")


def _against(device: torch.device, backbone: str, *, images: int, side: int) -> str | None:
    """Why ``auto`` does not compile; None where it does."""
    if device.type != "cuda":
        return "compile: auto compiles on a GPU only"
    if backbone in SMALL_NETWORKS:
        return f"compile: auto leaves {backbone} as it is, which is small"
    if images * side**2 < WORTH_PIXELS:
        return f"compile: auto takes {images:,} images of {side} px to be too few to pay for it"
    if importlib.util.find_spec("triton") is None:
        return "compile: auto needs triton, which is not installed"
    return None
