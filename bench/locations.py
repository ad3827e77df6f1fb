"""Where things are kept: what ships with ``bench``, the cache, and the data a run is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def shipped(kind: Literal["baselines", "suites"]) -> Path:
    """The folder of that kind: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


def cache_folder() -> Path:
    """``$BENCH_CACHE``, else ``bench`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Holds packed images and the embedded phantom; anything in it can be deleted.
    """
    own = os.environ.get("BENCH_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "bench"
