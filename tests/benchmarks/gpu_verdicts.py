"""What gpu_throughput.py measured, held against what issue 4 asks for."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.table import Column, Table

BAR_BEST, BAR_SMALL = 3000.0, 2000.0
"""Training images/s on an H200, at the best batch and at batch 16."""
BAR_OVERHEAD = 0.03
"""Of a federated round over the same images trained centrally."""
BAR_SECONDS = 240.0
"""Three epochs of a CheXpert-sized set at the best batch."""
BAR_SEVERAL = 1.05
"""The engine's round ÷ the same clients one after another: at once only where that is faster."""
EPOCHS = 3

Known = Mapping[str, Any]
"""By part, what it returned; None or nothing where it did not."""


def fastest(known: Known, batch: int | None = None) -> dict[str, Any] | None:
    """The fastest row of ``bench throughput``, of that batch or of any; None if none is known."""
    parts = (known.get(name) or {} for name in ("throughput", "compiled"))
    rows = [
        row
        for part in parts
        for row in part.get("rows", ())
        if row["training_images_per_second"] and batch in (None, row["batch"])
    ]
    return max(rows, key=lambda row: float(row["training_images_per_second"]), default=None)


def verdicts(
    known: Known, small: int, federations: Sequence[int], workloads: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A row for each bar: what was asked, what was measured, and whether that reaches it.

    ``small`` is the batch size with a bar of its own, ``federations`` their numbers of clients,
    ``workloads`` those of the peers whose clients may be trained at once.
    """
    ran = known.get("run") or {"best": None, "batches": {}}
    batches = ran["batches"]
    return [
        _speed("best batch", fastest(known), BAR_BEST),
        _speed(f"batch {small}", fastest(known, small), BAR_SMALL),
        _speed("bench run, best batch", _ran(batches, ran["best"]), BAR_BEST),
        _speed(f"bench run, batch {small}", _ran(batches, small), BAR_SMALL),
        _epochs(known.get("chexpert")),
        *(_overhead(known.get("federation"), clients) for clients in federations),
        *(_several(known.get("several"), workload) for workload in workloads),
        _tests(known.get("tests")),
    ]


def _row(bar: str, measured: str | None, reached: bool) -> dict[str, Any]:
    """No measurement is no pass."""
    verdict = "not measured" if measured is None else "reached" if reached else "MISSED"
    return {"bar": bar, "measured": measured, "verdict": verdict}


def _speed(what: str, found: Mapping[str, Any] | None, bar: float) -> dict[str, Any]:
    asked = f"{what}: {bar:,.0f} images/s"
    if found is None:
        return _row(asked, None, False)
    value = found["training_images_per_second"]
    text = f"{value:,.0f} images/s (batch {found['batch']}, {found['step']})"
    return _row(asked, text, value >= bar)


def _ran(batches: Mapping[str, Any], batch: int | None) -> dict[str, Any] | None:
    found = batches.get(str(batch))
    if found is None:
        return None
    return found | {"batch": batch, "training_images_per_second": found["images_per_second"]}


def _epochs(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where there was time for fewer epochs, as many times the mean of those."""
    asked = f"{EPOCHS} epochs of CheXpert: {BAR_SECONDS:.0f} s"
    seconds = found["epoch_seconds"] if found else []
    if not seconds:
        return _row(asked, None, False)
    whole = EPOCHS * statistics.mean(seconds)
    return _row(asked, f"{whole:.0f} s, from {len(seconds)} measured", whole < BAR_SECONDS)


def _overhead(found: Mapping[str, Any] | None, clients: int) -> dict[str, Any]:
    asked = f"overhead of {clients} clients: {BAR_OVERHEAD:.0%}"
    one = (found or {}).get("clients", {}).get(str(clients))
    if one is None:
        return _row(asked, None, False)
    text = f"{one['overhead']:+.1%} ({one['images_a_client']} images a client)"
    return _row(asked, text, one["overhead"] <= BAR_OVERHEAD)


def _several(found: Mapping[str, Any] | None, workload: str) -> dict[str, Any]:
    asked = f"rounds of {workload}: no slower than one client after another"
    one = (found or {}).get(workload)
    if one is None:
        return _row(asked, None, False)
    seconds = f"{one['chosen_seconds']:.4f} s a round"
    text = f"{one['ratio']:.2f} of that, {seconds} ({one['step_reason']})"
    return _row(asked, text, one["ratio"] <= BAR_SEVERAL)


def _tests(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tests that were skipped say nothing."""
    asked = "the tests that need a GPU pass"
    if found is None:
        return _row(asked, None, False)
    whole = "passed" in found["summary"] and "skipped" not in found["summary"]
    return _row(asked, found["summary"], found["exit_code"] == 0 and whole)


def tables(known: Known, rows: Sequence[Mapping[str, Any]], *, dry: bool) -> list[Table]:
    """The sweeps, then the bars; a dry run has no verdicts."""
    from bench.throughput.table import throughput_table

    sweeps = [known[name] for name in ("throughput", "compiled") if known.get(name)]
    columns = [Column(key="bar", title="Asked for"), Column(key="measured", title="Measured")]
    if not dry:
        columns.append(Column(key="verdict", title="Verdict"))
    device = "a CPU in miniature: no measurement" if dry else known["machine"]["gpu"]
    bars = Table(title=f"Speed on {device}", columns=tuple(columns), rows=tuple(rows))
    return [*map(throughput_table, sweeps), bars]
