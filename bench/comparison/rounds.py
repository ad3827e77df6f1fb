"""Rounds to a target beside those that McMahan et al. 2017 printed, cell by cell of their tables.

A cell is a model, a way of dividing the digits, E, B and C. Runs belong to a cell if they did what
the paper says it did; they may differ in the learning rate, which the paper searched for as well,
and in the seed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.baselines import Baseline, Value
from bench.federation.sampling import sample_size
from bench.results.run import Run
from bench.results.targets import Reached, rounds_to_target
from bench.suites.client_rules import all_plain

METRIC, SPEED_UP = "Rounds", "Speed-up"
REFERENCE = "reference row"
"""What the tables say in place of a speed-up where a row is the one that others are held to."""
SUITE = "mcmahan2017"
"""The shipped suite whose scenarios are the cells."""
DATASET = "MNIST"
CLIENTS = 100
MODELS = {"2NN": "2nn", "CNN": "mcmahan-cnn"}
PARTITIONS: dict[str, dict[str, Any]] = {
    "IID": {"name": "iid"},
    "non-IID": {"name": "shards", "per_client": 2},
}
FREE = ("seed", "rounds", "stop_at")
"""Keys in which runs of one setting may differ: none of them changes a round."""
HEADLINE = "accuracy"
CLOSE = 1.5

NO_WORSE = "no worse"
WITHIN = f"within {CLOSE:g}×"
BEYOND = f"beyond {CLOSE:g}×"
NOT_REACHED = "not reached"
NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One published figure and what was done to get it."""

    table: str
    model: str
    """As the paper has it: ``2NN`` or ``CNN``."""
    division: str
    """``IID`` or ``non-IID``."""
    epochs: int
    batch: int | None
    """None is the client's whole data, ∞ in the paper."""
    fraction: float
    target: float
    theirs: Value
    speed_up: Value
    reference: int
    """Which cell of the table its speed-up is over, by its place among them."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a scenario (its row) does what the paper did for this cell."""
        optimizer = row["optimizer"]
        return (
            row["dataset"] == "mnist"
            and row["backbone"] == MODELS[self.model]
            and row["strategy"]["name"] in ("fedavg", "fedsgd")
            and row["clients"] == CLIENTS
            and row["partition"] == PARTITIONS[self.division]
            and row["local_epochs"] == self.epochs
            and row["batch_size"] == self.batch
            and _chosen(row["fraction"]) == _chosen(self.fraction)
            and optimizer["name"] == "sgd"
            and not optimizer["momentum"]
            and not optimizer["weight_decay"]
            and row["evaluate_every"] == 1
            and all_plain(row)
        )


