"""What the network is asked, and how its answer is judged: targets, losses and scores.

The uncertainty policies are those of Irvin et al. 2019, *CheXpert* (AAAI), section 3, and the label
smoothing of Pham et al. 2019, *Interpreting chest X-rays via CNNs that exploit hierarchical disease
dependencies and uncertainty labels*. Each observation may have its own.

========================== ======================================================================
policy                     what becomes of an uncertain label u
========================== ======================================================================
``u-ignore``               the label is left out of the loss; the image and its other labels stay
``u-zeros``, ``u-ones``    0, 1
``u-selftrained``          as ``u-ignore``, then the trained model's probability (:meth:`relabel`)
``u-multiclass``           a class of its own: softmax over (u, 0, 1); scored by softmax over (0, 1)
``u-zeros+lsr``            drawn from Uniform(0, 0.3), once a label
``u-ones+lsr``             drawn from Uniform(0.55, 0.85), once a label
========================== ======================================================================

A blank label (not mentioned) is trained on as negative under every policy, as every published
replication does; the paper does not say. Where several trees are joined, an observation that one of
them never labels is unknown there and left out of the loss.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.observations import UNCERTAIN
from bench.randomness import generator
from bench.suites.catalog import LABEL_POLICIES
from bench.suites.policies import Policies, policy_sets
from bench.suites.scenario import Scenario

LSR_RANGES = {"u-zeros+lsr": (0.0, 0.3), "u-ones+lsr": (0.55, 0.85)}
"""Pham et al. 2019, section 3.3: the ranges uncertain labels are drawn from."""
CONSTANTS = {"u-zeros": 0.0, "u-ones": 1.0}
MASKED = -1.0
"""The target of an uncertain label that is left out of the loss."""
UNKNOWN = -2.0
"""The target of a label that nobody looked for: left out of the loss whatever the policy."""
MULTICLASS = "u-multiclass"
SELF_TRAINED = "u-selftrained"
MASKING = ("u-ignore", SELF_TRAINED)
"""The policies under which uncertain labels are ``MASKED``."""
CLASS_UNCERTAIN, CLASS_NEGATIVE, CLASS_POSITIVE = 0, 1, 2
"""The order of the three outputs of an observation under ``u-multiclass``."""
DIGITS = 10
_nll = torch.ops.aten.nll_loss_forward.default
_nll_backward = torch.ops.aten.nll_loss_backward.default
_log_softmax_backward = torch.ops.aten._log_softmax_backward_data.default
MEAN, NOTHING = 1, -100
"""How ATen numbers the reduction to a mean, and the target it leaves out: none of the digits."""


class Task(Protocol):
    """How labels become targets, logits a loss, and logits scores."""

    outputs: int
    """The width of the network's last layer."""
    classes: int
    """The columns of the scores: observations, or exclusive classes."""
    needs_teacher: bool
    """Whether a second training follows, on targets that :meth:`relabel` rebuilds."""

    def targets(self, labels: NDArray[np.float32], seed: int) -> Tensor:
        """Labels as a split keeps them → what :meth:`loss` takes, on the CPU, row by row."""
        ...

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The scalar training loss in fp32."""
        ...

    def differentiate(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient by (n, outputs) fp32 ``logits``, without recording either."""
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """(n, outputs) logits → (n, observations or classes) probabilities, fp32."""
        ...

    def relabel(self, targets: Tensor, probabilities: Tensor | NDArray[np.float32]) -> Tensor:
        """Targets of the second training, from a teacher's scores on the same rows."""
        ...


def task_for(scenario: Scenario, *, unknown: bool = False) -> Task:
    """The scenario's task: observations under their policies, or digits for ``mnist``.

    ``unknown`` says that some targets are ``UNKNOWN``. Where clients have policies of their own,
    the targets differ and the loss is one for all (see :mod:`bench.training.targets`).
    """
    if scenario.dataset == "mnist":
        return DigitTask()
    first, *others = (
        in_order(p, scenario.observations) for p in policy_sets(scenario.label_policy)
    )
    masks = any(policy in MASKING for own in others for policy in own)
    return ObservationTask(first, masks=masks, unknown=unknown)


