"""How much memory there is, and the most that a piece of work had."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to ``clear_refs``, sets the process's high-water mark to what it holds (proc(5))."""
LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux keeps a container's limit, control groups of version 2 and 1."""


def available_bytes(device: torch.device) -> int:
    """Bytes that can be had on the device without swapping, a container's limit included."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    held = int(psutil.Process().memory_info().rss)
    return min([free, *(max(0, limit - held) for limit in _limits())])


def _limits() -> list[int]:
    found = []
    for name in LIMIT_FILES:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():  # "max" sets no limit
            found.append(int(text))
    return found


class PeakMemory:
    """Between :meth:`start` and :meth:`bytes`, the most memory that was held.

    On a GPU, bytes of tensors of this process (``torch.cuda.max_memory_allocated``) but for
    ``others``. On a CPU, the resident set's high-water mark, the interpreter and the libraries
    included; where the system cannot reset it, that of the whole process so far.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._others = 0
        self.kind = "cuda-allocated" if device.type == "cuda" else "rss-process"

    def start(self, own_bytes: int = 0) -> None:
        """``own_bytes`` of what is allocated belong to the work; the rest on a GPU does not."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._others = max(0, torch.cuda.memory_allocated(self._device) - own_bytes)
            return
        _give_back_freed()
        try:
            CLEAR.write_text(RESET_PEAK)
            self.kind = "rss-row"
        except OSError:
            self.kind = "rss-process"

    def bytes(self) -> int:
        """The high-water mark."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device)) - self._others
        if self.kind == "rss-row":
            for line in STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _give_back_freed() -> None:
    """The allocator keeps freed memory for the next step; a row must not be charged for it."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
