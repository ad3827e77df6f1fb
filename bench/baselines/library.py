"""Where published tables are found: those that ship with bench, and a folder of one's own."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from bench.baselines.schema import BaselineModel, build, problems
from bench.baselines.table import Baseline
from bench.errors import BaselineError, did_you_mean
from bench.locations import shipped
from bench.suites.document import load, validate

ALIASES = {
    "paper:valid": "irvin2019-valid",
    "paper:test": "irvin2019-test",
    "readme": "origin-readme",
    "leaderboard": "chexpert-leaderboard",
}
"""Short names for tables."""
CHOSEN = {"paper": ("paper:valid", "paper:test")}
"""Names that stand for whichever table fits a run; a comparison chooses."""
GROUPS = {
    "mcmahan2017": (
        "mcmahan2017-table1",
        "mcmahan2017-table2-mnist",
        "mcmahan2017-table2-shakespeare",
        "mcmahan2017-table3",
    )
}
"""Names that stand for several tables of one paper."""
FOLDER_VARIABLE = "BENCH_BASELINES"


def list_baselines(folder: Path | None = None) -> list[Baseline]:
    """Every table, by id: the shipped ones and those of ``folder``, else of ``$BENCH_BASELINES``.

    Raises BaselineError where a file is wrong or an id stands in two files.
    """
    return [read_baseline(path) for _, path in sorted(_files(folder).items())]


def load_baseline(name: str, folder: Path | None = None) -> Baseline:
    """The table with that id or alias. Raises BaselineError with the nearest id."""
    files = _files(folder)
    path = files.get(ALIASES.get(name, name))
    if path is not None:
        return read_baseline(path)
    several = CHOSEN.get(name) or GROUPS.get(name)
    if several:
        raise BaselineError(
            f"'{name}' stands for more than one table", mend=f"name one of {', '.join(several)}"
        )
    known = [*files, *ALIASES, *CHOSEN, *GROUPS]
    raise BaselineError(
        f"no published table is called '{name}'",
        expected=f"one of {', '.join(sorted(known))}",
        mend=did_you_mean(name, known) or "'bench baselines' lists them",
    )


def load_group(name: str, folder: Path | None = None) -> tuple[Baseline, ...]:
    """The tables of a group, or the one table of that name."""
    return tuple(load_baseline(each, folder) for each in GROUPS.get(name, (name,)))


def read_baseline(path: Path) -> Baseline:
    """The table in a file. Raises BaselineError with ``file:line:col``.

    A file is read once while it stays as it is: a hundred runs are held against one table.
    """
    try:
        status = path.stat()
    except OSError:  # which reading it explains
        return _read(path, 0, 0)
    return _read(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _read(path: Path, mtime: int, size: int) -> Baseline:
    """``mtime`` and ``size`` tell the file as it is now from what it was."""
    document = load(path, BaselineError)
    model = validate(document, BaselineModel, BaselineError)
    if model.id != path.stem:
        raise BaselineError(
            "the id is not the file's name",
            where=document.where(("id",)),
            expected=path.stem,
            found=model.id,
            mend=f"name the file {model.id}.yaml, or the table {path.stem}",
        )
    for place, what in problems(model):
        raise BaselineError(what, where=document.where(place))
    return build(model, path)


def _files(folder: Path | None) -> dict[str, Path]:
    """The file of each id, which is its name without the extension; hidden files are none."""
    found: dict[str, Path] = {}
    for place in _places(folder):
        for path in sorted(place.iterdir()):
            if path.suffix not in (".yaml", ".yml") or path.name.startswith("."):
                continue  # editors' and macOS's own files are hidden
            if path.stem in found or path.stem in {*ALIASES, *CHOSEN, *GROUPS}:
                other = found.get(path.stem, "an alias of bench's own")
                raise BaselineError(
                    f"two published tables are called '{path.stem}'",
                    where=path,
                    found=str(other),
                    mend="rename one of them",
                )
            found[path.stem] = path
    return found


def _places(folder: Path | None) -> Sequence[Path]:
    own = folder or (Path(v).expanduser() if (v := os.environ.get(FOLDER_VARIABLE)) else None)
    if own is None:
        return [shipped("baselines")]
    if not own.is_dir():
        raise BaselineError(
            "the folder of published tables is not there",
            where=own,
            mend=f"correct --baselines or ${FOLDER_VARIABLE}",
        )
    return [shipped("baselines")] + ([own] if own.resolve() != shipped("baselines") else [])
