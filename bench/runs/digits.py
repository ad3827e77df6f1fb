"""MNIST as runs take it: trained on the training digits, scored by accuracy on the test digits.

The test digits are what McMahan et al. 2017 measure rounds on; there is no validation split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.mnist import DIGITS, SIDE, MnistSplits
from bench.errors import SuiteError
from bench.federation.partitions.units import Units
from bench.federation.partitions.units import images as image_units
from bench.report.drawing import Drawers
from bench.results.run import Run, scores_file
from bench.runs.material import Members, Models, Predict, Progress, Scored
from bench.scoring.accuracy import accuracy, wilson
from bench.scoring.studies import StudyScores
from bench.suites.scenario import Scenario

NAMES = tuple(str(digit) for digit in range(DIGITS))
CANONICAL = "268d82c2a010f12c7b5ce113138392f920dfa4333fabd944e70b3730e75536f5"
"""The digest of the files that LeCun, Cortes & Burges published."""
PUBLISHED_NAME = "MNIST"
"""What published tables call it; other digits in idx files go by another name."""
OTHER_NAME = "idx digits, not MNIST"
SPLIT = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Idx files that have been read; both what runs open and what they train on."""

    splits: MnistSplits
    synthetic: bool = False

    @property
    def name(self) -> str:
        """``MNIST`` for the published files, by their digest; else that they are others."""
        return PUBLISHED_NAME if self.splits.digest == CANONICAL else OTHER_NAME

    @property
    def digest(self) -> str:
        """Over the unpacked files."""
        return self.splits.digest

    @property
    def images(self) -> dict[str, int]:
        """Images by split."""
        return {"train": len(self.splits.train_labels), SPLIT: len(self.splits.test_labels)}

    def pool(self) -> Units:
        """Single images, each with its digit."""
        return image_units(self.splits.train_labels, NAMES)

    def notes(self) -> list[str]:
        """None."""
        return []

    def prepare(
        self,
        size: int,
        *,
        cache: Path,
        on_bad_image: Literal["fail", "skip"],
        progress: Progress | None = None,
    ) -> DigitMaterial:
        """The images as they are: nothing to decode, and no other size than 28.

        Raises SuiteError where another size is asked for.
        """
        if size != SIDE:
            raise SuiteError(
                "MNIST's images have one size",
                expected=f"image_size: {SIDE}",
                found=f"image_size: {size}",
                mend=f"-s image_size={SIDE}",
            )
        return DigitMaterial(data=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitMaterial:
    """MNIST in memory."""

    data: Digits

    @property
    def digest(self) -> str:
        """Over the unpacked files."""
        return self.data.digest

    @property
    def images(self) -> NDArray[np.uint8]:
        """(60000, 28, 28) the training images."""
        return self.data.splits.train_images

    @property
    def evaluated(self) -> dict[str, NDArray[np.uint8]]:
        """The test images."""
        return {SPLIT: self.data.splits.test_images}

    def pool(self) -> Units:
        """Single images, each with its digit."""
        return self.data.pool()

    def labels(self, scenario: Scenario) -> NDArray[np.float32]:
        """(n, 1) the digits."""
        return self.data.splits.train_labels.astype(np.float32)[:, None]

    def unknown(self, scenario: Scenario) -> None:
        """None: every image has its digit."""

    def judge(self, scenario: Scenario) -> DigitJudge:
        """Scores accuracy on the test digits."""
        return DigitJudge(self.data.splits.test_images, self.data.splits.test_labels)

    def record(self) -> dict[str, Any]:
        """What run.json keeps of the data."""
        return {
            "name": self.data.name,
            "digest": self.data.digest,
            "synthetic": False,
            "ideal_auroc": None,
            "splits": {name: {"images": n} for name, n in self.data.images.items()},
        }

    def notes(self) -> list[str]:
        """Nothing: every image is there or the files are refused."""
        return []


class DigitJudge:
    """Accuracy on the test images; of several members, the mean of theirs."""

    split = SPLIT
    headline = "accuracy"

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._images = images
        self._labels = labels

    def summary(self, members: Members, predict: Predict) -> dict[str, Any]:
        """``accuracy``."""
        _, scores = self._scores(members, predict)
        return {"accuracy": self._accuracy(scores)}

    def final(self, models: Models, predict: Predict, folder: Path) -> Scored:
        """Scores the test images and keeps their ten probabilities.

        The file is of the same form as that of a CheXpert run: an image is a study, a digit an
        observation.
        """
        names, scores = self._scores(models.models(), predict)
        share, n = self._accuracy(scores), len(self._labels)
        block: dict[str, Any] = {
            "level": "image",
            "views": None,
            "n": n,
            "members": len(names),
            "accuracy": share,
            "ci": list(wilson(share, n)),
            "observations": {},
            "mean_auroc": None,
            "mean_ci": None,
            "mean_over": [],
        }
        personal = list(models.personal_models())
        if personal:
            own, theirs = self._scores(personal, predict)
            alone = [accuracy(self._labels, member) for member in theirs]
            block["personal"] = {
                "accuracy": float(np.mean(alone)),
                "clients": dict(zip(own, alone, strict=True)),
            }
        ids = np.array([f"{number:05d}" for number in range(n)], dtype=np.str_)
        kept = StudyScores(
            studies=ids,
            patients=ids,
            observations=NAMES,
            labels=np.eye(DIGITS, dtype=np.float32)[self._labels],
            scores=scores,
            members=tuple(names),
        )
        return Scored(
            metrics={SPLIT: block}, digests={SPLIT: kept.save(folder / scores_file(SPLIT))}
        )

    def draw(self, run: Run, drawers: Drawers) -> None:
        """Nothing: there is no ROC curve of ten exclusive classes."""

    def _scores(self, members: Members, predict: Predict) -> tuple[list[str], NDArray[np.float32]]:
        """The members' names and their (m, n, 10) probabilities."""
        names, scores = [], []
        for name, load in members:
            load()
            scores.append(predict(self._images))
            names.append(name)
        return names, np.stack(scores)

    def _accuracy(self, scores: NDArray[np.float32]) -> float:
        return float(np.mean([accuracy(self._labels, member) for member in scores]))