def in_order(policies: Policies, observations: tuple[str, ...]) -> tuple[str, ...]:
    """(o,) the policy of each observation."""
    given = dict(policies)
    return tuple(given[name] for name in observations)


class DigitTask:
    """Ten exclusive classes: softmax cross-entropy, mean over the batch (McMahan et al. 2017)."""

    outputs = DIGITS
    classes = DIGITS
    needs_teacher = False

    def targets(self, labels: NDArray[np.float32], seed: int) -> Tensor:
        """(n,) or (n, 1) digits → (n,) int64."""
        return torch.from_numpy(np.asarray(labels).reshape(len(labels)).astype(np.int64))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(n, 10) and (n,) → mean cross-entropy."""
        return F.cross_entropy(logits.float(), targets)

    def differentiate(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The kernels that autograd would call, and so its bits."""
        logarithms = torch.log_softmax(logits, 1)
        loss, weight = _nll(logarithms, targets, None, MEAN, NOTHING)
        by_logarithms = _nll_backward(
            torch.ones_like(loss), logarithms, targets, None, MEAN, NOTHING, weight
        )
        by_logits = _log_softmax_backward(by_logarithms, logarithms, 1, torch.float32)
        return loss, by_logits

    def scores(self, logits: Tensor) -> Tensor:
        """(n, 10) → (n, 10) probabilities."""
        return logits.float().softmax(1)

    def relabel(self, targets: Tensor, probabilities: Tensor | NDArray[np.float32]) -> Tensor:
        """Digits are certain: the targets as they are."""
        return targets


