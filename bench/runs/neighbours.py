"""What other programs leave of this machine's cores.

Threads that compute one step wait for each other again and again, so one that has to share its core
holds up all. DenseNet121 at 64 px on two cores, of which something else keeps one busy: 33 to 47
images/s with one thread, 6 to 19 with two.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
IDLE, WAITING, GUEST = 3, 4, 8
"""Where these times stand in Linux's ``/proc/stat``; guests' are in others already. Time that a
hypervisor stole counts as busy: nobody here had it."""
SHORTEST = 0.5
"""Seconds that have to be watched for a figure."""
NEARLY = 0.5
"""Of a core, that may be missing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds, since whenever they are counted from."""

    at: float
    busy: float
    """Of all cores, for any program."""
    own: float
    """Of all cores, for this process and the children that have ended."""


class Neighbours:
    """Watches from when it is made; on systems without ``/proc/stat`` it sees nothing."""

    def __init__(self) -> None:
        self._first = _sample()

    def busy(self) -> float | None:
        """How many cores other programs kept busy, on average; None where that is not known."""
        last = _sample()
        if self._first is None or last is None or last.at - self._first.at < SHORTEST:
            return None
        others = (last.busy - self._first.busy) - (last.own - self._first.own)
        return max(0.0, others / (last.at - self._first.at))

    def warning(self, threads: int) -> str | None:
        """What to say to a person where so many ``threads`` will wait for cores that others use;
        None where they will not."""
        busy, cores = self.busy(), os.cpu_count() or 1
        if busy is None or threads == 1 or threads <= cores - busy + NEARLY:
            return None
        fewer = max(1, int(cores - busy + NEARLY))
        return (
            f"other programs keep {busy:.1f} of {cores} cores busy, and {threads} threads wait for "
            f"each other at every step: --threads {fewer} may be several times as fast"
        )


def _sample() -> Sample | None:
    try:
        fields = STAT.read_text().split("\n", 1)[0].split()[1:]
        ticks = [int(field) for field in fields[:GUEST]]
    except (OSError, ValueError):
        return None
    busy = sum(ticks) - ticks[IDLE] - ticks[WAITING]
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return Sample(at=time.monotonic(), busy=busy / os.sysconf("SC_CLK_TCK"), own=own)
