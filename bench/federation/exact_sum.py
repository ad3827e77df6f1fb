"""Weighted sums of vectors that do not depend on the order of their terms.

Floating-point addition is not associative, so a sum taken by one process, by four, or over clients
in another order differs in its last bits. Here every term is rounded once, on its own, to a fixed
grid, and whole numbers are added: any order and any grouping give the same bits, and memory does
not grow with the number of terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HEADROOM_BITS = 6
"""Terms up to 64 times the expected magnitude take the fast path."""
SIGNIFICAND_BITS = 52
"""Explicit bits of a float64's significand."""
EXPONENT_BIAS = 1023
"""Of a float64."""
LARGEST_BITS = 62
"""The terms' largest values add up to 2⁶² steps of the grid at most: the sum fits an int64."""
CHUNK = {"cpu": 2**15, "cuda": 2**62}
"""Elements treated at once. On a CPU the scratch (256 KiB) then stays in the core's own cache."""


class OutOfRange(Exception):
    """A term is NaN or infinite, or the sum would be larger than the grid reaches."""


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
        self._total = torch.zeros(size, dtype=torch.float64, device=device)
        chunk = max(1, min(size, CHUNK[device.type]))
        self._scratch = torch.empty(chunk, dtype=torch.float64, device=device)
        self._parts = [slice(i, min(i + chunk, size)) for i in range(0, size, chunk)]
        self._pieces = [self._piece(part) for part in self._parts]
        self._on_host = device.type == "cpu"
        self._arrays = [tuple(t.numpy() for t in p) for p in self._pieces] if self._on_host else []
        self._weights: list[float] = []
        self.start(1.0)

    def _piece(self, part: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views of a part of the sum, of the scratch, of the scratch's bits, and of the total."""
        scratch = self._scratch[: part.stop - part.start]
        return self._sum[part], scratch, scratch.view(torch.int64), self._total[part]

    def start(self, magnitude: float) -> None:
        """Begins a new sum of terms expected to be about ``magnitude`` (1 is assumed at least).

        ``magnitude`` must be the same wherever a part of the sum is taken.
        """
        exponent = math.ceil(math.log2(max(1.0, magnitude))) + HEADROOM_BITS + 1
        self._unit = math.ldexp(1.0, exponent - SIGNIFICAND_BITS)
        self._magic = 1.5 * math.ldexp(1.0, exponent)
        self._magic_bits = int(1.5 * 2**SIGNIFICAND_BITS) - 2**SIGNIFICAND_BITS
        self._magic_bits += (exponent + EXPONENT_BIAS) << SIGNIFICAND_BITS
        self._offset = torch.tensor(self._magic, dtype=torch.float64)
        self._fast = math.ldexp(1.0, exponent - 1)
        self._largest = math.ldexp(self._unit, LARGEST_BITS)
        # what the bits of the sum mean depends on both, so a sum put together from the parts of
        # several processes needs theirs added up too
        self._magic_terms = 0
        self._reach = 0.0
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
        # ‖x‖₂ is never less than the largest value, and quicker to find; inf and NaN pass through
        norm = abs(weight) * math.sqrt(float(torch.dot(vector, vector)))
        largest = norm if norm <= self._fast / 2 else abs(weight) * magnitude(vector)
        self._reach += largest
        if not self._reach <= self._largest:
            raise OutOfRange(f"{largest:g}")
        if largest <= self._fast:
            self._add_fast(vector, weight)
        else:
            self._add_slowly(vector, weight)

    def _add_fast(self, vector: Tensor, weight: float) -> None:
        """The rounding is an addition in float64; what is added up are its bits.

        On a CPU NumPy converts and adds the whole numbers up: its int64 addition takes a quarter of
        the time of torch's, which has no vector instructions for it.
        """
        self._magic_terms += 1
        if self._on_host:
            self._add_on_host(vector.detach().numpy(), weight)
            return
        for part, (total, scratch, bits, _) in zip(self._parts, self._pieces, strict=True):
            scratch.copy_(vector[part]).mul_(weight).add_(self._magic)
            total.add_(bits)

    def _add_on_host(self, vector: NDArray[np.float32], weight: float) -> None:
        pieces = zip(self._parts, self._pieces, self._arrays, strict=True)
        for part, (_, scratch, _, _), (total, array, bits, _) in pieces:
            np.copyto(array, vector[part])
            torch.add(self._offset, scratch, alpha=weight, out=scratch)
            np.add(total, bits, out=total)

    def _add_slowly(self, vector: Tensor, weight: float) -> None:
        for part, (total, scratch, _, _) in zip(self._parts, self._pieces, strict=True):
            scratch.copy_(vector[part]).mul_(weight).div_(self._unit).round_()
            total.add_(scratch.to(torch.int64))

    @property
    def integers(self) -> Tensor:
        """(P,) int64: what the terms have added up to; over several processes their sum."""
        return self._sum

    def part(self) -> dict[str, Any]:
        """What :meth:`merge` needs to know of this process's terms, beside :attr:`integers`."""
        return {"fast": self._magic_terms, "weights": self._weights, "reach": self._reach}

    def merge(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Takes the parts of all processes for its own; :attr:`integers` is their sum by now.

        Raises OutOfRange where all terms together are larger than the grid reaches.
        """
        self._magic_terms = sum(part["fast"] for part in parts)
        self._weights = [weight for part in parts for weight in part["weights"]]
        self._reach = math.fsum(part["reach"] for part in parts)
        if not self._reach <= self._largest:
            raise OutOfRange(f"{self._reach:g}")

    def total(self) -> Tensor:
        """The sum so far, (P,) float64; the next call writes over it."""
        if self._reach <= self._fast / 2:
            self._turn_back(_wrapped((self._magic_terms - 1) * self._magic_bits))
        else:
            self._convert(_wrapped(self._magic_terms * self._magic_bits))
        return self._total

    def _turn_back(self, excess: int) -> None:
        """Within the fast path's range, the bits of the sum plus 1.5·2^k become that number."""
        if self._on_host:
            for sums, numbers, pattern, result in self._arrays:
                np.subtract(sums, excess, out=pattern)
                np.subtract(numbers, self._magic, out=result)
            return
        for total, scratch, bits, out in self._pieces:
            torch.sub(total, excess, out=bits)
            torch.sub(scratch, self._magic, out=out)

    def _convert(self, constant: int) -> None:
        for total, _, bits, out in self._pieces:
            torch.sub(total, constant, out=bits)
            out.copy_(bits).mul_(self._unit)


def _wrapped(value: int) -> int:
    """As int64 arithmetic, which wraps, has it; Python's does not."""
    return (value + 2**63) % 2**64 - 2**63


def magnitude(vector: Tensor) -> float:
    """The largest absolute value, NaN where there is one; waits for the device."""
    if vector.numel() == 0:
        return 0.0
    low, high = torch.stack(torch.aminmax(vector)).tolist()
    return max(-low, high)
