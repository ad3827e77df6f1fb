"""Processes that train one scenario together: what a round needs of them, and nothing else.

Every member runs the same code over the same data and holds the same global model; it trains its
share of a round's clients. Member 0, the leader, is the one a person sees: it decides what is done
next, writes and prints. Three teams do this:

- :data:`ALONE`: one process;
- :class:`~bench.federation.shared_memory.SharedMemoryTeam`: one machine's (``--workers``);
- :class:`~bench.federation.distributed.DistributedTeam`: torch.distributed's (``torchrun``).

Messages are JSON, never pickle; numbers of a model travel as integers and are only ever added, so
the members end at the same bits whatever their number.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import bench.errors
from bench.errors import BenchError, ScenarioFailed, WorkerLost

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
MEND = "the same command carries on from the last checkpoint"
"""What to do where a member was lost."""
EVERYWHERE = "every member has given up"
"""Marks an error that :func:`together` raised: nobody waits for the member that raises it."""


class Team(Protocol):
    """The members, as one of them sees them. Every member makes the same calls in the same order.

    All raise WorkerLost in the leader, and end any other member, where a member is gone.
    """

    @property
    def rank(self) -> int:
        """This member's number; 0 leads."""
        ...

    @property
    def size(self) -> int:
        """How many they are."""
        ...

    def share(self, message: Any = None) -> Any:
        """The leader's message, to everyone; what the others pass is not looked at."""
        ...

    def gather(self, message: Any) -> list[Any]:
        """Everyone's message, by rank, to everyone; what JSON can hold."""
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces int32 or int64 tensors by their sums over the members, in one exchange."""
        ...

    def close(self) -> None:
        """Leaves the others."""
        ...


class Alone:
    """A team of one: nothing is sent."""

    rank = 0
    size = 1

    def share(self, message: Any = None) -> Any:
        """The message."""
        return message

    def gather(self, message: Any) -> list[Any]:
        """The message alone."""
        return [message]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """They are their own sums."""

    def close(self) -> None:
        """There is nobody to leave."""


ALONE = Alone()


class Abandoned(Exception):
    """Work stopped because some member failed; the leader has the reason."""


def together(team: Team, work: Callable[[], T]) -> list[T]:
    """Every member does its ``work``, in which it sends nothing; the results by rank, to everyone.

    Where it fails at any member the leader raises that error (the lowest rank's) and all others
    raise :class:`Abandoned`, so that none waits for one that has given up.
    """
    if team.size == 1:
        return [work()]
    failure: Exception | None = None
    try:
        message: dict[str, Any] = {"result": work()}
    except WorkerLost:
        raise
    except Exception as error:
        failure = error
        message = {"error": _described(error)}
    told = team.gather(message)
    failed = next((rank for rank, one in enumerate(told) if "error" in one), None)
    if failed is None:
        return [one["result"] for one in told]
    if team.rank != 0:
        raise Abandoned
    reason = failure if failed == 0 else _rebuilt(told[failed]["error"], failed)
    assert reason is not None
    vars(reason)[EVERYWHERE] = True
    raise reason


def given_up_everywhere(error: Exception) -> bool:
    """Whether all members know of the error, so that the next order finds them waiting for one."""
    return isinstance(error, ScenarioFailed) or EVERYWHERE in vars(error)


def spread(team: Team, owner: int, tensors: Sequence[Tensor]) -> None:
    """Copies the owner's fp32 or integer tensors into everyone's, bit for bit."""
    if team.size == 1:
        return
    if team.rank != owner:
        for tensor in tensors:
            tensor.zero_()
    team.add_up(integers(tensors))


def integers(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same memory, fp32 as the int32 of its bits: added to zeros, it arrives as it is."""
    import torch

    return [t.view(torch.int32) if t.dtype == torch.float32 else t for t in tensors]


def longest_first(work: Mapping[int, float], members: int) -> dict[int, int]:
    """Who does what: each piece of ``work``, by its length the longest first, goes to the member
    that has least so far (Graham 1969: at most 4/3 of the best possible time).

    Of equals the lower number comes first, so every member finds the same.
    """
    load = [0.0] * members
    homes: dict[int, int] = {}
    for piece in sorted(work, key=lambda piece: (-work[piece], piece)):
        member = min(range(members), key=lambda m: (load[m], m))
        homes[piece] = member
        load[member] += work[piece]
    return homes


def _described(error: Exception) -> dict[str, Any]:
    """An error as JSON: its class and parts where it is one for people, else its traceback."""
    if isinstance(error, BenchError):
        parts = {k: getattr(error, k) for k in ("what", "where", "expected", "found", "mend")}
        return {"class": type(error).__name__, "parts": parts}
    if isinstance(error, OSError) and error.errno is not None:
        place = None if error.filename is None else str(error.filename)
        return {"errno": error.errno, "strerror": error.strerror, "filename": place}
    return {
        "type": type(error).__name__,
        "text": str(error),
        "trace": "".join(traceback.format_exception(error)),
    }


def _rebuilt(told: Mapping[str, Any], rank: int) -> Exception:
    """The inverse of :func:`_described`; what no one foresaw keeps its traceback as a note."""
    if "class" in told:
        kind = getattr(bench.errors, told["class"], BenchError)
        parts = dict(told["parts"])
        error: Exception = kind(parts.pop("what"), **parts)
        return error
    if "errno" in told:
        return OSError(told["errno"], told["strerror"], told["filename"])
    surprise = RuntimeError(f"{told['type']}: {told['text']}")
    surprise.add_note(f"It was raised in worker {rank + 1}:\n{told['trace']}")
    return surprise
