"""A team over torch.distributed, as ``torchrun`` starts it: on one machine or several.

Messages go over gloo. Sums on a CPU do too; sums on GPUs go over NCCL where every process has a GPU
to itself, and otherwise through the host.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from bench.errors import WorkerLost, first_line
from bench.federation.team import MEND

WORD = "bench/ended"
"""Where a process leaves word in the store that all of them reach, before it ends."""
PATIENCE = timedelta(days=7)
"""The others wait while the leader decodes images; a death shows by its connection, not by time."""
FIRST_BYTES = 8192
"""Sent of every message in one exchange, its length included; longer ones take a second."""


class DistributedTeam:
    """This process's place among those that torchrun started; joins them."""

    def __init__(self) -> None:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        self._direct = dist.is_nccl_available() and gpus >= local
        backend = "cpu:gloo,cuda:nccl" if self._direct else "gloo"
        self._store, self.rank, self.size = next(rendezvous("env://", timeout=PATIENCE))
        dist.init_process_group(
            backend, store=self._store, rank=self.rank, world_size=self.size, timeout=PATIENCE
        )

    def share(self, message: Any = None) -> Any:
        """The leader's message, to everyone."""
        data = json.dumps(message).encode() if self.rank == 0 else b""
        first = _framed(data)
        self._run(lambda: dist.broadcast(first, 0))
        length = _length(first)
        rest = _tail(data, length)
        if len(rest):
            self._run(lambda: dist.broadcast(rest, 0))
        return json.loads(_text(first, rest, length))

    def gather(self, message: Any) -> list[Any]:
        """Everyone's message, by rank, to everyone."""
        data = json.dumps(message).encode()
        firsts = [torch.empty(FIRST_BYTES, dtype=torch.uint8) for _ in range(self.size)]
        self._run(lambda: dist.all_gather(firsts, _framed(data)))
        lengths = [_length(first) for first in firsts]
        longest = max(lengths)
        rests = [torch.zeros_like(_tail(b"", longest)) for _ in range(self.size)]
        if len(rests[0]):
            own = _tail(data, longest)
            self._run(lambda: dist.all_gather(rests, own))
        parts = zip(firsts, rests, lengths, strict=True)
        return [json.loads(_text(first, rest, length)) for first, rest, length in parts]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces the tensors by their sums over the members, one exchange for each dtype."""
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype and tensor.numel()]
            if alike:
                self._add_up(alike)

    def _add_up(self, tensors: Sequence[Tensor]) -> None:
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        if whole.device.type != "cpu" and not self._direct:
            whole = whole.cpu()
        self._run(lambda: dist.all_reduce(whole))
        start = 0
        for tensor in tensors:
            stop = start + tensor.numel()
            tensor.copy_(whole[start:stop].view(tensor.shape))
            start = stop

    def explain(self, error: Exception) -> None:
        """Leaves word of why this process is about to end, for those who will miss it."""
        word = {"rank": self.rank, "why": first_line(error, named=True)}
        with suppress(RuntimeError):  # the store went with another process: there is nobody to tell
            self._store.set(WORD, json.dumps(word))

    def ended(self) -> WorkerLost | None:
        """What a process that ended left word of; None where none did."""
        try:
            if not self._store.check([WORD]):
                return None
            word = json.loads(self._store.get(WORD))
        except RuntimeError:  # as above
            return None
        return WorkerLost(
            f"worker {word['rank'] + 1} of {self.size} failed", found=word["why"], mend=MEND
        )

    def close(self) -> None:
        """Leaves the others."""
        dist.destroy_process_group()

    def _run(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise self.ended() or WorkerLost(
                "another process of this run is gone",
                where=f"worker {self.rank + 1} of {self.size}",
                found=_in_brief(error),
                mend=f"see why it ended; {MEND}",
            ) from None


def _in_brief(error: RuntimeError) -> str:
    """What gloo found, without the line of its source and its advice."""
    return re.sub(r"^\[[^]]*\] ", "", first_line(error)).split(". ")[0]


def _framed(data: bytes) -> Tensor:
    """(FIRST_BYTES,) uint8: the length, and the message's beginning."""
    head = len(data).to_bytes(8, "little") + data[: FIRST_BYTES - 8]
    return torch.frombuffer(bytearray(head.ljust(FIRST_BYTES, b"\0")), dtype=torch.uint8)


def _length(first: Tensor) -> int:
    return int.from_bytes(bytes(first[:8].tolist()), "little")


def _tail(data: bytes, length: int) -> Tensor:
    """What of a message of that length does not fit the first exchange, zeros behind it."""
    size = max(0, length - (FIRST_BYTES - 8))
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    rest = data[FIRST_BYTES - 8 :].ljust(size, b"\0")
    return torch.frombuffer(bytearray(rest), dtype=torch.uint8)


def _text(first: Tensor, rest: Tensor, length: int) -> bytes:
    return (first[8:].numpy().tobytes() + rest.numpy().tobytes())[:length]
