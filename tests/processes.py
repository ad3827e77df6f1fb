"""``bench`` in a process of its own, with this process's environment."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.tiny_tree import command


def process(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command line and waits for it; for runs of a suite see ``tiny_tree.bench``."""
    return subprocess.run(
        command([str(argument) for argument in arguments]),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=env,
    )
