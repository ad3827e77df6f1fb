"""A team whose members are threads of this process: real sockets, real shared memory, no start."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from bench.errors import WorkerLost
from bench.federation.shared_memory import SharedMemoryTeam, anonymous_memory
from bench.federation.team import ALONE, Team

T = TypeVar("T")


def lost(rank: int) -> WorkerLost:
    return WorkerLost(f"member {rank} is gone")


def run_team(size: int, member: Callable[[Team], T]) -> list[T]:
    """What ``member`` returns in each of ``size`` threads, by rank; raises what one raised."""
    if size == 1:
        return [member(ALONE)]
    found: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    pairs = [socket.socketpair() for _ in range(size - 1)]
    memory = anonymous_memory()

    def run(rank: int) -> None:
        links = [pair[0] for pair in pairs] if rank == 0 else [pairs[rank - 1][1]]
        with closing(SharedMemoryTeam(rank, size, links, os.dup(memory), lost)) as team:
            try:
                found[rank] = member(team)
            except BaseException as error:
                errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a member waits for ever"
    os.close(memory)
    if errors:
        raise errors[min(errors)]
    return [found[rank] for rank in range(size)]
