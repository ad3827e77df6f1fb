"""A name with its parameters: how a strategy, a partition or an optimiser is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """A name with its parameters, such as ``{name: dirichlet, alpha: 0.3}``.

    ``parameters`` are sorted pairs with every default filled in, so equal choices compare and hash
    equal however they were written.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    def __getitem__(self, key: str) -> Any:
        for name, value in self.parameters:
            if name == key:
                return value
        raise KeyError(f"{self.name} has no parameter {key!r}")

    def row(self) -> dict[str, Any]:
        """``{"name": …, parameter: value, …}`` as it is written in a suite."""
        return {"name": self.name} | {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in self.parameters
        }

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        inner = ", ".join(f"{k}={_written(v)}" for k, v in self.parameters)
        return f"{self.name}({inner})"


def _written(value: Any) -> str:
    """As in a suite, where a flag is ``true`` or ``false``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
