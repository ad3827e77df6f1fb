"""The names that networks go by, known without importing timm, which takes seconds."""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import did_you_mean
from bench.suites.kinds import Mismatch, Text
from bench.suites.wording import enumerated

OWN = ("densenet-tiny", "2nn", "mcmahan-cnn")
"""Networks that timm has not, and nobody has published weights of."""
BUILT = (*OWN, "densenet121", "densenet161", "densenet169", "densenet201")
"""Those that are built here, without timm."""
WHAT_THERE_IS = enumerated(["a model of timm", *(f"'{name}'" for name in OWN)])
_REGISTERED = re.compile(rb"^@register_model\s+def (\w+)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BackboneName:
    """The name of a network that there is."""

    _text = Text(WHAT_THERE_IS, r"[A-Za-z0-9][A-Za-z0-9_.\-/:]*")

    def read(self, value: Any) -> str:
        name = self._text.read(value)
        if not is_known(name):
            raise Mismatch(
                what=f"unknown backbone '{name}'", expected=self.words(), mend=near(name)
            )
        return name

    def words(self) -> str:
        return self._text.words()

    def schema(self) -> dict[str, Any]:
        return self._text.schema()


@functools.cache
def is_known(name: str) -> bool:
    """Whether there is such a network. What timm has behind a dot names weights, and is not looked
    at.

    timm's sources say which functions it registers; of a name that is not among them, such as one
    that timm still takes for another, timm itself is asked. Where timm is not installed, or its
    sources are not there, every name may be right.
    """
    model = name.split(".")[0]
    if name in BUILT or model in (registered := _registered()) or not registered:
        return True
    import timm

    return bool(timm.is_model(model))


def near(name: str) -> str | None:
    """What may have been meant."""
    return did_you_mean(name, [*sorted(_registered()), *BUILT])


@functools.cache
def _registered() -> frozenset[str]:
    """The names of timm's models."""
    found = importlib.util.find_spec("timm")
    folders = [Path(p) / "models" for p in (found and found.submodule_search_locations) or ()]
    files = [file.read_bytes() for folder in folders for file in folder.glob("*.py")]
    return frozenset(name.decode() for text in files for name in _REGISTERED.findall(text))
