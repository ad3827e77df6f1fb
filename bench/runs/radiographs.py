"""A CheXpert tree as runs take it: images decoded once for all scenarios, scored per study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.joining import unmentioned_cells
from bench.data.pack import pack
from bench.data.split import Split, Tree
from bench.errors import DataError
from bench.results.run import Run, scores_file
from bench.runs.evaluation import metrics_of, personal_of, score_members, summary_of
from bench.runs.material import Members, Models, Predict, Progress, Scored
from bench.scoring.studies import StudyScores
from bench.suites.scenario import Scenario

JUDGED = "valid"
"""The split that rounds are judged on: the test split is for the end."""
EVALUATED: tuple[str, ...] = (JUDGED, "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A split with its decoded images; row i of one is row i of the other."""

    split: Split
    images: NDArray[np.uint8]
    """(n, size, size) grey, memory-mapped."""
    skipped: int
    """Images that could not be read and were left out (``--on-bad-image skip``)."""

    def counts(self) -> dict[str, int]:
        """What run.json keeps of a split."""
        return {
            "images": len(self.split),
            "studies": len(self.split.studies),
            "patients": len(self.split.patients),
            "skipped": self.skipped,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiographs:
    """A data tree at one image size."""

    tree: Tree
    size: int
    splits: dict[str, Labelled]

    @property
    def digest(self) -> str:
        """The tree's."""
        return self.tree.digest

    @property
    def images(self) -> NDArray[np.uint8]:
        """(n, size, size) the training images."""
        return self.splits["train"].images

    def pool(self) -> Split:
        """The training split: its patients are divided."""
        return self.splits["train"].split

    def labels(self, scenario: Scenario) -> NDArray[np.float32]:
        """(n, o) the labels of the scenario's observations."""
        split = self.pool()
        columns = [split.observations.index(name) for name in scenario.observations]
        return split.labels[:, columns]

    def unknown(self, scenario: Scenario) -> NDArray[np.bool_] | None:
        """(n, o) the observations that an image's site never labels; None for one tree."""
        if not self.tree.sites:
            return None
        split = self.pool()
        columns = [split.observations.index(name) for name in scenario.observations]
        cells = unmentioned_cells(split)[:, columns]
        return cells if cells.any() else None

    def judge(self, scenario: Scenario) -> StudyJudge:
        """Scores studies by AUROC on ``valid``, and at the end on ``test`` where there is one."""
        return StudyJudge(scenario, {n: self.splits[n] for n in EVALUATED if n in self.splits})

    def record(self) -> dict[str, Any]:
        """What run.json keeps of the data."""
        return {
            "name": self.tree.name,
            "digest": self.tree.digest,
            "synthetic": self.tree.synthetic,
            "ideal_auroc": self.tree.ideal_auroc,
            "splits": {name: part.counts() for name, part in self.splits.items()},
        }

    def notes(self) -> list[str]:
        """How many images were left out, by split."""
        return [
            f"{name}: {part.skipped:,} images that could not be read are left out"
            for name, part in self.splits.items()
            if part.skipped
        ]


class StudyJudge:
    """AUROC per observation and their competition mean, over studies."""

    split = JUDGED
    headline = "mean_auroc"

    def __init__(self, scenario: Scenario, splits: Mapping[str, Labelled]) -> None:
        self._scenario = scenario
        self._splits = splits

    def summary(self, members: Members, predict: Predict) -> dict[str, Any]:
        """``mean_auroc`` and ``auroc`` by observation."""
        return summary_of(self._scores(JUDGED, members, predict))

    def final(self, models: Models, predict: Predict, folder: Path) -> Scored:
        """Scores every split and keeps the scores of every study.

        Where clients have models of their own beside the global one, ``personal`` holds how those
        score on the same studies: the mean over clients, and each client's mean over the tasks.
        """
        metrics, digests = {}, {}
        for name in self._splits:
            scored = self._scores(name, models.models(), predict)
            digests[name] = scored.save(folder / scores_file(name))
            metrics[name] = metrics_of(scored, self._scenario.views)
            personal = list(models.personal_models())
            if personal:
                metrics[name]["personal"] = personal_of(self._scores(name, personal, predict))
        return Scored(metrics=metrics, digests=digests)

    def draw(self, run: Run) -> None:
        """Writes the run's ROC figures, the paper's AUROCs in their legends."""
        from bench.comparison.captions import captions
        from bench.report.roc import draw_run

        for split in run.metrics:
            draw_run(run, split, captions(run, split))

    def _scores(self, name: str, members: Members, predict: Predict) -> StudyScores:
        part = self._splits[name]
        scenario = self._scenario
        return score_members(
            members, predict, part.split, part.images, scenario.observations, scenario.views
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiographData:
    """A tree whose label files have been read."""

    tree: Tree

    @property
    def name(self) -> str:
        """The tree's."""
        return self.tree.name

    @property
    def digest(self) -> str:
        """The tree's."""
        return self.tree.digest

    @property
    def synthetic(self) -> bool:
        """True for the phantom."""
        return self.tree.synthetic

    @property
    def images(self) -> dict[str, int]:
        """Rows of the label files, by split."""
        return {name: len(split) for name, split in self.tree.splits.items()}

    def pool(self) -> Split:
        """The training split: its patients are divided."""
        return self.tree.splits["train"]

    def prepare(
        self,
        size: int,
        *,
        cache: Path,
        on_bad_image: Literal["fail", "skip"],
        progress: Progress | None = None,
    ) -> Radiographs:
        """Packs every split of the tree at that size and pairs the images with their labels.

        Raises DataError where an image cannot be read (unless skipped), or where there is nothing
        to train on or to score.
        """
        splits: dict[str, Labelled] = {}
        for name, split in self.tree.splits.items():
            if len(split) == 0:
                continue
            report = None if progress is None else _bound(progress, name)
            packed = pack(split, size=size, cache=cache, on_bad_image=on_bad_image, progress=report)
            kept = split if len(packed.rows) == len(split) else split.take(packed.rows)
            splits[name] = Labelled(split=kept, images=packed.images, skipped=len(packed.skipped))
        for name in ("train", JUDGED):
            if name not in splits or len(splits[name].split) == 0:
                raise DataError(
                    f"the tree has no {name} images",
                    where=self.tree.root,
                    expected=f"{name}.csv with at least one readable image",
                    mend="every run trains on train.csv and is scored on valid.csv",
                )
        return Radiographs(tree=self.tree, size=size, splits=splits)


def _bound(progress: Progress, name: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        progress(name, done, total)

    return report
