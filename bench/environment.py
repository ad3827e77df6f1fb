"""What a run was computed with: the machine, the versions and the state of the source."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import __version__
from bench.errors import UsageError

DEVICE = re.compile(r"cpu|cuda(:[0-9]+)?")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow")
"""The packages whose version can change a run's numbers."""
CPUINFO = Path("/proc/cpuinfo")
"""Where Linux describes its processors."""


def check_device_name(asked: str) -> None:
    """Raises UsageError unless it is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Whether there is such a device only torch can say.
    """
    if asked != "auto" and not DEVICE.fullmatch(asked):
        raise UsageError(f"unknown device '{asked}'", expected="auto, cpu, cuda or cuda:N")


def cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def granted_cores() -> int:
    """So many of them as the container's quota grants: what is worth sharing out."""
    return min(cores(), quota() or cores())


def quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Whole processors a Linux control group grants; None where it sets no limit."""
    try:
        share, period = file.read_text().split()
        return None if share == "max" else max(1, int(share) // int(period))
    except (OSError, ValueError):
        return None


def machine(gpu: str | None) -> dict[str, Any]:
    """The hardware: runs are bit-comparable, and their speeds comparable, where this is equal."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def made_by_intel() -> bool:
    """Whether the processor is Intel's: for others MKL has slower kernels than oneDNN."""
    return "GenuineIntel" in (_cpuinfo().get("vendor_id") or platform.processor())


def versions() -> dict[str, str | None]:
    """Python's, bench's and the numerical packages' versions; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "bench": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def git_state() -> dict[str, Any]:
    """The commit of the source that is running and whether it was changed; None outside git."""
    here = Path(__file__).resolve().parent
    unknown: dict[str, Any] = {"commit": None, "dirty": None}
    if not (here.parent / ".git").exists():
        return unknown
    try:
        commit = _git(here, "rev-parse", "HEAD")
        dirty = _git(here, "status", "--porcelain", "--untracked-files=no", "--", here.name)
    except (OSError, subprocess.SubprocessError):
        return unknown
    return {"commit": commit, "dirty": bool(dirty)}


def _git(here: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(here.parent), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def _processor() -> str:
    """The name with family, model and stepping: virtual machines give many processors one name."""
    known = _cpuinfo()
    if "model name" not in known:
        return platform.processor() or platform.machine()
    numbers = [f"{key} {known[key]}" for key in ("cpu family", "model", "stepping") if key in known]
    return ", ".join([known["model name"], *numbers])


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; nothing elsewhere."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    return {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in first.splitlines())
    }


def _memory_gib() -> int:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return round(pages * size / 2**30)
