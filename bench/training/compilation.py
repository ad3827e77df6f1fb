"""``torch.compile``, set up so that what it makes is made once and kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable

from torch import Tensor, nn

from bench.locations import cache_folder

Network = Callable[[Tensor], Tensor]
"""(b, 1, h, w) → (b, outputs) logits: a module, or what was compiled of it."""
CACHE = "inductor"
"""The folder inside bench's cache that compiled code is kept in."""
MOST_SHAPES = 64
"""Shapes that one network is compiled for in a process; torch gives up after 8 unless told."""


def compile_network(module: nn.Module) -> Network:
    """``module`` with its operations fused by inductor; parameters and buffers are the module's.

    Compilation itself happens at the first call, once for every batch size: shapes are static. The
    network is compiled whole or not at all, so that nothing half compiled passes for compiled.
    Compiled code is kept in ``$TORCHINDUCTOR_CACHE_DIR``, else in bench's cache folder, by the
    computation's hash: another scenario of the same network, or another run, finds it there. The
    compiler takes two seconds to import, so it is imported here.

    Raises what torch raises, here or at the first call: RuntimeError where there is no compiler or
    an operation cannot be compiled.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / CACHE))
    import torch._dynamo.config
    import torch._functorch.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = MOST_SHAPES
    torch._inductor.config.fx_graph_cache = True
    torch._functorch.config.enable_autograd_cache = True
    compiled: Network = torch.compile(module, dynamic=False, fullgraph=True)
    return compiled
