"""A scenario put together in every process of a team, and worked by the leader's orders.

The leader calls the methods; each first tells the others what it is about to do, and they do the
same by :meth:`Ensemble.obey`. In a team of one nothing is told, and the methods are the assembly's
own. All decisions (when to evaluate, to keep a checkpoint, to stop) are therefore the leader's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.atomic import replacing
from bench.errors import ScenarioFailed, WorkerLost, first_line
from bench.federation.team import MEND, Abandoned, Team, given_up_everywhere, together
from bench.results.run import CLIENTS_FOLDER, STATE_FILE
from bench.runs import checkpoint
from bench.runs.assembly import Assembly
from bench.runs.prediction import predict_together

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data.stacked import Images
    from bench.federation.members import Member
    from bench.federation.outcome import RoundResult
    from bench.runs.hardware import Hardware
    from bench.runs.material import Material
    from bench.suites.scenario import Scenario

GLOBAL, PERSONAL = "models", "personal_models"
"""The two kinds of a federation's models."""


class Ensemble:
    """The scenario's assembly and the team it is worked by."""

    def __init__(self, team: Team, assembly: Assembly, material: Material) -> None:
        self.team = team
        self.assembly = assembly
        self._evaluated = material.evaluated

    @classmethod
    def assemble(
        cls,
        team: Team,
        scenario: Scenario,
        material: Callable[[], Material],
        hardware: Callable[[], Hardware],
        folder: Path,
    ) -> Ensemble:
        """Puts the scenario together in every process, from its checkpoint where there is one.

        Raises what fails in any of them, and ScenarioFailed where they do not have the same data.
        """
        made: list[Ensemble] = []

        def make() -> dict[str, Any]:
            opened, own = hardware(), material()
            started = checkpoint.load(folder / STATE_FILE)
            assembly = Assembly(scenario, own, opened, folder / CLIENTS_FOLDER, started, team)
            made.append(cls(team, assembly, own))
            return {
                "data": own.digest,
                "images": len(own.images),
                "clients": assembly.partition.fingerprint,
                "round": 0 if started is None else started.round,
            }

        told = together(team, make)
        for rank, one in enumerate(told):
            if one != told[0]:
                raise _differs(team, rank, told)
        return made[0]

    def obey(self, name: str, details: list[Any]) -> None:
        """Does what the leader does at the same time."""
        match name, details:
            case "round", [number]:
                self.round(number)
            case "load", [kind, index]:
                self._load(kind, index)
            case "predict", [split, batch]:
                self._predict(split, batch)
            case "state", []:
                self.state()
            case "commit", [number]:
                self.commit(number)
            case "export", []:
                for _, load in self.assembly.federation.models():
                    load()
            case _:
                raise AssertionError(f"the order {name} {details}")

    @contextmanager
    def _ordered(self, *order: Any) -> Iterator[None]:
        """Tells the others what the leader does in this context.

        Raises WorkerLost, which ends the run, for what fails in the leader alone: the others may
        wait for its part by then, and would take the next order for it.
        """
        leads = self.team.size > 1 and self.team.rank == 0
        if leads:
            self.team.share(order)
        try:
            yield
        except WorkerLost:
            raise
        except Exception as error:
            if not leads or given_up_everywhere(error):
                raise
            raise WorkerLost(
                "a process failed where the others wait for it",
                where=f"worker 1 of {self.team.size}",
                found=first_line(error, named=True),
                mend=MEND,
            ) from error

    def round(self, number: int) -> RoundResult:
        """Round ``number``, counted over all phases; raises what the federation's does."""
        with self._ordered("round", number):
            self.assembly.enter_phase_of(number)
            return self.assembly.federation.round(number)

    def models(self) -> Iterator[Member]:
        """The models to be scored; see :class:`bench.runs.material.Models`."""
        return self._members(GLOBAL)

    def personal_models(self) -> Iterator[Member]:
        """The clients' own models, where they have some beside a global one."""
        return self._members(PERSONAL)

    def _members(self, kind: str) -> Iterator[Member]:
        for index, (name, _) in enumerate(getattr(self.assembly.federation, kind)()):
            yield name, partial(self._load, kind, index)

    def _load(self, kind: str, index: int) -> None:
        with self._ordered("load", kind, index):
            _, load = list(getattr(self.assembly.federation, kind)())[index]
            load()

    def predict(self, images: Images) -> NDArray[np.float32]:
        """(n, o) scores of one of the material's evaluation splits by the model that was loaded.

        Its batches are shared out; they are the same batches, so the bits are the same.
        """
        batch = self.assembly.trainer.prediction_batch
        if self.team.size == 1 or len(images) <= batch:
            return self.assembly.trainer.predict(images)
        split = next(name for name, one in self._evaluated.items() if one is images)
        with self._ordered("predict", split, batch):
            return self._predict(split, batch)

    def _predict(self, split: str, batch: int) -> NDArray[np.float32]:
        trainer, images = self.assembly.trainer, self._evaluated[split]
        rows = np.arange(len(images))
        shape = len(images), trainer.task.classes
        return predict_together(self.team, partial(trainer.predict, images), rows, batch, shape)

    def state(self) -> dict[str, Tensor]:
        """What the next round needs, by name; client files are written."""
        with self._ordered("state"):
            return self.assembly.state()

    def commit(self, number: int) -> None:
        """The state after round ``number`` is on disk."""
        with self._ordered("commit", number):
            self.assembly.federation.commit(number)

    def save_weights(self, path: Path) -> str:
        """Replaces the weights file in one step and returns its SHA-256."""
        from safetensors.torch import save_file

        with self._ordered("export"):
            tensors = self.assembly.federation.export()
        with replacing(path) as temporary:
            save_file(tensors, temporary)
            return hashlib.sha256(temporary.read_bytes()).hexdigest()


def _differs(team: Team, rank: int, told: list[dict[str, Any]]) -> Exception:
    if team.rank != 0:
        return Abandoned()
    what = ", ".join(key for key, value in told[0].items() if told[rank][key] != value)
    return ScenarioFailed(
        "the processes of this run do not see the same files",
        where=f"worker {rank + 1} of {team.size}",
        expected="the same data and the same results folder for all of them",
        found=f"other {what}",
        mend="put both where every machine sees them, under the same path",
    )