def _chosen(fraction: float) -> int:
    return sample_size(CLIENTS, fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsRow:
    """A cell with what our runs came to."""

    cell: Cell
    ours: float | None
    """Rounds; the mean over seeds, None unless every seed reached the target."""
    sd: float | None
    """Sample standard deviation over seeds; None of one."""
    reached: tuple[Reached, ...] = ()
    """By seed; empty where the cell was not run."""
    lr: float | None = None
    tried: int = 0
    """Learning rates there are runs of."""
    our_speed_up: float | None = None
    scenario: str | None = None
    """The suite's scenario that is this cell; None where it has none."""
    runs: tuple[str, ...] = field(default=())

    @property
    def ratio(self) -> float | None:
        """Ours over the paper's; above 1 took longer."""
        theirs = self.cell.theirs.value
        return None if self.ours is None or theirs is None else self.ours / theirs

    @property
    def verdict(self) -> str:
        """In words; never a pass where nothing was run or reached."""
        theirs = self.cell.theirs.value
        if not self.reached:
            return NOT_RUN
        if self.ours is None:
            return self._unreached(theirs)
        if theirs is None or self.ours <= theirs:
            return NO_WORSE
        return WITHIN if self.ours <= CLOSE * theirs else BEYOND

    def _unreached(self, theirs: float | None) -> str:
        short = [r for r in self.reached if r.rounds is None]
        most = min(r.rounds_run for r in short)
        text = f"{NOT_REACHED} in {most:,} rounds"
        if len(self.reached) > 1:
            text += f" by {len(short)} of {len(self.reached)} seeds"
        if theirs is None:
            return f"{text}, nor by the paper"
        return f"{BEYOND}: {text}" if most > CLOSE * theirs else text

    def command(self) -> str | None:
        """What runs the cell."""
        if self.scenario is None:
            return None
        return f"bench run {SUITE} --data FOLDER -k {self.scenario}"

    def json(self) -> dict[str, Any]:
        """The row as ``bench compare --format json`` prints it."""
        cell = self.cell
        return {
            "table": cell.table,
            "model": cell.model,
            "partition": cell.division,
            "E": cell.epochs,
            "B": "all" if cell.batch is None else cell.batch,
            "C": cell.fraction,
            "target": cell.target,
            "lr": self.lr,
            "lr_tried": self.tried,
            "seeds": len(self.reached),
            "ours": self.ours,
            "ours_sd": self.sd,
            "ours_by_seed": [reached.rounds for reached in self.reached],
            "rounds_run": [reached.rounds_run for reached in self.reached],
            "best": max((r.best for r in self.reached if r.best is not None), default=None),
            "bytes": _mean([reached.bytes for reached in self.reached]),
            "theirs": cell.theirs.value,
            "theirs_missing": cell.theirs.missing,
            "ratio": self.ratio,
            "speed_up": self.our_speed_up,
            "theirs_speed_up": cell.speed_up.value,
            "verdict": self.verdict,
            "runs": list(self.runs),
            "command": None if self.reached else self.command(),
        }


def cells_of(table: Baseline) -> list[Cell]:
    """The cells of a table of rounds to target on MNIST, each division by itself; else none."""
    if METRIC not in table.metrics or table.dataset != DATASET:
        return []
    found: list[Cell] = []
    for division in PARTITIONS:
        reference = len(found)
        for row in table.rows:
            theirs, speed_up = row.get(division, METRIC), row.get(division, SPEED_UP)
            if theirs is None or speed_up is None:
                continue
            if speed_up.missing == REFERENCE:
                reference = len(found)
            found.append(
                Cell(
                    table=table.id,
                    model=str(row.setting["model"]),
                    division=division,
                    epochs=int(row.setting["E"] or 0),
                    batch=None if row.setting["B"] == "inf" else int(row.setting["B"] or 0),
                    fraction=float(row.setting["C"] or 0),
                    target=float(row.setting["target"] or 0),
                    theirs=theirs,
                    speed_up=speed_up,
                    reference=reference,
                )
            )
    return found


def compare_rounds(
    runs: Sequence[Run], table: Baseline, scenarios: Mapping[str, Mapping[str, Any]]
) -> list[RoundsRow]:
    """Every cell of the table beside the runs that did the same.

    Of several learning rates the one with the most seeds counts, of those the one with the fewest
    rounds: the paper too took the best of a search on the test images. ``scenarios`` are the rows
    of the suite's scenarios, by name.
    """
    cells = cells_of(table)
    rows = [_row(cell, runs, scenarios) for cell in cells]
    return [_with_speed_up(row, rows[row.cell.reference]) for row in rows]


def usable(run: Run) -> bool:
    """Whether a run is of MNIST's own files: other digits are another question."""
    return run.scenario.get("dataset") == "mnist" and run.data.get("name") == DATASET


def _row(cell: Cell, runs: Sequence[Run], scenarios: Mapping[str, Mapping[str, Any]]) -> RoundsRow:
    name = next((name for name, row in scenarios.items() if cell.matches(row)), None)
    own = [run for run in runs if usable(run) and cell.matches(run.as_scenario().row())]
    settings: dict[str, list[tuple[Run, Reached]]] = {}
    for run in own:
        reached = rounds_to_target(run.rounds(), HEADLINE, cell.target)
        settings.setdefault(_setting(run), []).append((run, reached))
    if not settings:
        return RoundsRow(cell=cell, ours=None, sd=None, scenario=name)
    best = min((_by_seed(found) for found in settings.values()), key=_preference)
    rounds = [reached.rounds for _, reached in best]
    return RoundsRow(
        cell=cell,
        ours=_mean(rounds),
        sd=_sd(rounds),
        reached=tuple(reached for _, reached in best),
        lr=best[0][0].scenario["optimizer"]["lr"],
        tried=len({run.scenario["optimizer"]["lr"] for run in own}),
        scenario=name,
        runs=tuple(run.folder.name for run, _ in best),
    )


def _setting(run: Run) -> str:
    """What runs have in common whose rounds are the same but for the seed."""
    row = {key: value for key, value in run.as_scenario().row().items() if key not in FREE}
    return json.dumps(row, sort_keys=True)


def _by_seed(found: list[tuple[Run, Reached]]) -> list[tuple[Run, Reached]]:
    """One run a seed: the one that trained longest, which says all that the others say."""
    longest: dict[int, tuple[Run, Reached]] = {}
    for run, reached in sorted(found, key=lambda pair: pair[1].rounds_run):
        longest[run.scenario["seed"]] = (run, reached)
    return [longest[seed] for seed in sorted(longest)]


def _preference(found: list[tuple[Run, Reached]]) -> tuple[int, int, float, float]:
    """Most seeds, fewest of them short of the target, fewest rounds, best accuracy."""
    reached = [r.rounds for _, r in found if r.rounds is not None]
    best = max((r.best for _, r in found if r.best is not None), default=0.0)
    mean = sum(reached) / len(reached) if reached else 0.0
    return -len(found), len(found) - len(reached), mean, -best


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, None of nothing or where any is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) == len(values) and len(known) > 1 else None


def _with_speed_up(row: RoundsRow, reference: RoundsRow) -> RoundsRow:
    """The row with our rounds of the reference row over its own."""
    if row is reference or row.ours is None or reference.ours is None:
        return row
    return replace(row, our_speed_up=reference.ours / row.ours)
