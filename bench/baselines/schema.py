"""What a file of ``baselines/`` must be, and how it becomes a :class:`Baseline`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from bench.baselines.table import (
    AVERAGE,
    Baseline,
    Citation,
    Confidence,
    Level,
    Metric,
    Row,
    Split,
    Value,
    Views,
)
from bench.suites.catalog import LABEL_POLICIES

FULL: Literal["full"] = "full"
"""``decimals: full``: given at full precision."""
MOST_DECIMALS = 12

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Decimals = Literal["full"] | Annotated[int, Field(strict=True, ge=0, le=MOST_DECIMALS)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]


def _known_policy(value: Any) -> Any:
    names = value.values() if isinstance(value, dict) else [] if value is None else [value]
    for name in names:
        if not isinstance(name, str) or name not in LABEL_POLICIES:
            raise ValueError(
                f"no such label policy as {name!r}; there are {', '.join(LABEL_POLICIES)}"
            )
    return value


OnePerCondition = Annotated[dict[str, Text], Field(min_length=1)]
Policies = Annotated[Text | OnePerCondition | None, BeforeValidator(_known_policy)]
Setting = Annotated[str, Field(strict=True)] | Annotated[int, Field(strict=True)] | Number | None


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CitationModel(_Model):
    """Who published the table; at least one of ``doi``, ``arxiv`` and ``note`` identifies it."""

    authors: Text
    title: Text
    venue: Text | None = None
    year: Annotated[int, Field(strict=True, ge=1900, le=2100)] | None = None
    doi: Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$")] | None = None
    arxiv: Annotated[str, Field(strict=True, pattern=r"^\d{4}\.\d{4,5}(v\d+)?$")] | None = None
    note: Text | None = None
    table: Text

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if not (self.doi or self.arxiv or self.note):
            raise ValueError("a citation needs a doi, an arxiv id, or a note that says where it is")
        return self


class MetricModel(_Model):
    """A metric, and how many decimals its figures were printed with."""

    unit: Text
    decimals: Decimals
    higher_is_better: StrictBool | None = True
    confidence: Confidence | None = None


class ValueModel(_Model):
    """A figure; a bare number stands for one with nothing else to say about it."""

    value: Number | None
    missing: Text | None = None
    ci: Interval | None = None
    decimals: Decimals | None = None
    cut: StrictBool = False
    derived: StrictBool = False
    n: Count | None = None
    positives: Count | None = None
    confidence: Confidence | None = None
    note: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.value is None and self.ci is not None:
            raise ValueError("an interval without a value")
        if self.value is not None and self.missing is not None:
            raise ValueError("'missing' says why there is no value, but there is one")
        if self.ci is not None and self.value is not None:
            low, high = self.ci
            if not low <= self.value <= high:
                raise ValueError(f"the interval {self.ci} does not hold the value {self.value}")
        return self


def _as_mapping(value: Any) -> Any:
    return value if isinstance(value, dict | ValueModel) else {"value": value}


Cell = Annotated[ValueModel, BeforeValidator(_as_mapping)]


class RowModel(_Model):
    """A method's figures by metric and condition; what is left out is the table's."""

    method: Text
    policy: Policies = None
    ensemble: Annotated[int, Field(strict=True, ge=1)] | None = None
    image_size: Count | None = None
    decimals: Decimals | None = None
    confidence: Confidence | None = None
    n: Count | None = None
    setting: dict[str, Setting] = Field(default_factory=dict)
    note: Text | None = None
    values: Annotated[dict[str, dict[str, Cell]], Field(min_length=1)]


class BaselineModel(_Model):
    """A published table."""

    id: Annotated[str, Field(strict=True, pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: Text
    citation: CitationModel
    read_at: Annotated[list[Text], Field(min_length=1)]
    confidence: Confidence
    dataset: Text
    split: Split | None
    level: Level | None
    n: Count | None
    positives: dict[str, Count] = Field(default_factory=dict)
    policy: Policies = None
    views: Views | None
    image_size: Count | None
    ensemble: Annotated[int, Field(strict=True, ge=1)] | None
    metrics: Annotated[dict[str, MetricModel], Field(min_length=1)]
    interval: Text | None = None
    mean_over: list[Text] = Field(default_factory=list)
    synthetic: Literal[False]
    notes: list[Text] = Field(default_factory=list)
    rows: Annotated[list[RowModel], Field(min_length=1)]


Place = tuple[str | int, ...]


def problems(model: BaselineModel) -> Iterator[tuple[Place, str]]:
    """What the fields' types cannot say: each contradiction and the place of its key or value."""
    yield from _table_problems(model)
    seen: set[str] = set()
    for i, row in enumerate(model.rows):
        identity = f"{row.method} {sorted(row.setting.items(), key=str)}"
        if identity in seen:
            yield ("rows", i, "method"), f"two rows are called {row.method!r}"
        seen.add(identity)
        for metric, cells in row.values.items():
            place: Place = ("rows", i, "values", metric)
            if metric not in model.metrics:
                yield place, f"'metrics' does not say what {metric!r} is"
                continue
            for condition, cell in cells.items():
                for problem in _cell_problems(cell, row, metric, condition, model):
                    yield (*place, condition), problem


