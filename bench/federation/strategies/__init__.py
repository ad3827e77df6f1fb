"""The strategies by name: one table, one row each.

A new one is a row in the module it is akin to, its functions beside it, and a test with numbers
worked out by hand; :mod:`bench.suites.catalog` declares its name and parameters.
"""

from bench.federation.strategies import (
    adaptive,
    averaging,
    contrast,
    drift,
    personal,
    private,
    robust,
)
from bench.federation.strategies.strategy import Closing, LocalTrainer, Strategy, Visit

TABLE: dict[str, Strategy] = {
    **averaging.ROWS,
    **adaptive.ROWS,
    **drift.ROWS,
    **personal.ROWS,
    **contrast.ROWS,
    **robust.ROWS,
    **private.ROWS,
}

__all__ = ["TABLE", "Closing", "LocalTrainer", "Strategy", "Visit"]
