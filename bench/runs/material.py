"""What a run needs of its data, whatever kind it is: something to learn from, and a judge.

Two kinds implement it: :mod:`bench.runs.radiographs` (a CheXpert tree) and
:mod:`bench.runs.digits` (MNIST).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.data.split import Split
from bench.data.stacked import Images
from bench.federation.partitions.units import Units
from bench.report.drawing import Drawers
from bench.results.run import Run
from bench.suites.scenario import Scenario

Members = Iterable[tuple[str, Callable[[], None]]]
"""(name, load): after ``load()`` the network holds that member's parameters."""


class Models(Protocol):
    """The models that training leaves; a :class:`bench.federation.engine.Federation` is one."""

    def models(self) -> Members:
        """The global model, or one a client where each trained alone."""
        ...

    def personal_models(self) -> Members:
        """One model a client, where clients keep a part of theirs beside a global one."""
        ...


Predict = Callable[[Images], NDArray[np.float32]]
"""(n, size, size) images → (n, o) scores by the network as it stands."""
Progress = Callable[[str, int, int], None]
"""Called with (split, images done, images in all) while images are decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The last judgement of a run, by split."""

    metrics: dict[str, dict[str, Any]]
    """The blocks of run.json."""
    digests: dict[str, str]
    """SHA-256 of the score files."""


class Judge(Protocol):
    """Says how good a scenario's models are, in the figures that its data is measured by."""

    @property
    def split(self) -> str:
        """The split that rounds are judged on."""
        ...

    @property
    def headline(self) -> str:
        """The figure of a round that ``stop_at`` is about: ``mean_auroc`` or ``accuracy``."""
        ...

    def summary(self, members: Members, predict: Predict) -> dict[str, Any]:
        """The figures that a round's line carries."""
        ...

    def final(self, models: Models, predict: Predict, folder: Path) -> Scored:
        """Scores every evaluation split and leaves the scores in ``folder``."""
        ...

    def draw(self, run: Run, drawers: Drawers) -> None:
        """Writes the figures that go with a finished run."""
        ...


class Material(Protocol):
    """Decoded images with their labels, at one size."""

    @property
    def digest(self) -> str:
        """The data's part of a scenario's identity."""
        ...

    @property
    def images(self) -> Images:
        """(n, size, size) the training images."""
        ...

    @property
    def evaluated(self) -> Mapping[str, Images]:
        """The images that a judge has scored, by split; the very arrays it hands out."""
        ...

    def pool(self) -> Split | Units:
        """The training data as partitions take it."""
        ...

    def labels(self, scenario: Scenario) -> NDArray[np.float32]:
        """(n, o) the training labels as the scenario's task takes them."""
        ...

    def unknown(self, scenario: Scenario) -> NDArray[np.bool_] | None:
        """(n, o) the labels nobody looked for, which no blank says anything about; None: none."""
        ...

    def judge(self, scenario: Scenario) -> Judge:
        """Who scores the scenario's models."""
        ...

    def record(self) -> dict[str, Any]:
        """What run.json keeps of the data; no path, which would name somebody's machine."""
        ...

    def notes(self) -> list[str]:
        """What a person should know of it, such as images that were left out."""
        ...


class Data(Protocol):
    """A data set that has been opened: its labels are read, its images need not be decoded."""

    @property
    def name(self) -> str:
        """The data set's name for tables."""
        ...

    @property
    def digest(self) -> str:
        """Its part of a scenario's identity."""
        ...

    @property
    def synthetic(self) -> bool:
        """True where everything that shows it must say so."""
        ...

    @property
    def images(self) -> Mapping[str, int]:
        """Images by split, ``train`` among them."""
        ...

    def pool(self) -> Split | Units:
        """The training data as partitions take it."""
        ...

    def notes(self) -> list[str]:
        """What a person should know of it before anything is made of it."""
        ...

    def prepare(
        self,
        size: int,
        *,
        cache: Path,
        on_bad_image: Literal["fail", "skip"],
        progress: Progress | None = None,
    ) -> Material:
        """Decodes the images at that size; raises DataError where they cannot be had."""
        ...
