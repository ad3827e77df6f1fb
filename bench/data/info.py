"""What a data tree holds, counted from its label files: the facts of the paper's Table 1.

Irvin et al. 2019 count studies, and call negative whatever is neither positive nor uncertain; here
negatives and blanks are told apart, and studies and images are both counted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.data.packfiles import FileTable
from bench.data.signatures import file_digest, refuse_links, signatures
from bench.data.split import Split, Tree
from bench.observations import NEGATIVE, POSITIVE, UNCERTAIN

NAMED = 3
"""So many patients, files or studies are named in a warning; all are counted."""
KINDS = ("positive", "uncertain", "negative", "blank")
OLDEST = 90
"""CheXpert writes 90 for every age above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitInfo:
    """One split in numbers."""

    name: str
    file: str
    """Name of the label file."""
    patients: int
    studies: int
    images: int
    study_labels: dict[str, dict[str, int]]
    """Observation → positive, uncertain, negative, blank; a study has its first view's labels."""
    image_labels: dict[str, dict[str, int]]
    """The same, counting every image."""
    views: dict[str, int]
    """Images by Frontal, Lateral and unknown."""
    ap_pa: dict[str, int]
    """Images by AP, PA, LL, RL and blank, those that occur."""
    views_per_study: dict[int, int]
    """Studies by their number of images."""
    sex: dict[str, int]
    """Patients by Male, Female, Unknown and blank, as their first image has it."""
    age: dict[str, float | int | None]
    """Over images: min, median, mean and max in years (None where no age is given), and how many
    are 0, are 90 (the cap) and are blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeInfo:
    """A tree in numbers, and what is odd about it."""

    name: str
    digest: str
    synthetic: bool
    splits: dict[str, SplitInfo]
    warnings: tuple[str, ...]
    sites: dict[str, TreeInfo] = field(default_factory=dict)
    """The trees it was joined from, by site."""


def describe_tree(tree: Tree, *, images: bool = False) -> TreeInfo:
    """Counts the tree's label files; with ``images``, looks at the image files too.

    ``images`` adds warnings about files that are missing, lie outside their tree or have the same
    content; every file of a length that another one has is read.
    """
    splits = tuple(tree.splits.values())
    sites = {name: describe_tree(own) for name, own in tree.sites.items()}
    found = [*tree.warnings]
    if sites:
        found += [f"{name}: {text}" for name, own in sites.items() for text in own.warnings]
    else:
        found += _oddities(splits)
    if images:
        found += _files(tree)
    return TreeInfo(
        name=tree.name,
        digest=tree.digest,
        synthetic=tree.synthetic,
        splits={split.name: _describe(split) for split in splits},
        warnings=tuple(dict.fromkeys(found)),
        sites=sites,
    )


def _oddities(splits: Sequence[Split]) -> list[str]:
    """What is odd about one tree's label files."""
    found = [*_shared_patients(splits), *_repeated_rows(splits)]
    for split in splits:
        found += [*_differing_labels(split), *_without_frontal(split)]
    return found + _never_labelled(splits)


def _describe(split: Split) -> SplitInfo:
    first = np.full(len(split.patients), len(split), dtype=np.int64)
    np.minimum.at(first, split.patient, np.arange(len(split)))
    views = {name: int((split.view == name).sum()) for name in ("Frontal", "Lateral")}
    unknown = len(split) - sum(views.values())
    per_study, times = np.unique(
        np.bincount(split.study, minlength=len(split.studies)), return_counts=True
    )
    return SplitInfo(
        name=split.name,
        file=split.csv.name,
        patients=len(split.patients),
        studies=len(split.studies),
        images=len(split),
        study_labels=_count(split.study_labels(), split.observations),
        image_labels=_count(split.labels, split.observations),
        views=views | ({"unknown": unknown} if unknown else {}),
        ap_pa=_words(split.ap_pa),
        views_per_study=dict(zip(per_study.tolist(), times.tolist(), strict=True)),
        sex=_words(split.sex[first]),
        age=_ages(split.age),
    )


