"""The tables of ``bench baselines``: what there is, and one table with its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.baselines import Baseline, Row, Value
from bench.report.table import Column, Table

DERIVED = "computed from printed figures"


def list_table(baselines: Sequence[Baseline]) -> Table:
    """One row a published table."""
    rows = tuple(
        {
            "id": baseline.id,
            "what": baseline.title,
            "dataset": baseline.dataset,
            "split": baseline.split,
            "level": baseline.level,
            "n": baseline.n,
            "methods": len(baseline.rows),
            "confidence": baseline.confidence,
            "citation": str(baseline.citation),
            "file": str(baseline.file),
        }
        for baseline in baselines
    )
    columns = (
        Column(key="id", title="Id"),
        Column(key="what", title="What"),
        Column(key="dataset", title="Dataset"),
        Column(key="split", title="Split", missing="not stated"),
        Column(key="level", title="Level", missing="not stated"),
        Column(key="n", title="n", write=_grouped, align="right"),
        Column(key="methods", title="Methods", align="right"),
        Column(key="confidence", title="Confidence"),
    )
    return Table(title="Published tables", columns=columns, rows=rows)


def baseline_table(baseline: Baseline) -> Table:
    """One row a method and condition, with everything to know before comparing above it."""
    rows: list[dict[str, Any]] = []
    rules: list[int] = []
    before = 1
    for row in baseline.rows:
        added = _rows(row, baseline)
        if rows and (before > 1 or len(added) > 1):  # methods with one figure stand together
            rules.append(len(rows))
        rows, before = rows + added, len(added)
    columns = [Column(key="method", title="Method")]
    if any(row["policy"] for row in rows):
        columns.append(Column(key="policy", title="Policy"))
    columns += [
        Column(key=f"setting {name}", title=name, missing="") for name in _settings(baseline)
    ]
    columns.append(Column(key="condition", title="Condition"))
    for metric in baseline.metrics:
        columns.append(Column(key=f"{metric} printed", title=metric, align="right", missing=""))
        if any(row.get(f"{metric} ci") for row in rows):
            columns.append(
                Column(key=f"{metric} interval", title="Interval", align="right", missing="")
            )
    columns += _optional(rows, baseline)
    return Table(
        title=f"{baseline.id}: {baseline.title}",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=provenance(baseline),
        rule_before=tuple(rules),
    )


def provenance(baseline: Baseline) -> tuple[str, ...]:
    """Where the figures come from and what they were measured on, one sentence each."""
    ensemble = {None: "not stated", 1: "a single model"}.get(
        baseline.ensemble, f"the mean of {baseline.ensemble} models"
    )
    size = f"{baseline.image_size} px" if baseline.image_size else "not stated"
    n = _grouped(baseline.n) if baseline.n else "not stated"
    lines = [
        f"Citation: {baseline.citation}.",
        f"Read from: {'; '.join(baseline.read_at)}.",
        f"Confidence: {baseline.confidence}.",
        f"Data: {baseline.dataset}, split {baseline.split or 'not stated'}, level "
        f"{baseline.level or 'not stated'}, n {n}.",
        f"Views: {baseline.views or 'not stated'}; images: {size}; ensemble: {ensemble}.",
    ]
    if baseline.interval:
        lines.append(f"Intervals: {baseline.interval}.")
    return (*lines, *baseline.notes)


def baseline_document(baseline: Baseline) -> dict[str, Any]:
    """What JSON says of a published table beside its rows."""
    citation = baseline.citation
    return {
        "id": baseline.id,
        "citation": {
            "authors": citation.authors,
            "title": citation.title,
            "venue": citation.venue,
            "year": citation.year,
            "doi": citation.doi,
            "arxiv": citation.arxiv,
            "note": citation.note,
            "table": citation.table,
        },
        "read_at": list(baseline.read_at),
        "confidence": baseline.confidence,
        "dataset": baseline.dataset,
        "split": baseline.split,
        "level": baseline.level,
        "n": baseline.n,
        "positives": dict(baseline.positives),
        "views": baseline.views,
        "image_size": baseline.image_size,
        "ensemble": baseline.ensemble,
        "interval": baseline.interval,
        "mean_over": list(baseline.mean_over),
        "metrics": {
            name: {"unit": metric.unit, "higher_is_better": metric.higher_is_better}
            for name, metric in baseline.metrics.items()
        },
        "file": str(baseline.file),
    }


def _rows(row: Row, baseline: Baseline) -> list[dict[str, Any]]:
    """The row's conditions, with a figure for each metric and its text as printed."""
    by_condition: dict[str, dict[str, Any]] = {}
    for metric in baseline.metrics:
        for value in row.of(metric):
            shown = by_condition.setdefault(value.condition, _context(row, value))
            shown[metric] = value.value
            shown[f"{metric} printed"] = value.text()
            if value.ci is not None:
                low, high = (format(bound, f".{value.decimals}f") for bound in value.ci)
                shown[f"{metric} ci"] = list(value.ci)
                shown[f"{metric} interval"] = f"[{low}, {high}]"
            note = value.note or (DERIVED if value.derived else None)
            shown["note"] = "; ".join(filter(None, (shown["note"], note))) or None
    found = [by_condition[name] for name in baseline.conditions if name in by_condition]
    found[0]["note"] = "; ".join(filter(None, (row.note, found[0]["note"]))) or None
    return found


def _context(row: Row, value: Value) -> dict[str, Any]:
    return {
        "method": row.method,
        "policy": value.policy,
        **{f"setting {name}": setting for name, setting in row.setting.items()},
        "condition": value.condition,
        "positives": value.positives,
        "n": value.n,
        "ensemble": row.ensemble,
        "image_size": row.image_size,
        "confidence": value.confidence,
        "note": None,
    }


def _settings(baseline: Baseline) -> list[str]:
    return list(dict.fromkeys(name for row in baseline.rows for name in row.setting))


def _optional(rows: Sequence[Mapping[str, Any]], baseline: Baseline) -> list[Column]:
    """The columns that are shown where any row says more than the notes above the table."""
    wanted = (
        Column(key="image_size", title="Image size", align="right", missing=""),
        Column(key="ensemble", title="Models", align="right", missing=""),
        Column(key="positives", title="Positive", write=_grouped, align="right", missing=""),
        Column(key="note", title="Note", missing=""),
    )
    above = {"image_size": baseline.image_size, "ensemble": baseline.ensemble}
    return [c for c in wanted if any(row[c.key] != above.get(c.key) for row in rows)]


def _grouped(count: int) -> str:
    return f"{count:,}"
