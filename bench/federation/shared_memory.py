"""A team of one machine's processes: small messages over sockets, sums in memory they all map.

The leader has a socket to each of the others; closing one, as the kernel does for a process that
dies, is how a death is noticed. Sums are taken in one anonymous piece of memory: everyone writes
its terms into a place of its own, adds up an equal part of all places, and reads the whole.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

HEADER = struct.Struct("<Q")
ALIGNMENT = 64
"""Bytes of a cache line: no two members write to one."""

Lost = Callable[[int], BaseException]
"""Makes what is raised where the member of that rank is gone."""


def anonymous_memory() -> int:
    """A descriptor of memory that has no name and goes with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bench-sums", 0)
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


class SharedMemoryTeam:
    """A member of a team.

    Parameters
    ----------
    links : in the leader, a connected socket for each of the others, by rank; in any other member
        the one to the leader.
    memory : a descriptor of :func:`anonymous_memory`, the same for all.
    lost : what is raised where a member is gone.
    """

    def __init__(
        self, rank: int, size: int, links: Sequence[socket.socket], memory: int, lost: Lost
    ) -> None:
        assert len(links) == (size - 1 if rank == 0 else 1)
        self.rank, self.size = rank, size
        self._links = dict(enumerate(links, start=1)) if rank == 0 else {}
        self._leader = links[0] if rank else None
        self._memory = memory
        self._lost = lost
        self._places: NDArray[np.uint8] = np.empty((size + 1, 0), dtype=np.uint8)
        """(members + 1, bytes) that all members see: a place each, and one for the sums."""

    def share(self, message: Any = None) -> Any:
        """The leader's message, to everyone."""
        if self._leader is not None:
            return json.loads(self._receive(0, self._leader))
        data = json.dumps(message).encode()
        for rank, link in self._links.items():
            self._send(rank, link, data)
        return json.loads(data)

    def gather(self, message: Any) -> list[Any]:
        """Everyone's message, by rank, to everyone."""
        data = json.dumps(message).encode()
        if self._leader is not None:
            self._send(0, self._leader, data)
            return list(json.loads(self._receive(0, self._leader)))
        messages = [data, *(self._receive(rank, link) for rank, link in self._links.items())]
        whole = b"[" + b",".join(messages) + b"]"
        for rank, link in self._links.items():
            self._send(rank, link, whole)
        return list(json.loads(whole))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces the tensors, of a CPU, by their sums over the members; wraps around as int64
        arithmetic does."""
        arrays = [tensor.detach().reshape(-1).numpy() for tensor in tensors]
        starts, length = _layout(arrays)
        self._make_room(length)
        places = self._places
        for start, array in zip(starts, arrays, strict=True):
            _view(places[self.rank], start, array)[:] = array
        self.gather(None)
        for start, array in zip(starts, arrays, strict=True):
            part = slice(*(len(array) * end // self.size for end in (self.rank, self.rank + 1)))
            terms = [_view(place, start, array)[part] for place in places]
            total = terms.pop()
            np.add(terms[0], terms[1], out=total)
            for term in terms[2:]:
                np.add(total, term, out=total)
        self.gather(None)
        for start, array in zip(starts, arrays, strict=True):
            array[:] = _view(places[self.size], start, array)

    def close(self) -> None:
        """Lets go of the others: the leader's going ends them."""
        for link in [*self._links.values(), *([self._leader] if self._leader else [])]:
            link.close()
        self._places = np.empty((self.size + 1, 0), dtype=np.uint8)
        os.close(self._memory)

    def _make_room(self, length: int) -> None:
        """Places of at least that many bytes; they only grow, at the same call in every member."""
        if length <= self._places.shape[1]:
            return
        self.gather(None)  # the places move: everyone must have read the sums before
        os.ftruncate(self._memory, (self.size + 1) * length)
        whole = mmap.mmap(self._memory, (self.size + 1) * length)
        self._places = np.frombuffer(whole, dtype=np.uint8).reshape(self.size + 1, length)

    def _send(self, rank: int, link: socket.socket, data: bytes) -> None:
        try:
            link.sendall(HEADER.pack(len(data)) + data)
        except ConnectionError as error:
            raise self._lost(rank) from error

    def _receive(self, rank: int, link: socket.socket) -> bytes:
        (length,) = HEADER.unpack(self._read(rank, link, HEADER.size))
        return self._read(rank, link, length)

    def _read(self, rank: int, link: socket.socket, length: int) -> bytes:
        data = bytearray(length)
        view, done = memoryview(data), 0
        while done < length:
            try:
                count = link.recv_into(view[done:])
            except ConnectionError as error:
                raise self._lost(rank) from error
            if count == 0:
                raise self._lost(rank)
            done += count
        return bytes(data)


def _layout(arrays: Sequence[NDArray[Any]]) -> tuple[list[int], int]:
    """Where each array starts in a member's place, and the place's length, in bytes."""
    starts, length = [], 0
    for array in arrays:
        starts.append(length)
        length += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return starts, length


def _view(place: NDArray[np.uint8], start: int, like: NDArray[Any]) -> NDArray[Any]:
    """The part of a place that holds an array like that one."""
    return place[start : start + like.nbytes].view(like.dtype)
