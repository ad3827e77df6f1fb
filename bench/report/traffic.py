"""What runs sent, beside what they scored: the price of every AUROC in bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from bench.report.headline import Headline, headline_of
from bench.report.table import Column, Table, decimals
from bench.report.units import byte_size
from bench.results.run import Run
from bench.suites.client_rules import CLIENT_KEYS, all_plain

COUNTED = (
    "bytes are those of parameters and running statistics, over all rounds; a client that never "
    "reports was sent the model and sends nothing"
)


def traffic_table(runs: Sequence[Run], split: str) -> Table | None:
    """A row for each finished run that sent anything, against FedAvg where that was run as well.

    A run's FedAvg is the scenario that is equal but for the strategy and for which clients take
    part and what they do: every client that is drawn trains all its epochs and sends its model as
    it is. None where fewer than two runs sent anything, or all sent the same.
    """
    sent = [run for run in runs if split in run.metrics and _bytes(run)]
    if len({_bytes(run) for run in sent}) < 2 or any("accuracy" in r.metrics[split] for r in sent):
        return None
    headline = headline_of([run.metrics[split] for run in sent])
    plain = [run for run in sent if _is_fedavg(run)]
    rows = [_row(run, _fedavg_of(run, plain), headline, split) for run in sent]
    three, signed = decimals(3), decimals(3, signed=True)
    columns = [
        Column(key="run", title="Scenario"),
        _number("auroc", headline.title, three, missing="undefined"),
        _number("difference", "From FedAvg's", signed),
        _number("bytes_up", "To the server", byte_size),
        _number("share_up", "Of FedAvg's", _percent),
        _number("bytes_down", "To clients", byte_size),
        _number("share_down", "Of FedAvg's", _percent),
    ]
    known = {key for row in rows for key, value in row.items() if value is not None}
    return Table(
        title=f"What was sent, and AUROC on the split '{split}'",
        columns=tuple(c for c in columns if c.key in known),
        rows=tuple(rows),
        notes=(COUNTED,),
        synthetic=any(run.synthetic for run in sent),
    )


def _row(run: Run, plain: Run | None, headline: Headline, split: str) -> dict[str, Any]:
    up, down = run.totals["bytes_up"], run.totals["bytes_down"]
    auroc = headline.auroc(run.metrics[split])
    row = {"run": run.name, "auroc": auroc, "bytes_up": up, "bytes_down": down}
    row |= {"fedavg": None, "difference": None, "share_up": None, "share_down": None}
    if plain is None or plain is run:
        return row
    reference = headline.auroc(plain.metrics[split])
    if auroc is not None and reference is not None:
        row["difference"] = auroc - reference
    return row | {
        "fedavg": plain.name,
        "share_up": up / plain.totals["bytes_up"],
        "share_down": down / plain.totals["bytes_down"],
    }


def _is_fedavg(run: Run) -> bool:
    return run.scenario["strategy"]["name"] == "fedavg" and all_plain(run.scenario)


def _fedavg_of(run: Run, plain: Sequence[Run]) -> Run | None:
    """The one of ``plain`` that differs in the strategy and the keys of :func:`all_plain` alone.

    A run by local steps has no epochs; it has a FedAvg where all there are have the same number.
    """
    apart = ["strategy", *CLIENT_KEYS]
    if run.scenario["local_steps"] is not None:
        apart.append("local_epochs")
    same = [one for one in plain if _without(one, apart) == _without(run, apart)]
    epochs = {one.scenario["local_epochs"] for one in same}
    return same[0] if len(epochs) == 1 else None


def _without(run: Run, keys: Collection[str]) -> tuple[str, dict[str, Any]]:
    return run.data["digest"], {k: v for k, v in run.scenario.items() if k not in keys}


def _number(key: str, title: str, write: Any, *, missing: str = "–") -> Column:
    return Column(key=key, title=title, write=write, align="right", missing=missing)


def _bytes(run: Run) -> int:
    total: int = run.totals["bytes_up"] + run.totals["bytes_down"]
    return total


def _percent(share: float) -> str:
    """Two significant digits below ten percent, whole percents above."""
    return f"{share:.0%}" if share >= 0.0995 else f"{100 * share:.2g}%"
