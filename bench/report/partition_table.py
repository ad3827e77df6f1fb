"""The tables of a partition: sizes, prevalences and uncertain shares, per client or in summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.federation.partitions import PartitionReport
from bench.report.table import Column, Table, decimals

SHOWN_CLIENTS = 20
"""Up to so many clients the sizes are shown client by client; beyond, in summary."""
SIDE_BY_SIDE = 8
"""Up to so many clients the conditions are shown with a column for each of them."""

SUMMARY: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("lowest", np.min),
    ("median", np.median),
    ("highest", np.max),
)


def partition_tables(
    report: PartitionReport, *, title: str, notes: Sequence[str] = (), synthetic: bool = False
) -> tuple[Table, ...]:
    """Two or three tables to read: sizes, prevalences, and uncertain shares where there are any.

    With many clients the lowest, median and highest over the clients stand for them;
    :func:`client_table` always has every client.
    """
    tables = [
        _sizes(report, title, notes, synthetic),
        _conditions(
            report, "Prevalence, %", report.prevalence(), report.pool_prevalence(), synthetic
        ),
    ]
    if report.uncertain.any():
        share, pool = report.uncertain_share(), report.pool_uncertain_share()
        tables.append(_conditions(report, "Uncertain labels, %", share, pool, synthetic))
    return tuple(tables)


def client_table(
    entries: Sequence[tuple[Mapping[str, Any], PartitionReport]], *, synthetic: bool = False
) -> Table:
    """One row for each client of each partition with everything there is; for csv and json.

    ``entries`` pairs each report with the values that say which partition it is, the same keys
    throughout.
    """
    rows: list[dict[str, Any]] = []
    for which, report in entries:
        prevalence, uncertain = report.prevalence(), report.uncertain_share()
        for k, row in enumerate(_clients(report)):
            shares = {f"prevalence {o}": _plain(v) for o, v in _pairs(report, prevalence[k])}
            shares |= {f"uncertain {o}": _plain(v) for o, v in _pairs(report, uncertain[k])}
            rows.append(
                {
                    **which,
                    "fingerprint": report.fingerprint,
                    "overall_divergence": report.overall,
                    **row,
                    **shares,
                }
            )
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Table(
        columns=tuple(Column(key=key, title=key, missing="") for key in keys),
        rows=tuple(rows),
        title="Partitions",
        synthetic=synthetic,
    )


def _sizes(report: PartitionReport, title: str, notes: Sequence[str], synthetic: bool) -> Table:
    rows = _clients(report)
    counted = [key for key in ("images", "studies", "patients") if key in rows[0]]
    if len(rows) > SHOWN_CLIENTS:
        keys = [*counted, "divergence", "uncertain"]
        columns = {key: [row[key] for row in rows] for key in keys}
        rows = [
            {"client": name, **{key: float(take(values)) for key, values in columns.items()}}
            for name, take in SUMMARY
        ]
    total: dict[str, Any] = {"client": "all", **{key: _total(report, key) for key in counted}}
    total["uncertain"] = _uncertain(report.uncertain.sum(), report.images.sum(), report)
    return Table(
        title=title,
        notes=(
            report.description,
            f"{len(report.names)} clients; overall Jensen–Shannon divergence "
            f"{report.overall:.4f} bits; fingerprint {report.fingerprint}",
            *notes,
        ),
        columns=(
            Column(key="client", title="Client"),
            *(_number(key, key.capitalize(), lambda n: f"{n:,.0f}") for key in counted),
            _number("divergence", "Divergence from all, bits", decimals(4)),
            _number("uncertain", "Uncertain, % of labels", _percent),
        ),
        rows=(*rows, total),
        rule_before=(len(rows),),
        synthetic=synthetic,
    )


def _conditions(
    report: PartitionReport,
    title: str,
    share: NDArray[np.float64],
    pool: NDArray[np.float64],
    synthetic: bool,
) -> Table:
    if len(report.names) <= SIDE_BY_SIDE:
        heads, values = list(report.names), share
    else:
        heads = [name for name, _ in SUMMARY]
        values = np.array([take(share, axis=0) for _, take in SUMMARY])
    rows = tuple(
        {
            "condition": condition,
            "all": float(pool[o]),
            **{f"client:{head}": float(values[k, o]) for k, head in enumerate(heads)},
        }
        for o, condition in enumerate(report.labels)
    )
    return Table(
        title=title,
        columns=(
            Column(key="condition", title="Condition"),
            _number("all", "All", _percent),
            *(_number(f"client:{head}", head, _percent) for head in heads),
        ),
        rows=rows,
        synthetic=synthetic,
    )


def _clients(report: PartitionReport) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(report.names):
        row: dict[str, Any] = {"client": name, "images": int(report.images[k])}
        if report.studies is not None:
            row["studies"] = int(report.studies[k])
        if report.noun == "patient":
            row["patients"] = int(report.units[k])
        row["divergence"] = float(report.divergence[k])
        row["uncertain"] = _uncertain(report.uncertain[k].sum(), report.images[k], report)
        rows.append(row)
    return rows


def _uncertain(uncertain: int, images: int, report: PartitionReport) -> float:
    """Share of all labels, images × conditions."""
    return float(uncertain / (images * len(report.labels)))


def _total(report: PartitionReport, key: str) -> int:
    counts = {"images": report.images, "studies": report.studies, "patients": report.units}[key]
    assert counts is not None
    return int(counts.sum())


def _pairs(report: PartitionReport, values: NDArray[np.float64]) -> list[tuple[str, float]]:
    return list(zip(report.labels, values.tolist(), strict=True))


def _plain(value: float) -> float:
    """Six digits say all that a share of so many images can say."""
    return round(value, 6)


def _number(key: str, title: str, write: Callable[[Any], str]) -> Column:
    return Column(key=key, title=title, write=write, align="right")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
