"""The state of an unfinished run: everything the next round needs, in one file replaced at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic import replacing
from bench.errors import ResultsError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What was true after ``round``."""

    round: int
    """Rounds finished, over all phases."""
    tensors: dict[str, Tensor]
    """The federation's state by name, and what else the phase needs."""


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint in one step."""
    from safetensors.torch import save_file

    header = json.dumps({"format": FORMAT, "round": checkpoint.round})
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"bench": header})


def load(path: Path, device: str = "cpu") -> Checkpoint | None:
    """The checkpoint, or None where there is none yet.

    Raises ResultsError where the file is not a checkpoint of this format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device=device) as stream:
            header = _header((stream.metadata() or {}).get("bench", ""))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, str(error)) from error
    number = header.get("round")
    if header.get("format") != FORMAT or not isinstance(number, int) or number < 1:
        raise _unreadable(path, f"header {header!r}")
    return Checkpoint(round=number, tensors=tensors)


def _header(text: str) -> dict[str, Any]:
    """The object in the file's metadata; empty where there is none."""
    try:
        header = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return header if isinstance(header, dict) else {}


def _unreadable(path: Path, found: str) -> ResultsError:
    return ResultsError(
        "the checkpoint cannot be read",
        where=path,
        expected=f"a checkpoint of format {FORMAT}",
        found=found,
        mend="run the scenario again with --fresh",
    )
