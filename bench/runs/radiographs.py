"""A CheXpert tree as runs take it: images decoded once for all scenarios, scored per study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.joining import join_splits, unmentioned, unmentioned_cells, unmentioned_notes
from bench.data.pack import pack
from bench.data.split import Split, Tree
from bench.data.stacked import Images, Stacked
from bench.errors import DataError
from bench.report.drawing import Drawers
from bench.results.run import Run, scores_file
from bench.runs.evaluation import aurocs_of, block_of, by_site, metrics_of, score_members
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
    images: Images
    """(n, size, size) grey, memory-mapped; of several sites, stacked."""
    skipped: int
    """Images that could not be read and were left out (``--on-bad-image skip``)."""
    sites: Mapping[str, Labelled] = field(default_factory=dict)
    """What it was joined from; empty where it is one tree's."""

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
    def images(self) -> Images:
        """(n, size, size) the training images."""
        return self.splits["train"].images

    @property
    def evaluated(self) -> dict[str, Images]:
        """``valid``'s, and ``test``'s where there is one."""
        return {name: self.splits[name].images for name in EVALUATED if name in self.splits}

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
        """What run.json keeps of the data; where trees were joined, ``sites`` has each of them."""
        record = _record(self.tree, self.splits)
        if self.tree.sites:
            record["sites"] = {n: self._site_record(n, t) for n, t in self.tree.sites.items()}
        return record

    def _site_record(self, name: str, tree: Tree) -> dict[str, Any]:
        own = {split: part.sites[name] for split, part in self.splits.items() if name in part.sites}
        unlabelled = unmentioned(self.pool()).get(name, ())
        return {**_record(tree, own), "unlabelled": list(unlabelled)}

    def notes(self) -> list[str]:
        """How many images were left out, by split, and what is not labelled at which site."""
        notes = [
            f"{name}: {part.skipped:,} images that could not be read are left out"
            for name, part in self.splits.items()
            if part.skipped
        ]
        return notes + (unmentioned_notes(self.pool()) if self.tree.sites else [])


def _record(tree: Tree, splits: Mapping[str, Labelled]) -> dict[str, Any]:
    """A tree as run.json keeps it; no path, which would name somebody's machine."""
    return {
        "name": tree.name,
        "digest": tree.digest,
        "synthetic": tree.synthetic,
        "ideal_auroc": tree.ideal_auroc,
        "splits": {name: part.counts() for name, part in splits.items()},
    }


class StudyJudge:
    """AUROC per observation and their competition mean, over studies."""

    split = JUDGED
    headline = "mean_auroc"

    def __init__(self, scenario: Scenario, splits: Mapping[str, Labelled]) -> None:
        self._scenario = scenario
        self._splits = splits

    def summary(self, members: Members, predict: Predict) -> dict[str, Any]:
        """``mean_auroc`` and ``auroc`` by observation."""
        return aurocs_of(self._scores(JUDGED, members, predict))

    def final(self, models: Models, predict: Predict, folder: Path) -> Scored:
        """Scores every split and keeps the scores of every study.

        Where clients have models of their own beside the global one, ``personal`` holds how those
        score on the same studies: the mean over clients, and each client's own.
        """
        metrics, digests = {}, {}
        for name in self._splits:
            scored = self._scores(name, models.models(), predict)
            digests[name] = scored.save(folder / scores_file(name))
            split = self._splits[name].split
            metrics[name] = metrics_of(scored, self._scenario.views) | by_site(scored, split)
            personal = list(models.personal_models())
            if personal:
                own = self._scores(name, personal, predict)
                metrics[name]["personal"] = block_of(own) | by_site(own, split)
        return Scored(metrics=metrics, digests=digests)

    def draw(self, run: Run, drawers: Drawers) -> None:
        """Writes the run's ROC figures, the paper's AUROCs in their legends."""
        from bench.comparison.captions import captions
        from bench.report.roc import draw_run

        for split in run.metrics:
            draw_run(run, split, captions(run, split), drawers=drawers)

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

    def notes(self) -> list[str]:
        """What each site has, where there are several, and what of it was generated."""
        sites = self.tree.sites
        notes = [
            f"site {name}: {', '.join(f'{len(s):,} {n}' for n, s in tree.splits.items())} images"
            for name, tree in sites.items()
        ]
        if self.synthetic:
            made = [f"the site {name}" for name, tree in sites.items() if tree.synthetic]
            what = f"{' and '.join(made)} {'are' if len(made) > 1 else 'is'}" if made else ""
            notes.append(
                f"SYNTHETIC DATA: {what or 'the phantom is'} generated; "
                "its figures say nothing of patients"
            )
        return notes

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
        packing = _Packing(size=size, cache=cache, on_bad_image=on_bad_image, progress=progress)
        splits = packing.sites(self.tree) if self.tree.sites else packing.tree(self.tree)
        roots = [tree.root for tree in self.tree.sites.values()] or [self.tree.root]
        for name in ("train", JUDGED):
            if name not in splits or len(splits[name].split) == 0:
                raise DataError(
                    f"there are no {name} images",
                    where=", ".join(map(str, roots)),
                    expected=f"{name}.csv with at least one readable image",
                    mend="every run trains on train.csv and is scored on valid.csv",
                )
        return Radiographs(tree=self.tree, size=size, splits=splits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packing:
    """Decodes trees, or opens what was decoded before; a site's pack is its tree's own."""

    size: int
    cache: Path
    on_bad_image: Literal["fail", "skip"]
    progress: Progress | None

    def tree(self, tree: Tree, prefix: str = "") -> dict[str, Labelled]:
        """Every split that has a row; ``prefix`` stands before its name in reports."""
        return {
            name: self._split(split, f"{prefix}{name}")
            for name, split in tree.splits.items()
            if len(split)
        }

    def sites(self, tree: Tree) -> dict[str, Labelled]:
        """The splits of a joined tree, their images where each site's pack has them."""
        sites = {name: self.tree(own, f"{name} ") for name, own in tree.sites.items()}
        splits = {}
        for name, whole in tree.splits.items():
            parts = {site: own[name] for site, own in sites.items() if name in own}
            if any(len(part.split) for part in parts.values()):
                splits[name] = _stack(whole, parts)
        return splits

    def _split(self, split: Split, title: str) -> Labelled:
        packed = pack(
            split,
            size=self.size,
            cache=self.cache,
            on_bad_image=self.on_bad_image,
            progress=None if self.progress is None else partial(self.progress, title),
        )
        kept = split if len(packed.rows) == len(split) else split.take(packed.rows)
        return Labelled(split=kept, images=packed.images, skipped=len(packed.skipped))


def _stack(whole: Split, parts: Mapping[str, Labelled]) -> Labelled:
    """The rows of all sites whose images could be read; ``whole`` is what they would be of all."""
    kept = {site: part for site, part in parts.items() if len(part.split)}
    skipped = sum(part.skipped for part in parts.values())
    split = whole
    if skipped:
        split = join_splits(whole.name, whole.root, {s: part.split for s, part in kept.items()})
    images = Stacked([part.images for part in kept.values()])
    return Labelled(split=split, images=images, skipped=skipped, sites=parts)