def _count(labels: NDArray[np.float32], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Labels of each kind, column by column."""
    kinds = [labels == POSITIVE, labels == UNCERTAIN, labels == NEGATIVE, np.isnan(labels)]
    sums = np.stack([kind.sum(axis=0) for kind in kinds], axis=1)
    return {
        name: dict(zip(KINDS, row, strict=True))
        for name, row in zip(names, sums.tolist(), strict=True)
    }


def _words(values: NDArray[np.str_]) -> dict[str, int]:
    """How often each word occurs, the most frequent first; an empty cell is ``blank``."""
    words, counts = np.unique(values, return_counts=True)
    pairs = sorted(zip(counts.tolist(), words.tolist(), strict=True), key=lambda p: (-p[0], p[1]))
    return {word or "blank": count for count, word in pairs}


def _ages(age: NDArray[np.float32]) -> dict[str, float | int | None]:
    known = age[~np.isnan(age)]
    summary: dict[str, float | int | None] = dict.fromkeys(("min", "median", "mean", "max"))
    if len(known):
        summary = {
            "min": float(known.min()),
            "median": float(np.median(known)),
            "mean": round(float(known.mean(dtype=np.float64)), 4),
            "max": float(known.max()),
        }
    return summary | {
        "zero": int((known == 0).sum()),
        "capped": int((known == OLDEST).sum()),
        "blank": int(len(age) - len(known)),
    }


def _some(names: Sequence[str]) -> str:
    """How many there are and the first few of them."""
    more = ", …" if len(names) > NAMED else ""
    return f"{len(names):,} ({', '.join(names[:NAMED])}{more})"


def _shared_patients(splits: Sequence[Split]) -> list[str]:
    found = []
    for one, other in combinations(splits, 2):
        both = np.intersect1d(one.patients, other.patients).tolist()
        if both:
            found.append(f"patients in both {one.name} and {other.name}: {_some(both)}")
    return found


def _repeated_rows(splits: Sequence[Split]) -> list[str]:
    found = []
    for split in splits:
        order = np.argsort(split.paths, kind="stable")
        later = order[1:][split.paths[order[1:]] == split.paths[order[:-1]]]
        if len(later):
            lines = [f"line {line}" for line in np.sort(split.csv_lines[later]).tolist()]
            found.append(f"{split.csv.name}: rows that repeat an image: {_some(lines)}")
    for one, other in combinations(splits, 2):
        both = np.intersect1d(one.paths, other.paths).tolist()
        if both:
            found.append(f"images in both {one.name} and {other.name}: {_some(both)}")
    return found


def _differing_labels(split: Split) -> list[str]:
    first = split.study_labels()[split.study]
    same = (split.labels == first) | (np.isnan(split.labels) & np.isnan(first))
    wrong = np.unique(split.study[~same.all(axis=1)])
    if len(wrong) == 0:
        return []
    return [
        f"{split.csv.name}: studies whose views have different labels (the first view's count): "
        f"{_some(split.studies[wrong].tolist())}"
    ]


def _without_frontal(split: Split) -> list[str]:
    frontal = np.zeros(len(split.studies), dtype=np.bool_)
    frontal[split.study[split.view == "Frontal"]] = True
    names = split.studies[~frontal].tolist()
    if not names or not np.any(split.view != ""):
        return []
    return [f"{split.csv.name}: studies without a frontal image: {_some(names)}"]


def _never_labelled(splits: Sequence[Split]) -> list[str]:
    blank = np.stack([np.isnan(split.labels).all(axis=0) for split in splits]).all(axis=0)
    names = [splits[0].observations[at] for at in np.flatnonzero(blank).tolist()]
    return [f"never labelled in any split: {', '.join(names)}"] if names else []


def _files(tree: Tree) -> list[str]:
    """Warnings about image files: of no use, or the same bytes under several names.

    A site's files are looked for in its own tree; a file may have a copy at another site.
    """
    found: list[str] = []
    by_size: dict[int, list[str]] = {}
    for site, own in (dict(tree.sites) or {"": tree}).items():
        folder = os.path.abspath(own.root)
        for split in own.splits.values():
            paths: list[str] = split.paths.tolist()
            table, reasons = _usable(folder, paths)
            if reasons:
                named = [
                    f"line {split.csv_lines[row]}, {paths[row]}: {why}"
                    for row, why in sorted(reasons.items())
                ]
                where = f"{site}: {split.csv.name}" if site else split.csv.name
                found.append(f"{where}: images that cannot be used: {_some(named)}")
            for row in np.flatnonzero(table.good).tolist():
                by_size.setdefault(int(table.size[row]), []).append(f"{folder}/{paths[row]}")
    return found + _copies(by_size, f"{os.path.abspath(tree.root)}/")


def _usable(folder: str, paths: Sequence[str]) -> tuple[FileTable, dict[int, str]]:
    """The files' lengths, and by row why there is none that could be used."""
    root = os.path.realpath(folder)
    table, reasons = signatures(root, paths)
    refuse_links(root, paths, table, reasons, files=True)
    return table, reasons


def _copies(by_size: Mapping[int, Sequence[str]], root: str) -> list[str]:
    """A warning where files of one length have one content; ``root`` is left out of their names."""
    alike = [file for files in by_size.values() for file in dict.fromkeys(files) if len(files) > 1]
    groups: dict[bytes, list[str]] = {}
    with ThreadPoolExecutor() as pool:
        for file, digest in zip(alike, pool.map(file_digest, alike), strict=True):
            groups.setdefault(digest, []).append(file.removeprefix(root))
    copies = [files for digest, files in groups.items() if len(files) > 1 and digest]
    if not copies:
        return []
    pairs = [" = ".join(files[:2]) for files in copies]
    return [f"groups of image files with the same content: {_some(pairs)}"]