class ObservationTask:
    """Observations that can hold together, each under its own uncertainty policy.

    The loss is the mean over the (image, observation) cells of the batch that are observed, each
    cell giving its binary cross-entropy or, under ``u-multiclass``, its three-way cross-entropy.
    """

    def __init__(
        self, policies: tuple[str, ...], *, masks: bool = False, unknown: bool = False
    ) -> None:
        """``masks`` and ``unknown`` say that targets may be ``MASKED`` or ``UNKNOWN`` though these
        policies make none so."""
        strange = [p for p in policies if p not in LABEL_POLICIES]
        assert not strange, f"unknown policies {strange}"
        self.policies = policies
        self._unknown = unknown
        self.classes = len(policies)
        self.needs_teacher = SELF_TRAINED in policies
        widths = [3 if p == MULTICLASS else 1 for p in policies]
        first = np.concatenate(([0], np.cumsum(widths))).astype(np.int64)
        self.outputs = int(first[-1])
        self._first = first[:-1]
        self._masks = masks or unknown or any(p in MASKING for p in policies)
        self._binary = [i for i, p in enumerate(policies) if p != MULTICLASS]
        self._multi = [i for i, p in enumerate(policies) if p == MULTICLASS]
        self._indices: dict[torch.device, tuple[Tensor, ...]] = {}

    def targets(self, labels: NDArray[np.float32], seed: int) -> Tensor:
        """(n, o) labels (1, 0, -1 uncertain, NaN blank) → (n, o) fp32 targets.

        A target is a probability, ``MASKED``, or under ``u-multiclass`` the number of a class.
        Smoothed labels are drawn once, from ``address(seed, "lsr")``.
        """
        labels = np.asarray(labels, dtype=np.float32)
        uncertain = labels == UNCERTAIN
        targets = np.where(np.isnan(labels), np.float32(0), labels)
        draws = generator(seed, "lsr").random(labels.shape, dtype=np.float32)
        for column, policy in enumerate(self.policies):
            here, unsure = targets[:, column], uncertain[:, column]
            if policy == MULTICLASS:
                here += CLASS_NEGATIVE
                here[unsure] = CLASS_UNCERTAIN
            elif policy in CONSTANTS:
                here[unsure] = CONSTANTS[policy]
            elif policy in LSR_RANGES:
                low, high = LSR_RANGES[policy]
                here[unsure] = low + (high - low) * draws[unsure, column]
            else:
                here[unsure] = MASKED
        return torch.from_numpy(targets)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(n, outputs) and (n, o) → scalar; 0 where no cell is observed."""
        logits = logits.float()
        if not self._multi:
            if not self._masks:
                return F.binary_cross_entropy_with_logits(logits, targets)
            total, count = _masked_sum(logits, targets)
            return total / count.clamp_min(1)
        if not self._binary:
            classes = targets.reshape(-1).long()
            if self._unknown:
                total, count = _known_classes(logits.view(-1, 3), classes)
                return total / count.clamp_min(1)
            return F.cross_entropy(logits.view(-1, 3), classes)
        binary, multi, binary_logits, multi_logits = self._on(logits.device)
        total, count = _masked_sum(
            logits.index_select(1, binary_logits), targets.index_select(1, binary)
        )
        classes = targets.index_select(1, multi).reshape(-1).long()
        triples = logits.index_select(1, multi_logits).view(-1, 3)
        if self._unknown:
            more, known = _known_classes(triples, classes)
            return (total + more) / (count + known).clamp_min(1)
        total = total + F.cross_entropy(triples, classes, reduction="sum")
        return total / (count + classes.numel())

    def differentiate(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """By autograd over the logits alone: the policies make many losses."""
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            loss = self.loss(leaf, targets)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def scores(self, logits: Tensor) -> Tensor:
        """(n, outputs) → (n, o) probabilities.

        Under ``u-multiclass`` exp(z₁) / (exp(z₀) + exp(z₁)), which is the sigmoid of z₁ - z₀.
        """
        logits = logits.float()
        if not self._multi:
            return logits.sigmoid()
        binary, multi, binary_logits, multi_logits = self._on(logits.device)
        margins = logits.new_empty(len(logits), len(self.policies))
        margins.index_copy_(1, binary, logits.index_select(1, binary_logits))
        triples = logits.index_select(1, multi_logits).view(len(logits), -1, 3)
        difference = triples[..., CLASS_POSITIVE] - triples[..., CLASS_NEGATIVE]
        margins.index_copy_(1, multi, difference)
        return margins.sigmoid()

    def relabel(self, targets: Tensor, probabilities: Tensor | NDArray[np.float32]) -> Tensor:
        """(n, o) targets with each masked ``u-selftrained`` cell replaced by the probability.

        0 and 1 are untouched, and so are cells that ``u-ignore`` masks.
        """
        given = torch.as_tensor(probabilities, dtype=torch.float32).to(targets.device)
        chosen = torch.tensor([p == SELF_TRAINED for p in self.policies], device=targets.device)
        return torch.where((targets == MASKED) & chosen, given, targets)

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        """Observation and logit columns of the binary and of the three-way observations."""
        if device not in self._indices:
            triples = [int(self._first[i]) + k for i in self._multi for k in range(3)]
            columns = (
                self._binary,
                self._multi,
                [int(self._first[i]) for i in self._binary],
                triples,
            )
            self._indices[device] = tuple(
                torch.tensor(c, dtype=torch.int64, device=device) for c in columns
            )
        return self._indices[device]


def _masked_sum(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of binary cross-entropies over the cells that are not masked, and their number."""
    observed = targets >= 0
    cells = F.binary_cross_entropy_with_logits(logits, targets.clamp_min(0), reduction="none")
    return torch.where(observed, cells, 0.0).sum(), observed.sum()


def _known_classes(triples: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of three-way cross-entropies over the cells that are known, and their number."""
    total = F.cross_entropy(triples, classes, reduction="sum", ignore_index=int(UNKNOWN))
    return total, (classes >= 0).sum()
