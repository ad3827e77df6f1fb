"""Work that makes a great many objects which all stay, as quickly as Python can do it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, no garbage is looked for.

    There is none among modules or scenarios, and Python looks through all of them again and again
    while they become more: a tenth of the time that importing torch takes, a fifth of timm's, a
    tenth of a plan of ten thousand scenarios.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
