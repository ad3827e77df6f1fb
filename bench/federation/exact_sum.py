"""Weighted sums of vectors that do not depend on the order of their terms.

Floating-point addition is not associative, so a sum taken by one process, by four, or over clients
in another order differs in its last bits. Here every term is rounded once, on its own, to a fixed
grid, and multiples of the grid are added without error: any order and any grouping give the same
bits, and memory does not grow with the number of terms.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

HEADROOM_BITS = 6
"""Terms up to 64 times the expected magnitude are rounded by an addition. The sum stays in float64
while their largest values add up to half of that; the rest is for what rounding may add."""
SIGNIFICAND_BITS = 52
"""Explicit bits of a float64's significand."""
EXPONENT_BIAS = 1023
"""Of a float64."""
LARGEST_BITS = 62
"""The terms' largest values add up to 2⁶² steps of the grid at most: the sum fits an int64."""
CHUNK = {"cpu": 50_000, "cuda": 2**62}
"""Elements treated at once by each thread. On a CPU the scratch, 400 kB, then stays in the core's
own cache."""


class OutOfRange(Exception):
    """A term is NaN or infinite, or the sum would be larger than the grid reaches."""


class ExactSum:
    """Σ weight·vector over fp32 vectors of one size, exact after each term's one rounding.

    A term w·x is rounded to a multiple of u = 2^(k-52), where 2^(k-1) is 64 times the expected
    magnitude: for values of order one u is 2.8e-14, finer than the fp32 result can tell. The sum is
    kept in float64 with 1.5·2^k in it, so that it lies between 2^k and 2^(k+1), where floats are
    the multiples of u: to add the next term in one fused operation rounds that term and nothing
    else. What it rounds to would depend on the sum only half way between two multiples, where it is
    the even one; but no w·x lies there, because the last bit of w's significand is always set
    (:func:`with_last_bit`): w is W·2^e with W odd and at least 2^52, x is X·2^f with X odd, and if
    their product were an odd multiple of u/2 it would be W·X·u/2, more than 2^(k-1).

    Should all terms together reach further, the multiples of u go on as an int64, up to 2^(k+10).

    Parameters
    ----------
    size : P, the elements of a vector.
    device : where the vectors are.
    often : (P,) vectors that are given to it again and again, the same objects each time.
    """

    def __init__(
        self, size: int, device: torch.device | str, *, often: Sequence[Tensor] = ()
    ) -> None:
        device = torch.device(device)
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        chunk = max(1, min(size, CHUNK[device.type] * threads))
        self._sum = torch.empty(size, dtype=torch.float64, device=device)
        self._offset = torch.zeros((), dtype=torch.float64, device=device)
        self._fused = multiplies_and_adds_at_once(device)
        scratch = torch.empty(chunk, dtype=torch.float64, device=device)
        parts = [slice(i, min(i + chunk, size)) for i in range(0, size, chunk)]
        self._pieces = [(p, scratch[: p.stop - p.start], self._sum[p]) for p in parts]
        self._weights: list[float] = []
        self._often = {id(vector): (vector, self._split(vector)) for vector in often}
        self.start(1.0)

    def start(self, magnitude: float) -> None:
        """Begins a new sum of terms expected to be about ``magnitude`` (1 is assumed at least).

        ``magnitude`` must be the same wherever a part of the sum is taken.
        """
        exponent = math.ceil(math.log2(max(1.0, magnitude))) + HEADROOM_BITS + 1
        self._unit = math.ldexp(1.0, exponent - SIGNIFICAND_BITS)
        self._magic = 1.5 * math.ldexp(1.0, exponent)
        self._offset.fill_(self._magic)
        self._magic_bits = int(1.5 * 2**SIGNIFICAND_BITS) - 2**SIGNIFICAND_BITS
        self._magic_bits += (exponent + EXPONENT_BIAS) << SIGNIFICAND_BITS
        self._rounded = math.ldexp(1.0, exponent - 1)
        self._narrow = self._rounded / 2
        self._largest = math.ldexp(self._unit, LARGEST_BITS)
        self._reach = 0.0
        self._weights.clear()
        self._empty = True
        """Whether there was no term yet; what the sum's memory holds is then of no account."""
        self._wide = False
        """Whether the sum's memory holds the int64 multiples of u."""
        self._read = False
        """Whether the sum has ended."""

    @property
    def weight(self) -> float:
        """The sum of the weights so far, correctly rounded and so in any order."""
        return math.fsum(self._weights)

    def add(
        self,
        vector: Tensor,
        weight: float,
        norm: float | None = None,
        then: Tensor | None = None,
    ) -> None:
        """Adds ``weight * vector``, (P,) fp32, whose Euclidean ``norm`` may be known: then the
        vector is read once. Otherwise waits for the device.

        ``then`` (P,), where given, becomes what the vector holds, each piece of it as soon as it is
        added: it is in the core's cache at that time, and need not be fetched again.

        Raises OutOfRange where a term is NaN, infinite or beyond the grid; the vector is as it was.
        """
        assert not self._read, "the sum has been read; a new one has to be started"
        self._weights.append(weight)
        if vector.numel() == 0:
            return
        # ‖x‖₂ is never less than the largest value, and quicker to find; inf and NaN pass through
        if norm is None:
            norm = math.sqrt(float(torch.dot(vector, vector)))
        largest = abs(weight) * norm
        if not self._reach + largest <= self._narrow:
            largest = abs(weight) * magnitude(vector)
        self._reach += largest
        if not self._reach <= self._largest:
            raise OutOfRange(f"{largest:g}")
        if self._reach <= self._narrow and not self._wide:
            self._add_narrow(vector, with_last_bit(weight), then)
            return
        if largest <= self._rounded:
            self._add_wide(vector, with_last_bit(weight))
        else:
            self._add_large(vector, weight)
        if then is not None:
            vector.copy_(then)

    def _add_narrow(self, vector: Tensor, weight: float, then: Tensor | None) -> None:
        terms = self._pieces_of(vector)
        following = terms if then is None else self._pieces_of(then)
        for (_, scratch, total), term, next_ in zip(self._pieces, terms, following, strict=True):
            scratch.copy_(term)
            if self._empty:
                torch.add(self._offset, scratch, alpha=weight, out=total)
            elif self._fused:
                total.add_(scratch, alpha=weight)
            else:
                torch.add(self._offset, scratch, alpha=weight, out=scratch)
                total.add_(scratch.sub_(self._magic))
            if next_ is not term:
                term.copy_(next_)
        self._empty = False

    def _pieces_of(self, vector: Tensor) -> list[Tensor]:
        """Views of the vector's pieces, which for small networks take as long to make as to add."""
        known = self._often.get(id(vector))
        return self._split(vector) if known is None else known[1]

    def _split(self, vector: Tensor) -> list[Tensor]:
        return [vector[part] for part, _, _ in self._pieces]

    def _add_wide(self, vector: Tensor, weight: float) -> None:
        """Rounds as the narrow sum does: it must not depend on what was added before."""
        integers = self.integers
        for part, scratch, _ in self._pieces:
            scratch.copy_(vector[part])
            torch.add(self._offset, scratch, alpha=weight, out=scratch)
            integers[part].add_(scratch.view(torch.int64)).sub_(self._magic_bits)

    def _add_large(self, vector: Tensor, weight: float) -> None:
        """Terms that are out of that rounding's reach."""
        integers = self.integers
        for part, scratch, _ in self._pieces:
            scratch.copy_(vector[part]).mul_(weight).div_(self._unit).round_()
            integers[part].add_(scratch.to(torch.int64))

    @property
    def integers(self) -> Tensor:
        """(P,) int64, live: the multiples of u so far; over several processes they add up."""
        integers = self._sum.view(torch.int64)
        if self._empty:
            integers.zero_()
        elif not self._wide:
            integers.sub_(self._magic_bits)
        self._empty, self._wide = False, True
        return integers

    def part(self) -> dict[str, Any]:
        """What :meth:`merge` needs to know of this process's terms, beside :attr:`integers`."""
        return {"weights": self._weights, "reach": self._reach}

    def merge(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Takes the parts of all processes for its own; :attr:`integers` is their sum by now.

        Raises OutOfRange where all terms together are larger than the grid reaches.
        """
        self._weights = [weight for part in parts for weight in part["weights"]]
        self._reach = math.fsum(part["reach"] for part in parts)
        if not self._reach <= self._largest:
            raise OutOfRange(f"{self._reach:g}")

    def total(self) -> Tensor:
        """The sum, (P,) float64: live, not to be changed. It has ended with that."""
        if not self._read:
            self._end()
            self._read = True
        return self._sum

    def copy_to(self, out: Tensor) -> None:
        """Sets ``out`` (P,) fp32 to the sum, which has ended with that."""
        if self._empty or self._wide or self._read:
            out.copy_(self.total())
            return
        for (_, scratch, total), target in zip(self._pieces, self._pieces_of(out), strict=True):
            target.copy_(torch.sub(total, self._magic, out=scratch))

    def _end(self) -> None:
        if self._empty:
            self._sum.zero_()
        elif self._wide:
            torch.mul(self.integers.to(torch.float64), self._unit, out=self._sum)
        else:
            self._sum.sub_(self._magic)


def magnitude(vector: Tensor) -> float:
    """The largest absolute value, NaN where there is one; waits for the device."""
    if vector.numel() == 0:
        return 0.0
    low, high = torch.stack(torch.aminmax(vector)).tolist()
    return max(-low, high)


def with_last_bit(weight: float) -> float:
    """The weight with the last bit of its significand set: itself, or its neighbour."""
    (bits,) = struct.unpack("<q", struct.pack("<d", weight))
    return float(struct.unpack("<d", struct.pack("<q", bits | 1))[0])


@functools.cache
def multiplies_and_adds_at_once(device: torch.device) -> bool:
    """Whether additions with ``alpha`` round once, as processors with FMA instructions do, and not
    the product first. Looked at in every element of a vector that ends within a register."""
    above, size = 1.0 + 2.0**-30, 67
    less = torch.tensor(-(1.0 + 2.0**-29), dtype=torch.float64, device=device)
    term = torch.full((size,), above, dtype=torch.float64, device=device)
    sums = torch.add(less, term, alpha=above), less.repeat(size).add_(term, alpha=above)
    return all(bool((one == 2.0**-60).all()) for one in sums)
