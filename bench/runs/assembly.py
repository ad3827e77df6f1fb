"""Everything a scenario trains with, put together once: network, task, clients, federation.

A scenario with self-trained observations (Irvin et al. 2019, section 3.4) is two trainings over the
same clients: the first under U-Ignore; then each uncertain label becomes the probability that the
first model gives it, and a new model is trained from the same initialisation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ResultsError
from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.partitions import Partition, partition
from bench.federation.team import ALONE, Team
from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.results.run import STATE_FILE
from bench.runs.checkpoint import Checkpoint
from bench.runs.prediction import predict_together
from bench.suites.policies import policies_of
from bench.training.ahead import ahead_for
from bench.training.targets import client_targets
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.runs.hardware import Hardware
    from bench.runs.material import Material
    from bench.suites.scenario import Scenario

TARGETS = "targets"
FEDERATION = "federation/"


class Assembly:
    """A scenario ready to train: the engine, and the phase it is in."""

    def __init__(
        self,
        scenario: Scenario,
        material: Material,
        hardware: Hardware,
        clients_folder: Path,
        started: Checkpoint | None,
        team: Team = ALONE,
    ) -> None:
        self.team = team
        self.scenario = scenario
        self.hardware = hardware
        self.precision = hardware.precision(scenario)
        self._folder = clients_folder
        self.partition = _divide(scenario, material)
        unknown = material.unknown(scenario)
        self._task = task_for(scenario, unknown=unknown is not None)
        flat = FlatModel(_network(scenario, self._task.outputs), hardware.device)
        self._initial = flat.copies()
        execution = hardware.execution(scenario, sum(self.partition.sizes))
        self.trainer = Trainer(
            scenario,
            flat,
            self._task,
            material.images,
            client_targets(
                self._task,
                material.labels(scenario),
                self.partition.clients,
                policies_of(scenario.label_policy, self.partition.names),
                observations=scenario.observations,
                seed=scenario.seed,
                unknown=unknown,
            ),
            hardware.device,
            self.precision,
            execution,
            ahead_for(flat, self._task, scenario.optimizer, self.precision.autocast, execution),
        )
        self._phase = 1 if started is None else self.phase_of(started.round)
        self.federation = self._federation()
        if started is not None:
            self._restore(started)

    def phase_of(self, number: int) -> int:
        """1 for the first training's rounds, 2 for those of a second one."""
        return 1 + (number - 1) // self.scenario.rounds

    def enter_phase_of(self, number: int) -> None:
        """Starts the second training where round ``number`` is its first."""
        if self.phase_of(number) == self._phase:
            return
        self.trainer.set_targets(self._relabelled())
        # The first training's client files stay until the next checkpoint no longer names them.
        self.trainer.flat.restore(self._initial)
        self._phase = 2
        self.federation = self._federation()

    def _federation(self) -> Federation:
        return Federation(
            self.scenario,
            self.trainer,
            self.partition.clients,
            ClientStore(self._folder),
            team=self.team,
        )

    def _relabelled(self) -> Tensor:
        """The training targets, self-trained cells filled in by the model of whoever holds them."""
        probabilities = np.zeros(tuple(self.trainer.targets.shape), dtype=np.float32)
        members = list(self.federation.models())
        for index, (_, load) in enumerate(members):
            load()
            rows = self._rows_of(index, len(members))
            probabilities[rows] = predict_together(
                self.team,
                self.trainer.predict_rows,
                rows,
                self.trainer.prediction_batch,
                (len(rows), probabilities.shape[1]),
            )
        return self._task.relabel(self.trainer.targets, probabilities)

    def _rows_of(self, member: int, members: int) -> NDArray[np.int64]:
        """A client relabels its own images; a global model relabels everyone's."""
        if members > 1:
            return self.partition.clients[member]
        return np.sort(np.concatenate(self.partition.clients))

    def state(self) -> dict[str, Tensor]:
        """What the next round needs, by name."""
        state = {FEDERATION + name: t for name, t in self.federation.state().items()}
        if self._phase == 2:
            state[TARGETS] = self.trainer.targets
        return state

    def _restore(self, started: Checkpoint) -> None:
        prefix = len(FEDERATION)
        state = {n[prefix:]: t for n, t in started.tensors.items() if n.startswith(FEDERATION)}
        try:
            if self._phase == 2:
                self.trainer.set_targets(started.tensors[TARGETS])
            self.federation.load_state(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ResultsError(
                "the checkpoint is not this scenario's",
                where=self._folder.parent / STATE_FILE,
                found=str(error),
                mend="run the scenario again with --fresh",
            ) from error

    def step_record(self) -> dict[str, Any]:
        """What run.json keeps of how steps are executed: before the first, what is to be tried."""
        execution = self.trainer.execution
        return {"step": execution.name, "step_reason": execution.reason}

    def partition_record(self) -> dict[str, Any]:
        """What run.json keeps of the clients."""
        partition = self.partition
        named = partition.names != tuple(map(str, range(len(partition.clients))))
        return {
            "fingerprint": partition.fingerprint,
            "sizes": partition.sizes,
            "description": partition.description,
            **({"names": list(partition.names)} if named else {}),
        }


def _divide(scenario: Scenario, material: Material) -> Partition:
    """The clients' rows; a centralised run is divided too, so that its record can be compared."""
    return partition(
        scenario.partition,
        material.pool(),
        clients=scenario.clients,
        seed=scenario.seed,
    )


def _network(scenario: Scenario, outputs: int) -> Any:
    return build(
        scenario.backbone,
        outputs=outputs,
        image_size=scenario.image_size,
        pretrained=scenario.pretrained,
        norm="group" if scenario.buffers == "groupnorm" else "batch",
        seed=scenario.seed,
    )
