"""Weights from a local safetensors file, fitted to a network with other inputs and another head."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import UsageError


class PretrainedWarning(UserWarning):
    """Something of a weights file was deliberately not used; the message says what."""


def load_weights(module: nn.Module, path: Path, *, head: str | None) -> None:
    """Copies the file's tensors into ``module``, by name.

    A classifier (the layers under ``head``) of another shape is left as initialised, with a
    ``PretrainedWarning``. A first convolution for three channels is summed into one, as timm does,
    which equals feeding the grey image to all three. Every other difference is an error.

    Raises UsageError where the file is absent, is not safetensors, or does not fit.
    """
    given = _read(path)
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    loaded: dict[str, Tensor] = {}
    wrong: list[str] = []
    dropped: list[str] = []
    for name, target in wanted.items():
        tensor = given.get(name)
        if tensor is not None and _sums_to(tensor, target):
            tensor = tensor.float().sum(1, keepdim=True)
        if tensor is not None and tensor.shape == target.shape:
            loaded[name] = tensor.to(target.dtype)
        elif head and name.startswith(f"{head}."):
            dropped.append(_difference(name, tensor, target))
        else:
            wrong.append(_difference(name, tensor, target))
    if wrong:
        raise _does_not_fit(path, wrong, len(wanted))
    if dropped:
        warnings.warn(
            f"{path}: the classifier was left as initialised ({'; '.join(dropped)})",
            PretrainedWarning,
            stacklevel=2,
        )
    module.load_state_dict(loaded, strict=False)


def normalised_names(names: list[str]) -> dict[str, str]:
    """Old → new names; torchvision's DenseNet files write ``norm.1`` for timm's ``norm1``."""
    pattern = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\..*)$")
    return {n: m[1] + m[2] if (m := pattern.match(n)) else n for n in names}


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        given = load_file(path)
    except FileNotFoundError as error:
        raise UsageError(
            "the pretrained weights file does not exist",
            where=path,
            expected="true, false or the path of a safetensors file for 'pretrained'",
        ) from error
    except (SafetensorError, OSError) as error:
        raise UsageError(
            "the pretrained weights file cannot be read",
            where=path,
            expected="a safetensors file",
            found=str(error),
        ) from error
    names = normalised_names(list(given))
    return {names[k]: v for k, v in given.items()}


def _sums_to(tensor: Tensor, target: Tensor) -> bool:
    """Whether ``tensor`` is ``target``'s convolution for three channels where it has one."""
    return (
        target.dim() == 4
        and tensor.dim() == 4
        and target.shape[1] == 1
        and tensor.shape[1] == 3
        and torch.Size((tensor.shape[0], *tensor.shape[2:]))
        == torch.Size((target.shape[0], *target.shape[2:]))
    )


def _difference(name: str, tensor: Tensor | None, target: Tensor) -> str:
    have = "absent" if tensor is None else "×".join(map(str, tensor.shape))
    return f"{name} is {have}, not {'×'.join(map(str, target.shape))}"


def _does_not_fit(path: Path, wrong: list[str], wanted: int) -> UsageError:
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return UsageError(
        f"the weights file does not fit the network: {len(wrong)} of {wanted} tensors",
        where=path,
        expected="the tensors of this backbone, under timm's names",
        found="; ".join(wrong[:3]) + more,
        mend="name the backbone the file was made for, or set 'pretrained: false'",
    )
