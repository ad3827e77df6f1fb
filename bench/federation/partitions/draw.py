"""What a partition rule hands back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """An assignment of units to clients, before clients that are too small are filled up."""

    client: NDArray[np.int64]
    """(u,) the client of each unit."""
    text: str
    """What was done, in a clause: says whether sizes are balanced."""
    keyed: bool = False
    """True where the label key decided."""
    least: int = 1
    """Images that every client must have."""
    names: tuple[str, ...] | None = None
    """The clients' names where they have any, such as sites."""
