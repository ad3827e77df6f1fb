"""What a person sees while a suite runs: a live display, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from bench.report.units import duration

MOST_NAMED = 3
"""Conditions that one line names."""


class Reporter(Protocol):
    """Receives what happens, in order. Everything goes to stderr: stdout is for results."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def note(self, text: str) -> None:
        """Something worth a line: the data chosen, a warning."""

    def progress(self, what: str, done: int, total: int) -> None:
        """A preparatory job's advance, such as decoding images."""

    def suite(self, name: str, total: int, finished: int) -> None:
        """A suite of ``total`` scenarios starts, ``finished`` of them done earlier."""

    def scenario(self, number: int, name: str, first_round: int, rounds: int) -> None:
        """Scenario ``number`` (1-based) starts at ``first_round``; above 1 it is being resumed."""

    def round(self, record: Mapping[str, Any], rounds: int) -> None:
        """A round ended; ``record`` is its line in rounds.jsonl."""

    def done(self, name: str, headline: str, seconds: float) -> None:
        """A scenario ended well with that headline, see :func:`headline_text`."""

    def failed(self, name: str, message: str) -> None:
        """A scenario stopped."""


def reporter(*, quiet: bool) -> Reporter:
    """The live display on a terminal, a line an event elsewhere, failures only with ``--quiet``."""
    if quiet:
        return Plain(quiet=True)
    if sys.stderr.isatty():
        return Live()
    return Plain(quiet=False)


def round_text(record: Mapping[str, Any], rounds: int) -> str:
    """One round in one line."""
    loss = record["loss"]
    parts = [f"round {record['round']}/{rounds}", f"loss {'–' if loss is None else f'{loss:.4f}'}"]
    if record.get("auroc") is not None:
        parts.append(auroc_text(record["mean_auroc"], record["auroc"]))
    if record.get("accuracy") is not None:
        parts.append(f"accuracy {record['accuracy']:.4f}")
    parts.append(f"{record['images_per_second']:.0f} images/s")
    return "  ".join(parts)


def auroc_text(mean: float | None, aurocs: Mapping[str, float | None]) -> str:
    """The mean over the competition tasks; where none is defined, the conditions that are."""
    if mean is not None:
        return f"mean AUROC {mean:.3f}"
    defined = [f"{name} {value:.3f}" for name, value in aurocs.items() if value is not None]
    return "AUROC " + (", ".join(defined[:MOST_NAMED]) if defined else "undefined")


def headline_text(metrics: Mapping[str, Any]) -> str:
    """The figure a run is known by, or why there is none, and when it reached its target."""
    block = metrics.get("valid") or metrics["test"]
    if "accuracy" in block:
        text = f"accuracy {block['accuracy']:.4f}"
    else:
        aurocs = {name: entry["auroc"] for name, entry in block["observations"].items()}
        text = auroc_text(block["mean_auroc"], aurocs)
    target = block.get("target")
    if target is None:
        return text
    return f"{text}, {target['target']:g} {reached_text(target)}"


def reached_text(target: Mapping[str, Any]) -> str:
    """``after 43.2 rounds`` or ``not reached in 500 rounds``, of a block's ``target``."""
    if target["reached"]:
        return f"after {target['rounds']:.1f} rounds"
    return f"not reached in {target['rounds_run']:,} rounds"


class Plain:
    """A line an event, for logs; with ``quiet``, failures only."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._total = 0
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self._say(text)

    def progress(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._last > 10.0:
            self._last = now
            self._say(f"{what}: {done:,} of {total:,}")

    def suite(self, name: str, total: int, finished: int) -> None:
        self._total = total
        before = f", {finished} of them finished earlier" if finished else ""
        noun = "scenario" if total == 1 else "scenarios"
        self._say(f"suite {name}: {total} {noun}{before}")

    def scenario(self, number: int, name: str, first_round: int, rounds: int) -> None:
        resumed = f" (resumed at round {first_round} of {rounds})" if first_round > 1 else ""
        self._say(f"[{number}/{self._total}] {name}{resumed}")

    def round(self, record: Mapping[str, Any], rounds: int) -> None:
        self._say(f"    {round_text(record, rounds)}")

    def done(self, name: str, headline: str, seconds: float) -> None:
        self._say(f"    done: {headline} in {duration(seconds)}")

    def failed(self, name: str, message: str) -> None:
        print(f"bench: scenario {name} failed: {message}", file=sys.stderr, flush=True)


class Live:
    """A display that is redrawn in place, with finished scenarios above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        self._display = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=self._console,
            transient=True,
        )
        self._jobs: dict[str, Any] = {}
        self._suite: Any = None
        self._scenario: Any = None

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def progress(self, what: str, done: int, total: int) -> None:
        if what not in self._jobs:
            self._jobs[what] = self._display.add_task(what, total=total, detail="")
        self._display.update(self._jobs[what], completed=done, total=total)
        if done >= total:
            self._display.remove_task(self._jobs.pop(what))

    def suite(self, name: str, total: int, finished: int) -> None:
        self._suite = self._display.add_task(f"suite {name}", total=total, detail="scenarios")
        self._display.update(self._suite, completed=finished)

    def scenario(self, number: int, name: str, first_round: int, rounds: int) -> None:
        detail = f"resumed at round {first_round}" if first_round > 1 else ""
        self._drop_scenario()
        self._scenario = self._display.add_task(f"  {name}", total=rounds, detail=detail)
        self._display.update(self._scenario, completed=first_round - 1)

    def _drop_scenario(self) -> None:
        if self._scenario is not None:
            self._display.remove_task(self._scenario)
            self._scenario = None

    def round(self, record: Mapping[str, Any], rounds: int) -> None:
        detail = round_text(record, rounds).split("  ", 1)[1]
        self._display.update(self._scenario, completed=record["round"], total=rounds, detail=detail)

    def done(self, name: str, headline: str, seconds: float) -> None:
        self._drop_scenario()
        self._console.print(f"[green]✓[/] {name}  {headline}  [dim]{duration(seconds)}[/]")
        self._display.advance(self._suite)

    def failed(self, name: str, message: str) -> None:
        from rich.markup import escape

        self._drop_scenario()
        self._console.print(f"[red]✗[/] {name}  {escape(message)}")
        if self._suite is not None:
            self._display.advance(self._suite)
