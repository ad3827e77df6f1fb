"""Writes a phantom as a CheXpert tree, from a folder beside it that is renamed when complete.

    <output>/PHANTOM.json                                says that everything here is synthetic
    <output>/train.csv, valid.csv, test.csv              CheXpert's columns
    <output>/train/patient00001/study1/view1_frontal.jpg

Every draw has an address (seed, purpose, study, patient), so the files do not depend on the number
of workers, and asking for more patients leaves those that were there as they were.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.phantom import clinic, film, ideal, reports
from bench.data.phantom.clinic import SplitName, Study
from bench.data.phantom.pictures import Job, image_path
from bench.data.phantom.studio import PATIENTS, Progress, write_images
from bench.errors import UsageError
from bench.observations import OBSERVATIONS

if TYPE_CHECKING:
    from bench.data.split import Tree

MARKER = "PHANTOM.json"
PREFIX = "phantom"
"""Stands before the paths in the label files, as ``CheXpert-v1.0`` does in the release's."""
NOT_IN_THE_TREE = ("__init__.py", "embedded.py", "sheet.py", "studio.py")
"""Files of this package that no byte of a tree depends on."""
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS)
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What decides every byte of a phantom, besides the generator's code."""

    train_patients: int
    valid_patients: int
    test_patients: int
    size: int
    """Pixels a side."""
    seed: int

    def __post_init__(self) -> None:
        for split in SPLITS:
            least, most = (1 if split == "train" else 0), clinic.MOST_PATIENTS[split]
            count = self.patients(split)
            if not least <= count <= most:
                raise UsageError(
                    f"a phantom cannot have {count:,} {split} patients",
                    expected=f"from {least} to {most:,}",
                )
        if not film.SMALLEST <= self.size <= film.LARGEST:
            raise UsageError(
                f"a phantom's images cannot be {self.size} pixels wide",
                expected=f"from {film.SMALLEST} to {film.LARGEST}",
            )

    def patients(self, split: SplitName) -> int:
        """How many patients that split has."""
        counts = {
            "train": self.train_patients,
            "valid": self.valid_patients,
            "test": self.test_patients,
        }
        return counts[split]


def write_phantom(
    output: Path,
    *,
    train_patients: int,
    valid_patients: int,
    test_patients: int,
    size: int,
    seed: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Tree:
    """Writes a phantom to ``output`` and reads it back.

    ``output`` may be absent, empty or a phantom, which is replaced. ``workers`` processes draw the
    images (None: one a core); ``progress`` is called with the images done and in all. Raises
    UsageError for numbers out of range, for a folder that holds anything else and for one that
    cannot be written.
    """
    from bench.data.chexpert import read_tree

    parameters = Parameters(
        train_patients=train_patients,
        valid_patients=valid_patients,
        test_patients=test_patients,
        size=size,
        seed=seed,
    )
    refuse_to_overwrite(output)
    try:
        with fresh_folder(output.resolve()) as folder:
            fill_folder(folder, parameters, workers=workers, progress=progress)
            _replace(output.resolve(), folder)
    except OSError as error:
        raise UsageError(
            "the phantom cannot be written", where=output, found=error.strerror or str(error)
        ) from error
    return read_tree(output)


def _replace(target: Path, fresh: Path) -> None:
    """Gives ``fresh`` the name ``target``; what had it is gone then, or has it still."""
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_name("old")
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        old.rename(target)
        raise


def refuse_to_overwrite(output: Path) -> None:
    """Raises UsageError unless ``output`` is absent, an empty folder or a phantom and no more."""
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError("the output is not a folder", where=output)
    names = {path.name for path in output.iterdir()}
    strangers = sorted(names - {MARKER, *SPLITS, *(f"{split}.csv" for split in SPLITS)})
    if strangers or (names and MARKER not in names):
        raise UsageError(
            "the folder holds more than a phantom, so it is left alone",
            where=output,
            expected=f"a new or empty folder, or a phantom ({MARKER} in it) to be replaced",
            found=", ".join((strangers or sorted(names))[:5]),
            mend="name another folder",
        )


def fill_folder(
    folder: Path,
    parameters: Parameters,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes marker, label files and images into an empty folder."""
    studies = {
        split: [
            study
            for index in range(parameters.patients(split))
            for study in clinic.draw_patient(split, index, parameters.seed)
        ]
        for split in SPLITS
    }
    filled = {split: found for split, found in studies.items() if found}
    marker = json.dumps(describe(parameters, filled), indent=1, allow_nan=False) + "\n"
    (folder / MARKER).write_text(marker, encoding="utf-8")
    for split, found in filled.items():
        _write_labels(folder / f"{split}.csv", split, found, parameters.seed)
    images = sum(len(study.views) for found in filled.values() for study in found)
    write_images(_jobs(folder, parameters), images, workers=workers, progress=progress)


def describe(parameters: Parameters, studies: dict[SplitName, list[Study]]) -> dict[str, Any]:
    """The content of the marker file."""
    return {
        "synthetic": True,
        "notice": "SYNTHETIC: drawn by a program. Nothing here is, or was made from, a patient.",
        "generator": f"bench phantom, code {code_digest()[:12]}",
        "parameters": asdict(parameters),
        "ideal_observer": ideal.DEFINITION,
        "ideal_auroc": {
            split: ideal.ideal_auroc(ideal.gather(found)) for split, found in studies.items()
        },
        "ideal_auroc_population": ideal.population_auroc(),
    }


def read_marker(root: Path) -> dict[str, Any]:
    """The marker of a phantom that this program wrote."""
    marker: dict[str, Any] = json.loads((root / MARKER).read_text(encoding="utf-8"))
    return marker


def code_digest() -> str:
    """SHA-256 of the generator's own source files: a phantom of other code is another phantom."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.name in NOT_IN_THE_TREE:
            continue
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _write_labels(file: Path, split: SplitName, studies: list[Study], seed: int) -> None:
    """A label file in CheXpert's columns; every view of a study carries the study's labels."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        sheet = csv.writer(stream, lineterminator="\n")
        sheet.writerow(COLUMNS)
        for study in studies:
            labels = reports.study_labels(study, split, seed)
            cells = ["" if np.isnan(label) else f"{label:.1f}" for label in labels]
            for view, kind in enumerate(study.views):
                sheet.writerow(
                    [
                        f"{PREFIX}/{image_path(split, study, view)}",
                        "Male" if study.male else "Female",
                        study.age,
                        kind.capitalize(),
                        "" if kind == "lateral" else "AP" if study.ap else "PA",
                        *cells,
                    ]
                )


def _jobs(folder: Path, parameters: Parameters) -> list[Job]:
    """Every patient's images, a few patients at a time."""
    return [
        Job(
            folder=str(folder),
            split=split,
            patients=(first, min(first + PATIENTS, parameters.patients(split))),
            size=parameters.size,
            seed=parameters.seed,
        )
        for split in SPLITS
        for first in range(0, parameters.patients(split), PATIENTS)
    ]


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder on the disk of ``target``, to be renamed to it or else removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh = workplace / "new"
        fresh.mkdir()
        yield fresh
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
