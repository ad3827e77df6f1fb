"""What ``bench throughput`` was asked to measure, checked before anything is built."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.errors import UsageError

T = TypeVar("T")

PRECISIONS = ("auto", "fp32", "bf16")
STEPS = ("auto", "eager", "graph", "compiled")
"""How steps are executed; ``auto`` is a graph on a GPU and eager on a CPU."""
LARGEST_SIDE = 4096
"""Pixels; radiographs as they leave the detector are no larger."""
LARGEST_BATCH = 65_536
MOST_CLIENTS = 100_000
LONGEST_SECONDS = 600.0
MCMAHAN_SIDE = 28
"""The only side that ``2nn`` and ``mcmahan-cnn`` take."""
DEFAULT_SIDE = {"cpu": 64, "cuda": 320}
"""320 is CheXpert's published setting; on a CPU it takes seconds a step."""
DEFAULT_BATCHES = {"cpu": (16, 32), "cuda": (16, 32, 64, 128, 256)}
DEFAULT_BACKBONE = "densenet121"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table."""

    backbone: str
    image_size: int
    batch: int
    precision: str
    """``fp32``, ``bf16`` or ``auto``."""
    step: str = "auto"
    """``auto``, ``eager``, ``graph`` or ``compiled``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure, and for how long. Empty lists take the device's defaults."""

    backbones: tuple[str, ...] = (DEFAULT_BACKBONE,)
    image_sizes: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ("auto",)
    steps: tuple[str, ...] = ("auto",)
    """How steps are executed."""
    clients: int = 5
    """Clients of the federated round; 0 measures none."""
    seconds: float = 3.0
    """Measured for each of training, inference and the federated round of a row."""

    def settings(self, device_type: str) -> list[Setting]:
        """Every combination, in order; the batches of one network stand together."""
        return [
            Setting(backbone=backbone, image_size=size, batch=batch, precision=precision, step=step)
            for backbone in self.backbones
            for size in self.image_sizes or (_default_side(backbone, device_type),)
            for precision in self.precisions
            for step in self.steps
            for batch in self.batches or DEFAULT_BATCHES[device_type]
        ]


def read_request(
    *,
    backbones: Sequence[str] = (),
    image_sizes: Sequence[str] = (),
    batches: Sequence[str] = (),
    precisions: Sequence[str] = (),
    steps: Sequence[str] = (),
    clients: int = 5,
    seconds: float = 3.0,
) -> Request:
    """The command line's words as a request; a list is given by commas or by repetition.

    Raises UsageError for what is not a number in its range, or no precision or step.
    """
    if not 0 <= clients <= MOST_CLIENTS:
        raise UsageError(
            "--clients is out of range",
            expected=f"0 (no federated round) to {MOST_CLIENTS}",
            found=str(clients),
        )
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_SECONDS):
        raise UsageError(
            "--seconds is out of range",
            expected=f"more than 0, at most {LONGEST_SECONDS:.0f}",
            found=str(seconds),
        )
    return Request(
        backbones=_unique(_split(backbones) or [DEFAULT_BACKBONE]),
        image_sizes=_unique(_counts(image_sizes, "--image-size", LARGEST_SIDE)),
        batches=_unique(_counts(batches, "--batch", LARGEST_BATCH)),
        precisions=_words(precisions, "precision", PRECISIONS),
        steps=_words(steps, "step", STEPS),
        clients=clients,
        seconds=seconds,
    )


def _default_side(backbone: str, device_type: str) -> int:
    if backbone in ("2nn", "mcmahan-cnn"):
        return MCMAHAN_SIDE
    return DEFAULT_SIDE[device_type]


def _split(words: Sequence[str]) -> list[str]:
    return [part for word in words for part in re.split(r"[,\s]+", word.strip()) if part]


def _words(given: Sequence[str], what: str, known: Sequence[str]) -> tuple[str, ...]:
    """The words, each one of ``known``; ``auto`` where there are none."""
    words = _split(given) or ["auto"]
    for word in words:
        if word not in known:
            raise UsageError(f"unknown {what} '{word}'", expected=", ".join(known), found=word)
    return _unique(words)


def _counts(words: Sequence[str], option: str, most: int) -> list[int]:
    """The words as whole numbers from 1 to ``most``."""
    numbers = []
    for word in _split(words):
        if not (word.isascii() and word.isdecimal() and 1 <= int(word) <= most):
            raise UsageError(
                f"{option} takes whole numbers from 1 to {most}",
                found=word,
                mend=f"several are written {option} 16,32 or {option} 16 {option} 32",
            )
        numbers.append(int(word))
    return numbers


def _unique(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
