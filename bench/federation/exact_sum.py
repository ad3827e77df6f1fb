"""Weighted sums of vectors that do not depend on the order of their terms.

Floating-point addition is not associative, so a sum taken by one process, by four, or over clients
in another order differs in its last bits. Here every term is rounded once, on its own, to a fixed
grid, and whole numbers are added: any order and any grouping give the same bits, and memory does
not grow with the number of terms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

HEADROOM_BITS = 6
"""Terms up to 64 times the expected magnitude take the fast path."""
SIGNIFICAND_BITS = 52
"""Explicit bits of a float64's significand."""
LARGEST_BITS = 62
"""Terms are kept below 2⁶² steps of the grid, so that a sum of weights up to 1 fits an int64."""
CHUNK = {"cpu": 2**15, "cuda": 2**62}
"""Elements treated at once. On a CPU the scratch (256 KiB) then stays in the core's own cache, and
torch does not wake other threads, which costs more than it gains where cores are shared."""


class OutOfRange(Exception):
    """A term is NaN, infinite, or larger than the grid reaches."""


class ExactSum:
    """Σ weight·vector over fp32 vectors of one size, exact after each term's one rounding.

    A term w·x is rounded to a multiple of u = 2^(k-52), where 2^(k-1) is 64 times the expected
    magnitude: for values of order one u is 2.8e-14, finer than the fp32 result can tell. The
    rounding is done by adding 1.5·2^k in float64, whose last bit is then worth u: the bits of the
    sum, read as an int64, are the rounded whole number plus a constant, which is subtracted for all
    terms at the end. Larger terms, up to 2^(k+10), are converted the slow way to the same number.
    """

    def __init__(self, size: int, device: torch.device | str) -> None:
        device = torch.device(device)
        self._sum = torch.zeros(size, dtype=torch.int64, device=device)
        chunk = max(1, min(size, CHUNK[device.type]))
        self._scratch = torch.empty(chunk, dtype=torch.float64, device=device)
        self._parts = [slice(i, min(i + chunk, size)) for i in range(0, size, chunk)]
        self._pieces = [self._piece(part) for part in self._parts]
        self._weights: list[float] = []
        self.start(1.0)

    def _piece(self, part: slice) -> tuple[slice, Tensor, Tensor, Tensor]:
        scratch = self._scratch[: part.stop - part.start]
        return part, self._sum[part], scratch, scratch.view(torch.int64)

    def start(self, magnitude: float) -> None:
        """Begins a new sum of terms expected to be about ``magnitude`` (1 is assumed at least).

        ``magnitude`` must be the same wherever a part of the sum is taken.
        """
        exponent = math.ceil(math.log2(max(1.0, magnitude))) + HEADROOM_BITS + 1
        self._unit = math.ldexp(1.0, exponent - SIGNIFICAND_BITS)
        self._magic = 1.5 * math.ldexp(1.0, exponent)
        self._fast = math.ldexp(1.0, exponent - 1)
        self._largest = math.ldexp(self._unit, LARGEST_BITS)
        self._magic_terms = 0
        self._weights.clear()
        self._sum.zero_()

    @property
    def weight(self) -> float:
        """The sum of the weights so far, correctly rounded and so in any order."""
        return math.fsum(self._weights)

    def add(self, vector: Tensor, weight: float) -> None:
        """Adds ``weight * vector``, (P,) fp32; waits for the device once.

        Raises OutOfRange where a term is NaN, infinite or beyond the grid.
        """
        self._weights.append(weight)
        if vector.numel() == 0:
            return
        largest = abs(weight) * float(torch.linalg.vector_norm(vector, ord=math.inf))
        if largest <= self._fast:
            self._add_fast(vector, weight)
        elif largest <= self._largest:
            self._add_slowly(vector, weight)
        else:
            raise OutOfRange(f"{largest:g}")

    def _add_fast(self, vector: Tensor, weight: float) -> None:
        """Multiplication and addition stay apart: a fused one rounds once, and whether it is fused
        may depend on an element's place in a vector register."""
        self._magic_terms += 1
        for part, total, scratch, bits in self._pieces:
            scratch.copy_(vector[part])
            if weight != 1.0:
                scratch.mul_(weight)
            scratch.add_(self._magic)
            total.add_(bits)

    def _add_slowly(self, vector: Tensor, weight: float) -> None:
        for part, total, scratch, _ in self._pieces:
            scratch.copy_(vector[part]).mul_(weight).div_(self._unit).round_()
            total.add_(scratch.to(torch.int64))

    def total(self) -> Tensor:
        """The sum so far, (P,) float64, in memory of its own."""
        return self._whole().to(torch.float64).mul_(self._unit)

    def _whole(self) -> Tensor:
        """The sum in steps of the grid, (P,) int64."""
        magic_bits = int(torch.tensor(self._magic, dtype=torch.float64).view(torch.int64))
        constant = self._magic_terms * magic_bits
        wrapped = (constant + 2**63) % 2**64 - 2**63  # int64 arithmetic wraps, Python's does not
        return self._sum - wrapped
