"""What every process but the leader does: it waits for orders, and does them.

``python -m bench.runs.member RANK SIZE SOCKET MEMORY`` is what ``--workers`` starts, with two open
descriptors; under torchrun ``bench run`` itself comes here. A member prints nothing and writes
nothing but its clients' files.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import ScenarioFailed
from bench.federation.team import Abandoned, Team
from bench.garbage import uncollected
from bench.locations import cache_folder
from bench.runs.crew import Place
from bench.runs.source import find_source, open_data
from bench.suites.scenario import Scenario

if TYPE_CHECKING:
    from bench.runs.ensemble import Ensemble
    from bench.runs.hardware import Hardware
    from bench.runs.material import Data, Material

SCENARIO = "scenario"
"""The order that begins a scenario; all others are about the one that was begun."""


def follow(team: Team, place: Place) -> None:
    """Does what the leader orders until there is nothing left.

    What fails for a reason that the leader knows ends the scenario only; anything else is raised,
    and ends this process and with it the run.
    """
    kit = _Kit(team, place)
    ensemble: Ensemble | None = None
    while (order := team.share()) is not None:
        name, *details = order
        try:
            if name == SCENARIO:
                ensemble = None
                ensemble = kit.begin(details[0])
            else:
                assert ensemble is not None, f"the order '{name}' before any scenario"
                ensemble.obey(name, details)
        except (Abandoned, ScenarioFailed):
            continue


class _Kit:
    """What outlives a scenario: the data sets that were opened, the images, the device."""

    def __init__(self, team: Team, place: Place) -> None:
        self._team = team
        self._place = place
        self._data: dict[str, Data] = {}
        self._materials: dict[tuple[str, int], Material] = {}
        self._hardware: Hardware | None = None

    def begin(self, told: Mapping[str, Any]) -> Ensemble:
        """Puts the scenario together, as the leader does at the same time."""
        from bench.runs.ensemble import Ensemble

        scenario = Scenario.from_row(told["scenario"])
        return Ensemble.assemble(
            self._team,
            scenario,
            lambda: self._material(scenario, told),
            lambda: self._open(told).with_threads(told["threads"]),
            Path(told["folder"]),
        )

    def _material(self, scenario: Scenario, told: Mapping[str, Any]) -> Material:
        name, size = scenario.dataset, scenario.image_size
        if name not in self._data:
            self._data[name] = open_data(find_source(told["data"], name))
        if (name, size) not in self._materials:
            self._materials[name, size] = self._data[name].prepare(
                size, cache=cache_folder(), on_bad_image=told["on_bad_image"]
            )
        return self._materials[name, size]

    def _open(self, told: Mapping[str, Any]) -> Hardware:
        from bench.runs.hardware import Hardware

        if self._hardware is None:
            self._hardware = Hardware.open(told["device"], place=self._place, team=self._team.size)
        return self._hardware


def main() -> None:
    """The process that ``--workers`` starts."""
    from bench.federation.shared_memory import SharedMemoryTeam

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the leader, who decides
    rank, size, descriptor, memory = map(int, sys.argv[1:])
    link = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    with uncollected():
        import bench.runs.ensemble  # noqa: F401 - torch, while the leader opens its data

    team = SharedMemoryTeam(rank, size, [link], memory, lost=lambda _: SystemExit(0))
    follow(team, Place(number=rank, processes=size))


def _end_with(link: socket.socket) -> None:
    """Ends this process, whatever it is doing, as soon as the leader's is gone."""
    watched = select.poll()
    watched.register(link, getattr(select, "POLLRDHUP", 0))
    watched.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
