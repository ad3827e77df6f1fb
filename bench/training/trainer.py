"""Local training of the one model of this process, and its predictions.

A client's work starts from the flat vector as it stands and leaves its result there. Nothing is
built, and no data loader started, per client: an epoch is one permutation of the client's rows, cut
into batches that are gathered from the packed images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bench.data.stacked import Images
from bench.errors import NonFiniteError, ScenarioFailed
from bench.models.flat import FlatModel
from bench.randomness import address, generator
from bench.suites.scenario import Scenario
from bench.training import augment
from bench.training.ahead import Ahead, Job
from bench.training.dense import ending
from bench.training.device import Precision, at_most_threads
from bench.training.execution import EAGER, Execution
from bench.training.images import NORMALISATION, ImageStore, batch_bounds, batches, passes
from bench.training.optimizers import optimizer_for, reset, restore
from bench.training.several import Trained
from bench.training.step import Hook, step_for
from bench.training.tasks import Task

PREDICTION_PIXELS = {"cpu": 2**20, "cuda": 2**25}
"""Pixels of one evaluation batch: 256 images of 64×64 on a CPU, 327 of 320×320 on a GPU. A GPU
that has too little memory for it halves it until it fits."""
PREDICTION_IMAGES = {"cpu": 2**10, "cuda": 2**14}
"""Images of one evaluation batch at the most: where they are tiny, more of them make nothing faster
(2NN on a CPU gains 3 % from 512 to 1337) and take memory with every image, not with its pixels."""
ONE_THREAD_PRODUCTS = 2**22
"""Multiply-adds of a forward step up to which linear layers are trained by one thread: a second one
has too little to do to be worth waiting for (2NN with batches of 10 loses 0 to 25 % by it, and many
times as much where something else runs on that core; with 20 it is even, with 50 it gains)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResult:
    """What one client's work amounted to; its parameters are in the model."""

    examples: int
    """Images passed through training, each epoch counted."""
    steps: int
    """Updates made."""
    loss: float
    """Mean training loss over those images, each batch weighted by its images."""
    seconds: float
    """Wall time, the device's work included."""
    optimizer_state: dict[str, Tensor]
    """The optimiser's live tensors, by name: valid until the next call; clone what is kept. Empty
    after a training that was announced: nobody keeps what is theirs."""
    norm: float | None = None
    """‖w‖₂ of the parameters it left, infinite beyond the square root of what fp32 can hold; None
    where it was not looked at."""


