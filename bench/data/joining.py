"""Several CheXpert trees as the sites of one: a federation of hospitals, each with its own tree.

The joined tree is a tree like any other. Its splits hold the rows of every site's split of that
name, the sites in alphabetical order, so that the order they are named in changes nothing. A
patient belongs to its site: ids are ``<site>/patient00001`` and ``<site>/patient00001/study1``, and
two sites' patients of one number stay two patients. The column ``site`` names each row's site;
other columns are the union of the sites', blank where a site lacks them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.chexpert import LABEL_FILES, label_files, read_tree
from bench.data.split import Split, Tree
from bench.errors import DataError

SITE = "site"
"""The column of a joined split that names the site of each row."""
OWN_SITE = "own site"
"""What a tree's own column ``site`` is called in a joined split."""
NAME = re.compile(r"[^\W_][\w .+-]*")
"""A site's name: it stands in patient ids, tables and suites."""
SHOWN = 8
"""Observations that a note names; of more, their number."""


def read_sites(roots: Mapping[str, Path]) -> Tree:
    """Reads the tree of each site and joins them.

    A site may lack any of the splits, as long as one has ``train``. Raises DataError where none
    has, where two sites are the same data, and for what :func:`read_tree` refuses.
    """
    _check_distinct_folders(roots)
    trees = {}
    for name, root in roots.items():
        files = label_files(root)
        if not files:
            raise DataError(
                "the tree has no label file",
                where=root,
                expected=" or ".join(names[0] for names in LABEL_FILES.values()),
            )
        trees[name] = read_tree(root, tuple(files))
    return join(trees)


def join(trees: Mapping[str, Tree]) -> Tree:
    """One tree of the sites' trees, by name; its identity depends on their names and digests.

    Raises DataError where two trees are the same data, or none has a ``train`` split.
    """
    sites = dict(sorted(trees.items()))
    for name in sites:
        check_name(name)
    _check_distinct_data(sites)
    if not any("train" in tree.splits for tree in sites.values()):
        raise DataError(
            "none of the trees has a train.csv",
            where=", ".join(str(tree.root) for tree in sites.values()),
            expected="train.csv in one of them at least",
        )
    root = Path(os.path.commonpath([os.path.abspath(tree.root) for tree in sites.values()]))
    splits: dict[str, Split] = {}
    for name in LABEL_FILES:
        parts = {site: tree.splits[name] for site, tree in sites.items() if name in tree.splits}
        if parts:
            splits[name] = join_splits(name, root, parts)
    return Tree(
        root=root,
        name=" + ".join(sites),
        splits=splits,
        digest=_digest(sites),
        synthetic=any(tree.synthetic for tree in sites.values()),
        warnings=(
            *(f"{site}: {text}" for site, tree in sites.items() for text in tree.warnings),
            *_columns_renamed(sites),
            *_common_ids(sites),
        ),
        sites=sites,
    )


def check_name(name: str) -> None:
    """Raises DataError where a site cannot be called that."""
    if not NAME.fullmatch(name):
        raise DataError(
            f"a site cannot be called '{name}'",
            expected="a letter or digit, then letters, digits, blanks and . _ + -",
            mend="give it a name: --data NAME=FOLDER",
        )


def _check_distinct_folders(roots: Mapping[str, Path]) -> None:
    for one, other in combinations(roots, 2):
        if os.path.realpath(roots[one]) == os.path.realpath(roots[other]):
            raise _same(one, other, "they are one folder", roots[one])


def _check_distinct_data(sites: Mapping[str, Tree]) -> None:
    """Copies of one tree would put every patient into two sites."""
    for one, other in combinations(sites, 2):
        if sites[one].digest == sites[other].digest:
            raise _same(one, other, "their label files are the same", sites[one].root)


def _same(one: str, other: str, why: str, where: Path) -> DataError:
    return DataError(
        f"the sites '{one}' and '{other}' are the same data",
        where=where,
        expected="a tree of its own for every site, so that no patient is at two",
        found=why,
        mend="leave one of them out",
    )


def _digest(sites: Mapping[str, Tree]) -> str:
    digest = hashlib.sha256(b"sites\0")
    for name, tree in sites.items():
        digest.update(f"{name}\0{tree.digest}\0".encode())
    return digest.hexdigest()


