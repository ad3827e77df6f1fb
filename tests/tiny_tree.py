"""A CheXpert tree and a suite so small that a run of one takes a second or two on one core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.observations import OBSERVATIONS

CHECKOUT = Path(__file__).resolve().parents[1]
SIDE = 32
TRAIN_PATIENTS, VALID_PATIENTS = 24, 8
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS))

SUITE = """\
suite: tiny
description: Small enough for a test.
defaults:
  observations: {observations}
  label_policy: u-ones
  backbone: densenet-tiny
  image_size: 32
  clients: 3
  rounds: {rounds}
  batch_size: 8
  optimizer: {name: sgd, lr: 0.05}
  precision: fp32
"""
"""A grid or include is added by the test."""


NO_FIGURES = "import bench.report.roc; bench.report.roc.draw_run = lambda *_, **__: []"
"""For ``before``: ROC curves take longer to draw than these models to train."""


def write_tree(root: Path, *, test: bool = False, seed: int = 0) -> Path:
    """Writes 24 training and 8 validation patients, a study each, some of two views.

    Patient k has Cardiomegaly (a bright disc) where k is odd; the other observations are drawn.
    In ``train.csv`` some labels are uncertain or blank; Fracture has no positive in ``valid.csv``.
    """
    rng = np.random.default_rng(seed)
    sizes = {"train": TRAIN_PATIENTS, "valid": VALID_PATIENTS} | ({"test": 8} if test else {})
    first = 1
    for split, patients in sizes.items():
        lines = [HEADER]
        for number in range(first, first + patients):
            lines += _study(root, split, number, rng)
        first += patients
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root


def _study(root: Path, split: str, number: int, rng: np.random.Generator) -> list[str]:
    labels = _labels(split, number, rng)
    lines = []
    views = ("frontal", "lateral") if number % 3 == 0 else ("frontal",)
    for index, view in enumerate(views, start=1):
        path = f"{split}/patient{number:05d}/study1/view{index}_{view}.png"
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_picture(number, rng)).save(file)
        beam = "AP" if view == "frontal" else ""
        sex = "Male" if number % 2 else "Female"
        cells = (f"CheXpert-tiny/{path}", sex, str(40 + number), view.capitalize(), beam, *labels)
        lines.append(",".join(cells))
    return lines


def _labels(split: str, number: int, rng: np.random.Generator) -> list[str]:
    words = ("1.0", "0.0") if split != "train" else ("1.0", "0.0", "-1.0", "")
    labels = [str(word) for word in rng.choice(words, size=len(OBSERVATIONS))]
    labels[OBSERVATIONS.index("Cardiomegaly")] = "1.0" if number % 2 else "0.0"
    if split == "train" and number % 5 == 0:
        labels[OBSERVATIONS.index("Cardiomegaly")] = "-1.0"
    if split != "train":
        labels[OBSERVATIONS.index("Fracture")] = "0.0"
        for index, name in enumerate(OBSERVATIONS):
            if name not in ("Cardiomegaly", "Fracture"):
                labels[index] = "1.0" if (number + index) % 3 else "0.0"
    return labels


def _picture(number: int, rng: np.random.Generator) -> np.ndarray:
    picture = rng.integers(40, 120, size=(SIDE, SIDE), dtype=np.uint8)
    if number % 2:
        rows, columns = np.ogrid[:SIDE, :SIDE]
        picture[(rows - 18) ** 2 + (columns - 16) ** 2 < 64] += 100
    return picture


def write_suite(
    file: Path, more: str = "", *, observations: str = "competition", rounds: int = 2
) -> Path:
    """Writes the tiny suite with ``more`` behind it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = SUITE.replace("{observations}", observations).replace("{rounds}", str(rounds))
    file.write_text(text + more)
    return file


def environment(cache: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a command: one thread, its own cache, no data by default."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CHEXPERT_ROOT", "COLUMNS")}
    own = {
        "BENCH_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]),
    }
    return kept | own | dict(extra or {})


def command(arguments: Sequence[str | Path], before: str = "pass") -> list[str]:
    """The command line that runs ``bench`` in this interpreter, after the statement ``before``."""
    code = f"{before}\nfrom bench.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def bench(
    *arguments: str | Path,
    cache: Path,
    cwd: Path | None = None,
    before: str = "pass",
    **extra: str,
) -> subprocess.CompletedProcess[str]:
    """Runs ``bench`` in a process of its own, after the statement ``before``, and waits for it."""
    return subprocess.run(
        command(arguments, before),
        env=environment(cache, extra),
        cwd=cwd or cache.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


def torchrun(
    *arguments: str | Path, cache: Path, before: str | None = None
) -> subprocess.CompletedProcess[str]:
    """:func:`bench` in two processes that torchrun starts; all have ended when it returns.

    One that aborts says where it was.
    """
    program = ["-m", "bench", *map(str, arguments)]
    if before is not None:
        program = ["--no-python", *command(arguments, before)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    return subprocess.run(
        [*launch, *program],
        env=environment(cache) | {"PYTHONFAULTHANDLER": "1"},
        cwd=cache.parent,
        capture_output=True,
        text=True,
        timeout=180,
    )
