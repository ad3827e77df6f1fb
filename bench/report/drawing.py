"""Figures drawn by this process and helpers (:mod:`bench.helpers`), for matplotlib holds the
interpreter's lock. Which process draws a figure changes no byte of it."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bench import helpers
from bench.environment import granted_cores
from bench.report.figures import FORMATS, save, style
from bench.report.roc_sheet import Panel, Trace, sheet

MOST_HELPERS = 7
PANELS_EACH = 5
"""So many panels are worth a process, which takes a second to start."""


class Drawers:
    """Processes that draw panels; each is started when there is enough for it to do, and stays.

    A process that is gone is done without: what it was drawing is drawn by this one.
    """

    def __init__(self, most: int | None = None) -> None:
        """At most ``most`` helpers, or as many as there are cores beside this process's."""
        self._most = min(granted_cores() - 1, MOST_HELPERS) if most is None else most
        self._helpers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        helpers.end(self._helpers)

    def draw(
        self, panels: Sequence[Panel], folder: Path, formats: Sequence[str] = FORMATS
    ) -> list[Path]:
        """Writes every panel as ``<folder>/<stem>.<format>``; returns the files in that order.

        Raises OSError where a file cannot be written.
        """
        todo: queue.SimpleQueue[Panel] = queue.SimpleQueue()
        for panel in panels:
            todo.put(panel)
        while len(self._helpers) < min(self._most, len(panels) // PANELS_EACH - 1):
            self._helpers.append(helpers.start(__name__))
        errors: list[OSError] = []
        feeds = [
            threading.Thread(target=_feed, args=(h, todo, folder, formats, errors), daemon=True)
            for h in self._helpers
        ]
        for feed in feeds:
            feed.start()
        try:
            _draw_all(todo, folder, formats)
        except BaseException:
            _forget(todo)
            raise
        finally:
            for feed in feeds:
                feed.join()
        _draw_all(todo, folder, formats)
        if errors:
            raise errors[0]
        return [folder / f"{panel.stem}.{form}" for panel in panels for form in formats]


def _draw_all(todo: queue.SimpleQueue[Panel], folder: Path, formats: Sequence[str]) -> None:
    """Draws what is left to draw."""
    with style():
        while True:
            try:
                panel = todo.get_nowait()
            except queue.Empty:
                return
            save(sheet(panel).figure, folder / panel.stem, formats)


def _forget(todo: queue.SimpleQueue[Panel]) -> None:
    """Takes out what is left, so that helpers end with what they are at."""
    while True:
        try:
            todo.get_nowait()
        except queue.Empty:
            return


def _feed(
    helper: subprocess.Popen[str],
    todo: queue.SimpleQueue[Panel],
    folder: Path,
    formats: Sequence[str],
    errors: list[OSError],
) -> None:
    """Has a helper draw panels until there are none; one that it could not do goes back."""
    while True:
        try:
            panel = todo.get_nowait()
        except queue.Empty:
            return
        question = {"panel": _told(panel), "folder": str(folder), "formats": list(formats)}
        try:
            answer = helpers.ask(helper, question)
        except ValueError:  # no JSON: whatever it says next would be taken for another's answer
            helper.kill()
            answer = None
        if answer is None:
            todo.put(panel)
            return
        if "error" in answer:
            errors.append(OSError(*answer["error"]))


def _told(panel: Panel) -> dict[str, Any]:
    """The panel as JSON."""
    told = asdict(panel)
    for trace in filter(None, (*told["traces"], told["mean"])):
        trace["members"] = [[fpr.tolist(), tpr.tolist()] for fpr, tpr in trace["members"]]
    return told


def _panel(told: dict[str, Any]) -> Panel:
    """The inverse of :func:`_told`."""
    mean = told["mean"]
    traces = tuple(map(_trace, told["traces"]))
    return Panel(**{**told, "traces": traces, "mean": None if mean is None else _trace(mean)})


def _trace(told: dict[str, Any]) -> Trace:
    members = tuple((np.array(fpr), np.array(tpr)) for fpr, tpr in told["members"])
    ci = told["ci"]
    return Trace(**{**told, "members": members, "ci": None if ci is None else tuple(ci)})


def reply(question: dict[str, Any]) -> dict[str, Any]:
    """A helper's answer to a panel."""
    panel = _panel(question["panel"])
    with style():
        save(sheet(panel).figure, Path(question["folder"]) / panel.stem, question["formats"])
    return {}
