"""Which data a run is given: the folders asked for, the environment's, or the embedded phantom."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.split import Tree
from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from bench.runs.material import Data

CHEXPERT, MNIST = "chexpert", "mnist"
ROOT_VARIABLES = {CHEXPERT: "CHEXPERT_ROOT", MNIST: "MNIST_ROOT"}
"""By a scenario's ``dataset``, the variable that names its folder."""
EXPECTED = {
    CHEXPERT: "a CheXpert tree: a folder with train.csv and the images it names",
    MNIST: "a folder with MNIST's four idx files, plain or gzipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A folder to read, or the folders of several sites, and how they were chosen."""

    root: Path | None
    """None: several sites; or the embedded phantom, which may have to be generated first; or no
    MNIST at all."""
    reason: str
    dataset: str = CHEXPERT
    sites: Mapping[str, Path] = field(default_factory=dict)
    """Where sites are joined, the tree of each, by name."""

    @property
    def is_phantom(self) -> bool:
        """True where the embedded phantom stands in for real data."""
        return self.root is None and not self.sites and self.dataset == CHEXPERT


def find_source(
    data: Sequence[str | Path] = (), dataset: str = CHEXPERT, given_by: str = "--data"
) -> Source:
    """What ``--data`` names, else the data set's variable, else for radiographs the phantom.

    One folder is a tree. Several, or a named one (``name=folder``), are sites to be joined; a site
    is called like its folder unless it is named. Raises DataError where a folder does not exist (a
    misspelt path must never turn into a run on synthetic data) and UsageError where two sites have
    one name, or several folders are to be MNIST.
    """
    named = [_named(str(text)) for text in data]
    if len(named) == 1 and named[0][0] is None:
        root = _existing(named[0][1], given_by, dataset)
        return Source(root=root, reason=given_by, dataset=dataset)
    if named:
        if dataset != CHEXPERT:
            raise UsageError(
                f"{given_by} names sites, and {dataset} is one folder",
                expected=EXPECTED[dataset],
                found=", ".join(map(str, data)),
                mend="name one folder",
            )
        return Source(root=None, reason=given_by, sites=_sites(named, given_by))
    variable = ROOT_VARIABLES[dataset]
    value = os.environ.get(variable)
    if value:
        root = _existing(Path(value).expanduser(), f"${variable}", dataset)
        return Source(root=root, reason=f"${variable}", dataset=dataset)
    stand_in = "the embedded phantom" if dataset == CHEXPERT else "nothing stands in for it"
    reason = f"no --data and no ${variable}: {stand_in}"
    return Source(root=None, reason=reason, dataset=dataset)


def _named(text: str) -> tuple[str | None, Path]:
    """``name=folder`` or a folder; a folder that exists under the whole text is that."""
    name, equals, folder = text.partition("=")
    if not equals or Path(text).is_dir() or "/" in name:
        return None, Path(text)
    return name.strip(), Path(folder).expanduser()


def _sites(named: Sequence[tuple[str | None, Path]], given_by: str) -> dict[str, Path]:
    from bench.data.joining import check_name

    sites: dict[str, Path] = {}
    for given, folder in named:
        root = _existing(folder, given_by, CHEXPERT)
        name = Path(os.path.abspath(root)).name if given is None else given
        check_name(name)
        if name in sites:
            twice = os.path.realpath(sites[name]) == os.path.realpath(root)
            raise UsageError(
                "one tree is given twice" if twice else f"two sites are called '{name}'",
                where=f"{given_by} {folder}",
                expected="a tree, and a name, of its own for every site",
                found=f"{sites[name]} and {folder}",
                mend="leave one of them out"
                if twice
                else f"name them: {name}-1={sites[name]} and {name}-2={folder}",
            )
        sites[name] = root
    return sites


def find_sources(data: Sequence[str | Path], datasets: Collection[str]) -> dict[str, Source]:
    """A source for each data set of a suite.

    Raises UsageError where there are several and ``--data`` is given, and what
    :func:`find_source` does.
    """
    if data and len(datasets) > 1:
        names = [f"${ROOT_VARIABLES[dataset]}" for dataset in datasets]
        raise UsageError(
            "--data names one data set, and the scenarios use more than one",
            expected=f"scenarios of {' or '.join(datasets)}",
            found=" and ".join(datasets),
            mend=f"set {' and '.join(names)} instead, or choose with -k 'dataset={MNIST}'",
        )
    return {dataset: find_source(data, dataset) for dataset in datasets}


def _existing(path: Path, given_by: str, dataset: str) -> Path:
    if not path.is_dir():
        mend = f"correct {given_by}"
        if dataset == CHEXPERT:
            mend += ", or leave it out to use the embedded synthetic phantom"
        raise DataError(
            f"{given_by} names a "
            + ("file, not a folder" if path.exists() else "folder that does not exist"),
            where=path,
            expected=EXPECTED[dataset],
            mend=mend,
        )
    return path


def open_data(source: Source, progress: Callable[[int, int], None] | None = None) -> Data:
    """Reads the labels of the source, whichever kind it is; generates the phantom if needed.

    Raises DataError where the files are not what they must be, or MNIST has no folder.
    """
    if source.dataset == MNIST:
        from bench.data.mnist import read_mnist
        from bench.runs.digits import Digits

        if source.root is None:
            raise DataError(
                "MNIST's folder is not named",
                expected=EXPECTED[MNIST],
                mend=f"--data FOLDER, or set ${ROOT_VARIABLES[MNIST]}",
            )
        return Digits(splits=read_mnist(source.root))
    from bench.runs.radiographs import RadiographData

    return RadiographData(tree=open_tree(source, progress))


def data_if_there(source: Source) -> Data | None:
    """The source's data; None for a phantom not generated yet, or MNIST without a folder."""
    if source.root is not None or source.sites:
        return open_data(source)
    from bench.data.phantom import embedded_phantom_folder

    there = source.is_phantom and embedded_phantom_folder().is_dir()
    return open_data(source) if there else None


def open_tree(source: Source, progress: Callable[[int, int], None] | None = None) -> Tree:
    """Reads the label files of a tree, or of every site's; generates the phantom if needed."""
    from bench.data.chexpert import read_tree
    from bench.data.joining import read_sites

    if source.sites:
        return read_sites(source.sites)
    if source.root is not None:
        return read_tree(source.root)
    from bench.data.phantom import embedded_phantom

    return read_tree(embedded_phantom(progress))