def join_splits(name: str, root: Path, parts: Mapping[str, Split]) -> Split:
    """The rows of all parts; ``root`` is a folder that all of their trees are in."""
    splits = list(parts.values())
    observations = splits[0].observations
    assert all(split.observations == observations for split in splits), "read by other readers"
    where = {site: os.path.relpath(os.path.abspath(s.root), root) for site, s in parts.items()}
    paths = [
        [os.path.normpath(f"{where[site]}/{path}") for path in split.paths.tolist()]
        for site, split in parts.items()
    ]
    return Split(
        name=name,
        root=root,
        csv=root / f"{name}.csv",
        paths=np.array([path for part in paths for path in part], dtype=np.str_),
        csv_lines=np.concatenate([split.csv_lines for split in splits]),
        patients=_prefixed({site: split.patients for site, split in parts.items()}),
        studies=_prefixed({site: split.studies for site, split in parts.items()}),
        patient=_shifted([split.patient for split in splits], [len(s.patients) for s in splits]),
        study=_shifted([split.study for split in splits], [len(s.studies) for s in splits]),
        observations=observations,
        labels=np.concatenate([split.labels for split in splits]),
        sex=np.concatenate([split.sex for split in splits]),
        age=np.concatenate([split.age for split in splits]),
        view=np.concatenate([split.view for split in splits]),
        ap_pa=np.concatenate([split.ap_pa for split in splits]),
        extra=_extra(parts),
    )


def _prefixed(ids: Mapping[str, NDArray[np.str_]]) -> NDArray[np.str_]:
    return np.concatenate([np.strings.add(f"{site}/", own) for site, own in ids.items()])


def _shifted(indices: Sequence[NDArray[np.int64]], sizes: Sequence[int]) -> NDArray[np.int64]:
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate([own + start for own, start in zip(indices, starts, strict=True)])


def _extra(parts: Mapping[str, Split]) -> dict[str, NDArray[np.str_]]:
    """Every further column of any part, and the site of each row."""
    renamed = {
        site: {OWN_SITE if key == SITE else key: text for key, text in split.extra.items()}
        for site, split in parts.items()
    }
    names = dict.fromkeys(name for extra in renamed.values() for name in extra)
    columns = {
        name: np.concatenate(
            [
                renamed[site].get(name, np.zeros(len(split), dtype="U1"))
                for site, split in parts.items()
            ]
        )
        for name in names
    }
    return {SITE: np.repeat(list(parts), [len(split) for split in parts.values()]), **columns}


def _columns_renamed(sites: Mapping[str, Tree]) -> list[str]:
    owners = [
        name
        for name, tree in sites.items()
        if any(SITE in split.extra for split in tree.splits.values())
    ]
    return [f"{name}: its column '{SITE}' is called '{OWN_SITE}' here" for name in owners]


def _common_ids(sites: Mapping[str, Tree]) -> list[str]:
    """Numbers start anew at every hospital; only a person can know where they do not."""
    ids = {
        name: np.unique(np.concatenate([split.patients for split in tree.splits.values()]))
        for name, tree in sites.items()
    }
    found = []
    for one, other in combinations(ids, 2):
        common = len(np.intersect1d(ids[one], ids[other]))
        if common:
            found.append(
                f"patient ids at both {one} and {other}: {common:,}, taken for different people"
            )
    return found


def unmentioned(split: Split) -> dict[str, tuple[str, ...]]:
    """By site, the observations that none of its rows mentions: not 1, not 0, not uncertain."""
    found = {}
    for site in sites_of(split):
        blank = np.isnan(split.labels[split.extra[SITE] == site]).all(axis=0)
        names = tuple(n for n, none in zip(split.observations, blank, strict=True) if none)
        if names:
            found[site] = names
    return found


def unmentioned_cells(split: Split) -> NDArray[np.bool_]:
    """(n, o) the labels of observations that the row's site never mentions.

    A blank among a site's labels says that a report did not mention the condition, which training
    takes for negative. A site that never mentions one has not looked for it; its blanks say nothing
    and are left out of the loss.
    """
    cells = np.zeros(split.labels.shape, dtype=np.bool_)
    for site, names in unmentioned(split).items():
        columns = [split.observations.index(name) for name in names]
        cells[np.ix_(split.extra[SITE] == site, columns)] = True
    return cells


def unmentioned_notes(split: Split) -> list[str]:
    """A sentence for each site with observations that it never mentions."""
    return [
        f"{site} has no label for {_some(names)}: left out of the loss there"
        for site, names in unmentioned(split).items()
    ]


def _some(names: Sequence[str]) -> str:
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"


def sites_of(split: Split) -> tuple[str, ...]:
    """The sites that the split's column ``site`` names, in order; none where it has none."""
    if SITE not in split.extra:
        return ()
    return tuple(name for name in np.unique(split.extra[SITE]).tolist() if name)
