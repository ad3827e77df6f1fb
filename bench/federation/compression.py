"""Compression of what a client sends: of the change w_k - w₀ that its local steps made.

======== =========================================================================================
``topk`` the share of the elements that changed most is sent, the others not. What is not sent stays
         with the client and joins its next change (error feedback: Stich et al. 2018, *Sparsified
         SGD with Memory*, NeurIPS), unless ``error_feedback`` is false
``int8`` every element is sent as a whole number from -127 to 127 and, a block of elements, the
         largest magnitude; rounding is random and so without bias (Alistarh et al. 2017, *QSGD*,
         NeurIPS, with the largest magnitude for their norm)
======== =========================================================================================

The server gets w₀ and what it can make of the message, in place of w_k. Elements that stay with the
client and running statistics are left alone; what the client keeps for itself (FedDyn's gradient,
MOON's last model) is of its own w_k. Models are sent to clients as they are. What a client has not
sent waits until it takes part again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.errors import SuiteError
from bench.federation.clients import State
from bench.federation.exact_sum import OutOfRange, magnitude
from bench.federation.sampling import rounded
from bench.federation.strategies import Strategy, Visit
from bench.randomness import generator
from bench.suites.scenario import Choice, Scenario

FLOAT_BYTES = 4
INDEX_BYTES = 4
LEVELS = 127
"""The largest whole number that is sent: a signed byte's, so that both signs have as many."""
RESIDUAL = "residual"
"""The name under which a client keeps what it has not sent."""

Uniform = Callable[[int], Tensor]
"""From a number of elements to as many fp32 drawn uniformly from [0, 1)."""


def top_k(new: Tensor, old: Tensor, share: float, residual: Tensor | None) -> int:
    """``new`` (n,) fp32 becomes what the server makes of the message; returns the message's bytes.

    max(⌊share·n⌉, 1) elements are sent, those that differ most from ``old``; of equal ones the
    first. ``residual`` (n,) is added before and is afterwards what was not sent: message and
    residual together are the whole change, to the last bit.
    """
    count = min(new.numel(), max(1, rounded(share * new.numel())))
    wanted = new if residual is None else new + residual
    change = wanted - old
    chosen = largest(change.abs(), count)
    if residual is not None:
        residual.copy_(change.masked_fill_(chosen, 0.0))
    new.copy_(torch.where(chosen, wanted, old))
    return sparse_bytes(new.numel(), count)


def largest(values: Tensor, count: int) -> Tensor:
    """(n,) bool: the ``count`` largest of (n,) values; of equal ones the first."""
    if count >= values.numel():
        return torch.ones_like(values, dtype=torch.bool)
    threshold = torch.kthvalue(values, values.numel() - count + 1).values
    chosen = values > threshold
    missing = count - int(chosen.sum())
    chosen[(values == threshold).nonzero().flatten()[:missing]] = True
    return chosen


def sparse_bytes(elements: int, sent: int) -> int:
    """The values sent, and which they are: by their indices or by a bit for each element,
    whichever is shorter; where all are sent, neither."""
    if sent == elements:
        return FLOAT_BYTES * sent
    return FLOAT_BYTES * sent + min(INDEX_BYTES * sent, math.ceil(elements / 8))


def to_bytes(new: Tensor, old: Tensor, block: int, uniform: Uniform) -> int:
    """``new`` (n,) fp32 becomes what the server makes of the message; returns the message's bytes.

    An element x of a block whose largest magnitude is s is sent as ⌊127·x/s + u⌋, u uniform in
    [0, 1), and read as s/127 times that: x on average, and never further off than s/127.
    """
    size = new.numel()
    blocks = math.ceil(size / block)
    change = new.new_zeros(blocks * block, dtype=torch.float64)
    change[:size] = new - old
    rows = change.view(blocks, block)
    scales = rows.abs().amax(dim=1, keepdim=True)
    rows.div_(scales.clamp_min(torch.finfo(torch.float64).tiny)).mul_(LEVELS)
    levels = change[:size].add_(uniform(size).to(change.device)).floor_()
    assert levels.abs().max() <= LEVELS if size else True, "a level that does not fit a byte"
    rows.mul_(scales / LEVELS)
    new.copy_(old + change[:size].float())
    return size + FLOAT_BYTES * blocks


class Compression:
    """A scenario's choice, for clients that send the elements other than ``personal`` (p,) int64.

    Raises SuiteError where it is not defined for the strategy.
    """

    def __init__(self, scenario: Scenario, strategy: Strategy, personal: Tensor) -> None:
        self._choice: Choice = scenario.compression
        self._seed = scenario.seed
        self._personal = personal
        self._shared: Tensor | None = None
        if self.active and (strategy.up > 1 or strategy.private):
            raise _undefined(scenario)

    @property
    def active(self) -> bool:
        """Whether anything is compressed at all."""
        return self._choice.name != "none"

    def begin_state(self, state: State, parameters: Tensor) -> None:
        """Adds what a client keeps before its first round: a residual of zero, where it has one."""
        if self._choice.name == "topk" and self._choice["error_feedback"]:
            state[RESIDUAL] = parameters.new_zeros(parameters.numel() - self._personal.numel())

    def send(self, visit: Visit) -> int:
        """The client's parameters in the model become what the server makes of its message.

        Returns the bytes of the message. Raises OutOfRange where a parameter is not finite.
        """
        parameters, start = visit.parameters, visit.start
        if not self.active:
            return FLOAT_BYTES * (parameters.numel() - self._personal.numel())
        if not math.isfinite(largest_value := magnitude(parameters)):
            raise OutOfRange(f"{largest_value:g}")
        visit.norm = None
        if not self._personal.numel():
            return self._compress(visit, parameters, start)
        if self._shared is None:
            places = torch.ones_like(parameters, dtype=torch.bool)
            self._shared = places.index_fill_(0, self._personal, False).nonzero().flatten()
        new = parameters.index_select(0, self._shared)
        sent = self._compress(visit, new, start.index_select(0, self._shared))
        parameters.index_copy_(0, self._shared, new)
        return sent

    def _compress(self, visit: Visit, new: Tensor, old: Tensor) -> int:
        if self._choice.name == "topk":
            return top_k(new, old, self._choice["share"], visit.state.get(RESIDUAL))
        draw = generator(self._seed, "compression", visit.round, visit.client)
        return to_bytes(
            new, old, self._choice["block"], lambda n: torch.from_numpy(draw.random(n, "float32"))
        )


def _undefined(scenario: Scenario) -> SuiteError:
    return SuiteError(
        f"{scenario.strategy.name} cannot be used with 'compression: {scenario.compression}'",
        expected="compression: none",
        found="a strategy that sends more than one vector, or one whose size is bounded",
        mend="choose another strategy, such as fedavg",
    )