def _table_problems(model: BaselineModel) -> Iterator[tuple[Place, str]]:
    for condition, count in model.positives.items():
        if model.n is not None and count > model.n:
            yield ("positives", condition), f"{count} positives of {condition} among {model.n}"
    if len(model.mean_over) == 1:
        yield ("mean_over",), "a mean over one condition is no mean"
    known = {name for row in model.rows for cells in row.values.values() for name in cells}
    for i, condition in enumerate(model.mean_over):
        if condition in model.mean_over[:i]:
            yield ("mean_over", i), f"a mean over {condition!r} twice"
        elif condition not in known and AVERAGE not in known:
            yield (
                ("mean_over", i),
                f"a mean over {condition!r}, of which no row has a figure, and none has a mean",
            )


def _cell_problems(
    cell: ValueModel, row: RowModel, metric: str, condition: str, model: BaselineModel
) -> Iterator[str]:
    """What is wrong with a figure, given its metric and the decimals it says it has."""
    if cell.ci is not None and model.interval is None:
        yield "an interval, but 'interval' does not say which kind the table prints"
    if condition == AVERAGE and not model.mean_over:
        yield f"an {AVERAGE}, but 'mean_over' does not say over which conditions"
    n = _first(cell.n, row.n, model.n)
    if cell.positives is not None and n is not None and cell.positives > n:
        yield f"{cell.positives} positives of {condition} among {n}"
    declared = model.metrics[metric]
    places = _places(cell, row, declared)
    figures = [] if cell.value is None else [cell.value, *(cell.ci or ())]
    for figure in figures:
        if figure < 0 or (declared.unit == "fraction" and figure > 1):
            yield f"{figure} cannot be {metric}, which is counted in {declared.unit}"
        elif places is not None and not cell.derived and abs(figure - round(figure, places)) > 1e-9:
            yield f"{figure} has more than the {places} decimals it says it was printed with"


def _first(*counts: int | None) -> int | None:
    """The first that was given."""
    return next((n for n in counts if n is not None), None)


def _places(cell: ValueModel, row: RowModel, metric: MetricModel) -> int | None:
    """Decimals as the value, else the row, else the metric says; None for full precision."""
    said = next(d for d in (cell.decimals, row.decimals, metric.decimals) if d is not None)
    return None if said == FULL else said


def build(model: BaselineModel, file: Path) -> Baseline:
    """The checked file as values that carry their context."""
    return Baseline(
        id=model.id,
        title=model.title,
        citation=Citation(**model.citation.model_dump()),
        read_at=tuple(model.read_at),
        confidence=model.confidence,
        dataset=model.dataset,
        split=model.split,
        level=model.level,
        views=model.views,
        image_size=model.image_size,
        ensemble=model.ensemble,
        n=model.n,
        positives=dict(model.positives),
        metrics={
            name: Metric(name=name, unit=metric.unit, higher_is_better=metric.higher_is_better)
            for name, metric in model.metrics.items()
        },
        interval=model.interval,
        mean_over=tuple(model.mean_over),
        notes=tuple(model.notes),
        rows=tuple(_row(row, model) for row in model.rows),
        file=file,
    )


def _row(row: RowModel, table: BaselineModel) -> Row:
    values = [
        _value(condition, metric, cell, row, table)
        for metric, cells in row.values.items()
        for condition, cell in cells.items()
    ]
    return Row(
        method=row.method,
        policy=row.policy if row.policy is not None else table.policy,
        ensemble=row.ensemble if row.ensemble is not None else table.ensemble,
        image_size=row.image_size if row.image_size is not None else table.image_size,
        setting=dict(row.setting),
        values=tuple(values),
        note=row.note,
    )


def _value(
    condition: str, metric: str, cell: ValueModel, row: RowModel, table: BaselineModel
) -> Value:
    declared = table.metrics[metric]
    policy = row.policy if row.policy is not None else table.policy
    if isinstance(policy, Mapping):
        policy = policy.get(condition)
    stated = cell.confidence or row.confidence or declared.confidence or table.confidence
    return Value(
        condition=condition,
        metric=metric,
        method=row.method,
        policy=policy,
        value=cell.value,
        missing=(cell.missing or "not found") if cell.value is None else None,
        decimals=_places(cell, row, declared),
        cut=cell.cut,
        ci=None if cell.ci is None else (cell.ci[0], cell.ci[1]),
        n=_first(cell.n, row.n, table.n),
        positives=cell.positives if cell.positives is not None else table.positives.get(condition),
        derived=cell.derived,
        confidence="computed" if cell.derived else stated,
        note=cell.note,
    )