class Trainer:
    """Trains and evaluates ``flat`` on ``images``.

    Parameters
    ----------
    scenario : its ``optimizer``, ``augment``, ``buffers``, ``dataset`` and ``seed`` are used.
    flat : the model, on its device.
    task : gives the loss and the scores.
    images : (n, h, w) uint8, an array, a memory map or a tensor; never written.
    targets : what ``task.targets`` gave for those n rows.
    precision : of forward and backward; weights, optimiser and loss are fp32.
    execution : how steps are to be executed.
    ahead : trains several clients at once where that is faster, if it is told of them.
    """

    def __init__(
        self,
        scenario: Scenario,
        flat: FlatModel,
        task: Task,
        images: Images | Tensor,
        targets: Tensor,
        device: torch.device | str,
        precision: Precision,
        execution: Execution = EAGER,
        ahead: Ahead | None = None,
    ) -> None:
        self.device = torch.device(device)
        assert self.device.type == flat.device.type, "the model is on another device"
        assert len(images) == len(targets), "an image without a target"
        self.flat = flat
        self.task = task
        self.precision = precision
        self.optimizer = optimizer_for(scenario.optimizer, flat.parameters_flat)
        self.images = ImageStore(images, flat.device)
        self.targets = targets.to(flat.device)
        self._augment = scenario.augment
        self._seed = scenario.seed
        self._normalisation = NORMALISATION[scenario.dataset]
        self._frozen = scenario.buffers == "frozen"
        self._norms = [m for m in flat.module.modules() if isinstance(m, _BatchNorm)]
        self._step = step_for(flat, task, self.optimizer, precision, execution)
        found = ending(flat.module)
        self._linear = found is not None and not found.body
        """Whether there are only linear layers and ReLUs, which draw no random numbers."""
        self.ahead = ahead
        self._mode: str | None = None
        self._largest = PREDICTION_PIXELS[flat.device.type]

    @property
    def execution(self) -> Execution:
        """How whole batches are executed; before any training, what is to be tried."""
        execution = self._step.execution
        says = None if self.ahead is None else self.ahead.says
        return replace(execution, reason=f"{execution.reason}; {says}") if says else execution

    def set_targets(self, targets: Tensor) -> None:
        """Other targets for the same rows, such as a teacher's (``task.relabel``)."""
        assert targets.shape == self.targets.shape
        self.targets = targets.to(self.flat.device)

    def train(
        self,
        rows: NDArray[np.int64],
        *,
        epochs: int,
        batch_size: int | None,
        seed_address: tuple[int, int, int],
        optimizer_state: dict[str, Tensor] | None = None,
        hook: Hook | None = None,
        steps: int | None = None,
    ) -> LocalResult:
        """``epochs`` passes over the images ``rows``, from the parameters as they stand.

        ``steps``, where given, takes the place of ``epochs``: so many updates, on the batches of
        as many passes as they need, of which the last may break off.

        ``seed_address`` is (seed, round, client). The order of each pass is a permutation drawn
        from ``address(seed, "batches", round, client)``; the last partial batch is kept, and a last
        batch of one image joins the one before it (``batch_bounds``). ``optimizer_state`` None
        starts the optimiser afresh.

        Raises NonFiniteError, naming round, client and tensor, where the loss or a parameter is not
        finite at the end, and ScenarioFailed where batch normalisation is given a single value.
        """
        job = Job(
            rows=rows, epochs=epochs, steps=steps, batch_size=batch_size, seed_address=seed_address
        )
        if self.ahead is None or hook is not None or optimizer_state is not None:
            return self._alone(job, hook, optimizer_state)
        done = self.ahead.get(job, self._batches)
        if done is not None:
            return self._take(job, done)
        result = self._alone(job)
        self.ahead.alone(result.examples, result.seconds)
        return result

    def _alone(
        self,
        job: Job,
        hook: Hook | None = None,
        optimizer_state: dict[str, Tensor] | None = None,
    ) -> LocalResult:
        """One client's training, in the model."""
        started = time.perf_counter()
        self._enter("train")
        self._step.expect(job.batch_size)
        if optimizer_state is None:
            reset(self.optimizer)
        else:
            restore(self.optimizer, optimizer_state)
        if not self._linear:
            self._seed_layers(job.seed_address)
        total = torch.zeros((), device=self.flat.device)
        examples = made = 0
        try:
            with at_most_threads(self._useful_threads(job.batch_size or len(job.rows))):
                for inputs, targets in self._batches(job):
                    size = len(inputs)
                    total.add_(self._step(inputs, targets, hook), alpha=size)
                    examples += size
                    made += 1
        except ValueError as error:
            _explain_single_value(error, job.seed_address)
            raise
        if not self._frozen:
            self.flat.count_steps(made)
        loss, norm = self._summed(total, job)
        return LocalResult(
            examples=examples,
            steps=made,
            loss=loss / max(examples, 1),
            seconds=time.perf_counter() - started,
            optimizer_state=self.optimizer.state,
            norm=norm,
        )

    def _take(self, job: Job, done: Trained) -> LocalResult:
        """The model becomes what a training made of it that was done before."""
        self.flat.parameters_flat.copy_(done.parameters)
        loss, norm = self._checked(done.loss, [done.square], job)
        return LocalResult(
            examples=done.examples,
            steps=done.steps,
            loss=loss / max(done.examples, 1),
            seconds=done.seconds,
            optimizer_state={},
            norm=norm,
        )

    @property
    def prediction_batch(self) -> int:
        """The images of the trained size that are scored at once."""
        return self._at_once(self.images.side)

    def predict(
        self, images: Images | Tensor, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """(n, h, w) uint8 → (n, o) scores of the model as it stands, fp32, on the CPU; or of the
        (k,) ``rows`` alone."""
        store = ImageStore(images, self.flat.device)
        chosen = torch.arange(len(store)) if rows is None else torch.from_numpy(rows)
        return self._predict(store, chosen)

    def predict_rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(k, o) scores of the training images ``rows``, where they lie; not augmented."""
        return self._predict(self.images, torch.from_numpy(rows))

    def recalibrate(self, rows: NDArray[np.int64], batch_size: int | None = 64) -> None:
        """Sets running statistics to their mean over one pass of ``rows``, without gradients.

        Every batch counts alike (``momentum=None`` of torch). Parameters stay as they are. Nothing
        is dropped out: the statistics are those of the network that will be evaluated.
        """
        if not self._norms:
            return
        self._enter("eval")
        for norm in self._norms:
            norm.training = True  # not what is inside it: timm's may hold a dropout
        momenta = [norm.momentum for norm in self._norms]
        bounds = batch_bounds(len(rows), batch_size)
        inputs = batches(
            self.images, torch.from_numpy(rows), bounds, normalisation=self._normalisation
        )
        try:
            with torch.no_grad():
                for number, batch in enumerate(inputs, start=1):
                    for norm in self._norms:
                        norm.momentum = 1.0 / number
                    self._step.forward(batch)
        finally:
            for norm, momentum in zip(self._norms, momenta, strict=True):
                norm.momentum = momentum
            self._mode = None
        self.flat.counters_flat.fill_(len(bounds))

    def _batches(self, job: Job) -> Iterator[tuple[Tensor, Tensor]]:
        """The inputs and targets of each step, pass by pass."""
        order = _generator("batches", job.seed_address)
        changes = None if self._augment == "none" else _generator("augment", job.seed_address)
        bounds = batch_bounds(len(job.rows), job.batch_size)
        for count in passes(len(bounds), epochs=job.epochs, steps=job.steps):
            rows = torch.from_numpy(order.permutation(job.rows))
            given = augment.draw(self._augment, len(rows), self.images.side, changes)
            targets = self.targets.index_select(0, rows.to(self.flat.device, non_blocking=True))
            inputs = batches(
                self.images,
                rows,
                bounds[:count],
                augmentation=given,
                normalisation=self._normalisation,
            )
            for (start, stop), batch in zip(bounds[:count], inputs, strict=True):
                yield batch, targets[start:stop]

    def _useful_threads(self, batch: int) -> int | None:
        """How many threads a step on ``batch`` images can use; None for all there are."""
        small = self._linear and batch * self.flat.parameters_flat.numel() <= ONE_THREAD_PRODUCTS
        return 1 if small else None

    def _predict(self, store: ImageStore, rows: Tensor) -> NDArray[np.float32]:
        """Scores in batches as large as memory allows, found by halving."""
        self._enter("eval")
        while True:
            try:
                return self._scores(store, rows)
            except torch.OutOfMemoryError:
                images = self._at_once(store.side)
                if images == 1:
                    raise
                self._largest = images // 2 * store.side**2

    def _at_once(self, side: int) -> int:
        """How many images of that side make an evaluation batch."""
        return min(PREDICTION_IMAGES[self.flat.device.type], max(1, self._largest // side**2))

    def _scores(self, store: ImageStore, rows: Tensor) -> NDArray[np.float32]:
        bounds = batch_bounds(len(rows), self._at_once(store.side))
        if not bounds:
            return np.empty((0, self.task.classes), dtype=np.float32)
        with torch.inference_mode():
            parts = [
                self.task.scores(self._step.forward(batch))
                for batch in batches(store, rows, bounds, normalisation=self._normalisation)
            ]
            return torch.cat(parts).float().cpu().numpy()

    def _enter(self, mode: str) -> None:
        """Training or evaluation mode; walking a deep network's modules once, not each time."""
        if mode == self._mode:
            return
        self.flat.module.train(mode == "train")
        if self._frozen:
            for norm in self._norms:
                norm.eval()
        self._mode = mode

    def _seed_layers(self, seed_address: tuple[int, int, int]) -> None:
        """Seeds torch's global generators, which dropout and stochastic depth draw from."""
        seed, round_, client = seed_address
        key = address(seed, "layers", round_, client)
        torch.default_generator.manual_seed(key)
        if self.flat.device.type == "cuda":
            torch.cuda.manual_seed(key)

    def _summed(self, total: Tensor, job: Job) -> tuple[float, float]:
        """The summed loss as a number, and the parameters' norm: the only time the device is waited
        for."""
        flat = self.flat
        vectors = [flat.parameters_flat]
        if flat.buffers_flat.numel():
            vectors.append(flat.buffers_flat)
        # a sum of squares is the quickest to find of what NaN and infinity pass through
        loss, *squares = torch.stack([total, *(torch.dot(v, v) for v in vectors)]).tolist()
        return self._checked(loss, squares, job)

    def _checked(self, loss: float, squares: list[float], job: Job) -> tuple[float, float]:
        """The loss and the parameters' norm, where all is finite; ``squares`` are the squared norms
        of the model's vectors."""
        norm = math.sqrt(squares[0])
        if all(map(math.isfinite, (loss, *squares))):
            return loss, norm
        place = self.flat.first_non_finite()
        if place is None and math.isfinite(loss):  # the squares alone are beyond fp32's range
            return loss, norm
        _, round_, client = job.seed_address
        raise NonFiniteError(
            "training gave a number that is not finite",
            where=f"round {round_}, client {client}",
            found=f"NaN or infinity in {place or 'the loss'}",
            mend="lower the optimizer's lr, or set 'precision: fp32'",
        )


def _generator(purpose: str, seed_address: tuple[int, int, int]) -> np.random.Generator:
    """The generator of the batches' order, or of the augmentation."""
    seed, round_, client = seed_address
    return generator(seed, purpose, round_, client)


def _explain_single_value(error: ValueError, seed_address: tuple[int, int, int]) -> None:
    """Raises torch's complaint about a batch of one as an error for people; others pass."""
    if "more than 1 value per channel" not in str(error):
        return
    _, round_, client = seed_address
    raise ScenarioFailed(
        "batch normalisation cannot train on a single value per channel",
        where=f"round {round_}, client {client}",
        found=str(error),
        mend="set 'buffers: groupnorm', a larger batch_size or image_size, or larger clients",
    ) from error
