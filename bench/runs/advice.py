"""What a run says of the machine's cores: where there are too few, and how they would do more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.environment import granted_cores
from bench.runs.neighbours import Neighbours

if TYPE_CHECKING:
    from bench.runs.crew import Place
    from bench.runs.hardware import Hardware
    from bench.suites.scenario import Scenario


class Advice:
    """Watches the machine from when it is made; ``say`` gets at most one line of each kind.

    Threads that were asked for are not spoken of, nor is anything on a GPU.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._neighbours = Neighbours()
        self._said_enough = False

    def of_hardware(self, hardware: Hardware, place: Place) -> None:
        """Says so where there are fewer cores than threads, or others use them."""
        if hardware.device.type != "cpu":
            return
        if place.processes > 1:  # whose start would pass for another program's
            self._said_enough = True
            self._of_turns(place.processes, hardware.threads)
        elif not hardware.asked:
            warning = self._neighbours.warning(hardware.threads)
            if warning is not None:
                self._said_enough = True
                self._say(warning)

    def _of_turns(self, processes: int, threads: int) -> None:
        if processes * threads > granted_cores():
            each = "a thread" if threads == 1 else f"{threads} threads"
            self._say(f"{processes} workers of {each} each take turns on {granted_cores()} cores")

    def of_scenario(self, scenario: Scenario, hardware: Hardware) -> None:
        """Says so where processes would train a round's clients faster than threads do."""
        from bench.runs.sharing import workers_hint

        if self._said_enough or hardware.asked or hardware.device.type != "cpu":
            return
        hint = workers_hint(scenario, hardware.threads)
        if hint is not None:
            self._said_enough = True
            self._say(hint)
