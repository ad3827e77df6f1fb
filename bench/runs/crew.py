"""The processes of one command: this one alone, those that ``--workers`` starts, or torchrun's.

Of several, one leads: the one that a person sees. It starts the others when there is something to
train, tells them when it is done, and takes them with it however it ends. Those it started notice
its end by their socket; it notices theirs by SIGCHLD.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, Self

from bench.errors import UsageError, WorkerLost
from bench.federation.team import ALONE, MEND, Team

if TYPE_CHECKING:
    from bench.federation.distributed import DistributedTeam

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets."""
GRACE_SECONDS = 5.0
"""Time for the others to end by themselves after they were told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where this process stands among those of the command on its machine."""

    number: int = 0
    processes: int = 1
    torchrun: bool = False
    """Whether each takes a GPU of its own, where there are GPUs."""


ALONE_HERE = Place()


@dataclass(slots=True)
class _Started:
    """A process that this one started."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    """What it wrote to standard error."""


def by_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several that are to join over torch.distributed."""
    told = [environment.get(name) for name in VARIABLES]
    return all(told) and environment["WORLD_SIZE"] not in ("0", "1")


@dataclass(slots=True)
class Crew:
    """Used as a context: what was started is gone when it ends.

    Raises UsageError where ``workers`` are asked for under torchrun.
    """

    workers: int = 1
    _team: Team | None = None
    _distributed: DistributedTeam | None = None
    """The same, where it is torchrun's."""
    _started: list[_Started] = field(default_factory=list)
    _watching: bool = False
    _before: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that a person sees."""
        return not by_torchrun() or int(os.environ["RANK"]) == 0

    @property
    def place(self) -> Place:
        """Where this process stands on its machine."""
        if not by_torchrun():
            return Place(processes=self.workers)
        size = os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
        number = os.environ.get("LOCAL_RANK", os.environ["RANK"])
        return Place(number=int(number), processes=int(size), torchrun=True)

    def __enter__(self) -> Self:
        if by_torchrun():
            if self.workers > 1:
                raise UsageError(
                    "--workers cannot be used under torchrun",
                    expected="one of them: torchrun has started the processes already",
                    found=f"--workers {self.workers} and {os.environ['WORLD_SIZE']} processes",
                    mend="leave --workers out",
                )
            self.enrol()  # at once: the others wait for it
        return self

    def __exit__(self, *_: object) -> None:
        self._watch(False)
        for started in self._started:
            started.process.kill()
            started.process.wait()
            started.errors.close()
        self._started.clear()
        if self._team is not None:
            self._team.close()
        self._team = self._distributed = None

    def enrol(self) -> Team:
        """The team; the first call starts the other processes, or joins them."""
        if self._team is None:
            if by_torchrun():
                from bench.federation.distributed import DistributedTeam

                self._team = self._distributed = DistributedTeam()
            else:
                self._team = ALONE if self.workers == 1 else self._start()
        return self._team

    def explain(self, error: Exception) -> None:
        """Leaves word of why this process, one of torchrun's, is about to end."""
        if self._distributed is not None:
            self._distributed.explain(error)

    def ended(self) -> WorkerLost | None:
        """The process that made torchrun end all of them, where one left word of why it failed."""
        return None if self._distributed is None else self._distributed.ended()

    def dismiss(self) -> None:
        """Tells the others, who wait for an order, that there is none left, and lets them end."""
        if self._team is None or self._team.size == 1:
            return
        self._watch(False)
        self._team.share(None)
        for started in self._started:
            try:
                started.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                started.process.kill()

    def _start(self) -> Team:
        from bench.federation.shared_memory import SharedMemoryTeam, anonymous_memory

        memory = anonymous_memory()
        links = []
        self._watch(True)
        for rank in range(1, self.workers):
            ours, theirs = socket.socketpair()
            links.append(ours)
            numbers = (rank, self.workers, theirs.fileno(), memory)
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the crew ends
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.runs.member", *map(str, numbers)],
                pass_fds=numbers[2:],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,  # Ctrl-C is for the leader, also while this one starts
            )
            theirs.close()
            self._started.append(_Started(process, errors))
        return SharedMemoryTeam(0, self.workers, links, memory, self._lost)

    def _watch(self, on: bool) -> None:
        """Has the end of a process interrupt whatever the leader is doing."""
        if threading.current_thread() is not threading.main_thread() or on == self._watching:
            return
        self._watching = on
        if on:
            self._before = signal.signal(signal.SIGCHLD, self._child_changed)
        else:
            signal.signal(signal.SIGCHLD, self._before)

    def _child_changed(self, number: int, frame: FrameType | None) -> None:
        for rank, started in enumerate(self._started, start=1):
            if self._watching and started.process.poll() is not None:
                self._watch(False)
                raise self._lost(rank)

    def _lost(self, rank: int) -> WorkerLost:
        self._watch(False)
        started = self._started[rank - 1]
        try:
            code: int | None = started.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        return WorkerLost(
            f"worker {rank + 1} of {self.workers} is gone", found=_ending(code, started), mend=MEND
        )


def _ending(code: int | None, started: _Started) -> str:
    """How a process ended, and the last it said."""
    if code is None:
        return "it no longer answers"
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    started.errors.seek(0)
    said = started.errors.read().decode(errors="replace").strip()
    return f"exit code {code}" + (f"\n{said}" if said else "")
