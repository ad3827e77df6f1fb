"""Which data a run is given: the folder asked for, the environment's, or the embedded phantom."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
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
    """A folder to read, and how it was chosen."""

    root: Path | None
    """None: the embedded phantom, which may have to be generated first, or no MNIST at all."""
    reason: str
    dataset: str = CHEXPERT

    @property
    def is_phantom(self) -> bool:
        """True where the embedded phantom stands in for real data."""
        return self.root is None and self.dataset == CHEXPERT


def find_source(data: Path | None, dataset: str = CHEXPERT) -> Source:
    """``--data``, else the data set's variable, else for radiographs the embedded phantom.

    Raises DataError where the folder named does not exist: a misspelt path must never turn into a
    run on synthetic data.
    """
    variable = ROOT_VARIABLES[dataset]
    if data is not None:
        return Source(root=_existing(data, "--data", dataset), reason="--data", dataset=dataset)
    value = os.environ.get(variable)
    if value:
        root = _existing(Path(value).expanduser(), f"${variable}", dataset)
        return Source(root=root, reason=f"${variable}", dataset=dataset)
    stand_in = "the embedded phantom" if dataset == CHEXPERT else "nothing stands in for it"
    reason = f"no --data and no ${variable}: {stand_in}"
    return Source(root=None, reason=reason, dataset=dataset)


def find_sources(data: Path | None, datasets: Collection[str]) -> dict[str, Source]:
    """A source for each data set of a suite.

    Raises UsageError where there are several and ``--data`` names one folder, and DataError as
    :func:`find_source` does.
    """
    if data is not None and len(datasets) > 1:
        names = [f"${ROOT_VARIABLES[dataset]}" for dataset in datasets]
        raise UsageError(
            "--data names one folder, and the scenarios use more than one data set",
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
            f"{given_by} names a folder that does not exist",
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
    if source.root is not None:
        return open_data(source)
    from bench.data.phantom import embedded_phantom_folder

    there = source.is_phantom and embedded_phantom_folder().is_dir()
    return open_data(source) if there else None


def open_tree(source: Source, progress: Callable[[int, int], None] | None = None) -> Tree:
    """Reads the label files of a CheXpert tree, generating the phantom first where it is needed."""
    from bench.data.chexpert import read_tree

    if source.root is not None:
        return read_tree(source.root)
    from bench.data.phantom import embedded_phantom

    return read_tree(embedded_phantom(progress))
