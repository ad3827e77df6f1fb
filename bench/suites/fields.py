"""The keys of a scenario: what each takes, what it is unless said, and what it means."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from bench.errors import did_you_mean
from bench.observations import COMPETITION, OBSERVATIONS
from bench.suites.backbones import BackboneName
from bench.suites.kinds import Constant, Either, Flag, Kind, Mismatch, Number, Text, Word
from bench.suites.policies import LabelPolicies, unknown_observation
from bench.suites.scenario import FAMILIES, Scenario
from bench.suites.wording import enumerated, shown


@runtime_checkable
class Composite(Kind, Protocol):
    """A kind whose values have named parts, written ``key.part`` on their own."""

    def parts(self) -> dict[str, dict[str, Any]]:
        """Every part there can be, with its JSON Schema."""
        ...

    def patched(self, value: Any, part: str, new: Any) -> Any:
        """The value as written, with one part replaced."""
        ...


@dataclass(frozen=True, slots=True)
class ObservationNames:
    """``all``, ``competition`` or a list of observations; kept in the order of ``train.csv``."""

    def read(self, value: Any) -> tuple[str, ...]:
        """The observations; raises Mismatch."""
        if value == "all":
            return OBSERVATIONS
        if value == "competition":
            return in_order(COMPETITION)
        if not isinstance(value, list) or not value:
            mend = did_you_mean(value, ("all", "competition")) if isinstance(value, str) else None
            raise Mismatch(expected=self.words(), found=shown(value), mend=mend)
        for index, name in enumerate(value):
            if name not in OBSERVATIONS:
                raise unknown_observation(name, index)
            if name in value[:index]:
                raise Mismatch(
                    what=f"'{name}' is listed twice", mend="remove one of them", path=(index,)
                )
        return in_order(value)

    def words(self) -> str:
        return "all, competition or a list of observations"

    def schema(self) -> dict[str, Any]:
        names = {"enum": list(OBSERVATIONS)}
        listed = {"type": "array", "items": names, "minItems": 1, "uniqueItems": True}
        return {"anyOf": [{"enum": ["all", "competition"]}, listed]}


def in_order(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The names in the order of ``train.csv``."""
    return tuple(name for name in OBSERVATIONS if name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of a scenario."""

    name: str
    kind: Kind
    doc: str
    default: Any
    """As it would be written."""

    def schema(self) -> dict[str, Any]:
        """The key as JSON Schema."""
        return {"description": self.doc} | self.kind.schema() | {"default": self.default}


_COUNT = Number(low=1, whole=True)
_LARGEST_SEED = 2**63 - 1
_SMALLEST_SIDE = 8
_LARGEST_SIDE = 4096
"""Pixels; the largest side of CheXpert's radiographs is about 4,000."""

_KINDS: dict[str, tuple[Kind, str]] = {
    "dataset": (
        Word(("chexpert", "mnist")),
        "A CheXpert tree (--data, else $CHEXPERT_ROOT, else the embedded phantom) or MNIST.",
    ),
    "observations": (
        ObservationNames(),
        "The observations trained on: all 14, the 5 competition tasks, or a list.",
    ),
    "label_policy": (
        LabelPolicies(),
        "What an uncertain label is taken for: one policy, or a mapping from observations "
        "(and others, for the rest) to policies. A list has one of these for each client; "
        "{sites: …} is a mapping from the sites of a natural partition (and others) to these.",
    ),
    "backbone": (
        BackboneName(),
        "Any timm model; 2nn and mcmahan-cnn of McMahan et al. 2017; densenet-tiny for trials.",
    ),
    "pretrained": (
        Either((Flag(), Text("the path of a .safetensors file", r".+\.safetensors"))),
        "false, true (timm's hub) or the path of a local .safetensors file.",
    ),
    "image_size": (
        Number(low=_SMALLEST_SIDE, high=_LARGEST_SIDE, whole=True),
        "Side of the square network input, pixels.",
    ),
    "augment": (
        Word(("none", "flip", "shift", "flip+shift")),
        "Random changes to training images, drawn on the device.",
    ),
    "strategy": (FAMILIES["strategy"], "How the clients learn together."),
    "clients": (_COUNT, "K, the number of clients."),
    "partition": (FAMILIES["partition"], "How patients are divided among the clients."),
    "fraction": (
        Number(low=0, high=1),
        "C: the share of the clients that trains in a round; 0 is one client.",
    ),
    "sampling": (
        Word(("uniform", "size", "poisson")),
        "How a round's clients are drawn: all equally likely; in proportion to their images, "
        "without replacement; or each with probability C on its own.",
    ),
    "dropout": (
        Number(low=0, below=1),
        "The probability with which a client that was drawn never reports.",
    ),
    "stragglers": (
        FAMILIES["stragglers"],
        "The clients of a round that run out of time, and what becomes of their work.",
    ),
    "weights": (
        Word(("samples", "uniform", "steps")),
        "How much a client counts in the mean: by its images, like any other, or by the steps it "
        "makes.",
    ),
    "rounds": (_COUNT, "Rounds of communication; epochs where nothing is communicated."),
    "local_epochs": (_COUNT, "E: epochs of a client in a round."),
    "local_steps": (
        Either((_COUNT, Constant("none", None))),
        "Steps of a client in a round, in place of local_epochs, which then has no meaning.",
    ),
    "batch_size": (
        Either((_COUNT, Constant("all", None))),
        "B: images in a step; all is the client's whole data.",
    ),
    "optimizer": (FAMILIES["optimizer"], "The local optimiser."),
    "buffers": (
        Word(("average", "local", "frozen", "recalibrate", "groupnorm")),
        "What becomes of batch normalisation's running statistics.",
    ),
    "compression": (FAMILIES["compression"], "Of what clients send to the server."),
    "precision": (
        Word(("auto", "fp32", "bf16")),
        "auto is bf16 where the device computes it natively, else fp32.",
    ),
    "compile": (
        Either((Flag(), Constant("auto", "auto"))),
        "Whether torch.compile fuses the network's operations; auto does where a GPU trains a "
        "large network for long enough to gain by it.",
    ),
    "views": (Word(("max", "mean", "frontal")), "How a study's views become its score."),
    "evaluate_every": (
        _COUNT,
        "Rounds between evaluations; the last round is always evaluated.",
    ),
    "stop_at": (
        Either((Number(above=0, high=1), Constant("never", None))),
        "End after the round that reaches this accuracy (mnist: on the test images) or mean AUROC "
        "(on valid); rounds is then the most there are. Rounds and bytes to it are reported.",
    ),
    "seed": (
        Number(low=0, high=_LARGEST_SEED, whole=True),
        "Everything random is drawn from it.",
    ),
}

_AS_WRITTEN = {
    "observations": "all",
    "label_policy": "u-ones",
    "local_steps": "none",
    "stop_at": "never",
}
"""Defaults that are written otherwise than a bare Scenario has them."""


def _default(name: str) -> Any:
    value = getattr(Scenario(), name)
    return _AS_WRITTEN.get(name, value.name if name in FAMILIES else value)


FIELDS: dict[str, Field] = {
    name: Field(name=name, kind=kind, doc=doc, default=_default(name))
    for name, (kind, doc) in _KINDS.items()
}
"""Every key of a scenario, in its order."""


def find(key: str) -> tuple[Field, str | None]:
    """The field, and the part of it, that ``key`` or ``key.part`` names; raises Mismatch."""
    name, dot, part = key.partition(".")
    field = FIELDS.get(name)
    if field is None:
        raise Mismatch(
            what=f"unknown key '{name or key}'",
            expected=enumerated(list(FIELDS)),
            mend=did_you_mean(name, list(FIELDS)),
            on_key=True,
        )
    if not dot:
        return field, None
    parts = list(field.kind.parts()) if isinstance(field.kind, Composite) else []
    if part not in parts:
        raise Mismatch(
            what=f"'{name}' has no part '{part}'",
            expected=enumerated([f"{name}.{p}" for p in parts]) if parts else f"'{name}' alone",
            mend=did_you_mean(part, parts),
            on_key=True,
        )
    return field, part


def canonical(field: Field, value: Any) -> Hashable:
    """The value of a whole key; raises Mismatch that says which key where nothing else is said."""
    try:
        return field.kind.read(value)
    except Mismatch as bad:
        if bad.what is None:
            name = ".".join((field.name, *(str(p) for p in bad.path)))
            bad.what = f"'{name}' is not what it must be"
        raise
