"""Where the real data sets that are not part of the project stand, if they are here at all."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(name: str) -> Path:
    """``../shared/data/<name>``; skips the calling test, saying so, where it is absent."""
    folder = SHARED / "data" / name
    if not folder.exists():
        pytest.skip(f"../shared/data/{name} is not on this machine")
    return folder


def published(name: str) -> Path:
    """``../shared/published/<name>``; skips the calling test, saying so, where it is absent."""
    file = SHARED / "published" / name
    if not file.exists():
        pytest.skip(f"../shared/published/{name} is not on this machine")
    return file
