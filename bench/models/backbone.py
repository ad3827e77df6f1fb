"""Networks by name: DenseNets, the two of McMahan et al. 2017, and every other model of timm.

timm (and torchvision, which it imports) takes longer to import than torch, so it is imported only
where a network or weights are asked for that nobody else has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError, first_line
from bench.garbage import uncollected
from bench.models.densenet import DEPTHS, DenseNet
from bench.models.mcmahan import NETWORKS, SIDE, network
from bench.models.normalisation import to_group_norm
from bench.models.pointwise import use_products
from bench.models.pretrained import load_weights
from bench.randomness import address
from bench.suites.backbones import OWN, WHAT_THERE_IS, near


def build(
    backbone: str,
    *,
    outputs: int,
    in_channels: int = 1,
    image_size: int,
    pretrained: bool | str = False,
    norm: Literal["batch", "group"] = "batch",
    seed: int,
) -> nn.Module:
    """The network on the CPU, in fp32: (n, in_channels, image_size, image_size) → (n, outputs).

    Initialisation is drawn from ``address(seed, "init")`` and leaves the global generator as it
    was. ``pretrained`` is False, True (timm's hub) or the path of a safetensors file. ``norm``
    ``group`` replaces batch by group normalisation, after any weights are loaded. The classifier
    computes in fp32 under autocast too (see :class:`Classifier`), and 1×1 convolutions are matrix
    products where that is faster (see :mod:`bench.models.pointwise`).

    Raises UsageError for an unknown backbone, an image size it cannot take, or weights that cannot
    be had: a network is never silently left random.
    """
    if backbone in OWN and pretrained is True:
        raise UsageError(
            f"no pretrained weights are published for '{backbone}'",
            mend="set 'pretrained: false' or the path of a safetensors file",
        )
    with _drawing_from(address(seed, "init")):
        if backbone in NETWORKS:
            module = _mcmahan(backbone, outputs, in_channels, image_size)
        elif backbone in DEPTHS and pretrained is not True:
            module = _built(
                backbone,
                lambda: DenseNet(DEPTHS[backbone], outputs, in_channels),
                (outputs, in_channels, image_size),
            )
        else:
            module = _timm(backbone, outputs, in_channels, image_size, pretrained is True)
    head = _make_classifier_exact(module, outputs)
    if isinstance(pretrained, str):
        load_weights(module, Path(pretrained).expanduser(), head=head)
    if norm == "group":
        to_group_norm(module)
    use_products(module)
    return module


class Classifier(nn.Linear):
    """A linear layer that computes in fp32 under autocast.

    bf16 has eight significant bits, so bf16 logits tie where fp32 ones do not, and AUROC counts
    ties. The layer is a negligible share of the work.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(n, features) of any floating dtype → (n, outputs) fp32."""
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight, self.bias)


@contextmanager
def _drawing_from(key: int) -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block and puts it back afterwards."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(key)
    try:
        yield
    finally:
        generator.set_state(before)


def _mcmahan(name: str, outputs: int, in_channels: int, image_size: int) -> nn.Module:
    if image_size != SIDE or in_channels != 1:
        raise UsageError(
            f"'{name}' takes {SIDE}×{SIDE} images of one channel only",
            found=f"image_size {image_size}, {in_channels} channels",
            mend=f"set 'image_size: {SIDE}', or choose another backbone",
        )
    return network(name, outputs)


def _timm(
    name: str, outputs: int, in_channels: int, image_size: int, pretrained: bool
) -> nn.Module:
    with uncollected():
        import timm

    if not timm.is_model(name):
        raise UsageError(
            f"unknown backbone '{name}'",
            expected=WHAT_THERE_IS,
            mend=near(name),
        )
    options: dict[str, Any] = {"num_classes": outputs, "in_chans": in_channels}
    configuration = timm.get_pretrained_cfg(name.split(".")[0])
    if configuration is not None and configuration.fixed_input_size:
        options["img_size"] = image_size
    if pretrained:
        _download(name, timm.get_pretrained_cfg(name))
    return _built(
        name,
        lambda: timm.create_model(name, pretrained=pretrained, **options),
        (outputs, in_channels, image_size),
    )


def _built(name: str, make: Callable[[], nn.Module], shape: tuple[int, int, int]) -> nn.Module:
    """What ``make`` gives, tried on an image of ``shape``: (outputs, in_channels, image_size)."""
    try:
        module = make()
        _try(module, *shape)
    except Exception as error:  # timm raises what it likes; each means no network
        raise UsageError(
            f"'{name}' cannot be built for {shape[2]}×{shape[2]} images",
            found=first_line(error, named=True),
            mend="choose an image_size it can take (often a multiple of 32) or another backbone",
        ) from error
    return module


def _try(module: nn.Module, outputs: int, in_channels: int, image_size: int) -> None:
    """One image through the network: many can be built for sizes they cannot take.

    Raises whatever the network raises, or ValueError where it gives something else than logits or
    cuts the image into no patches at all.
    """
    patches = getattr(getattr(module, "patch_embed", None), "num_patches", None)
    if patches == 0:
        raise ValueError("the image is smaller than one patch")
    module.eval()
    with torch.inference_mode():
        logits = module(torch.zeros(1, in_channels, image_size, image_size))
    module.train()
    if not isinstance(logits, Tensor) or logits.shape != (1, outputs):
        raise ValueError(f"the network gives no (n, {outputs}) logits")


def _download(name: str, configuration: Any) -> None:
    """Brings the weights into the hub's cache, where timm finds them.

    Only safetensors: timm itself would go on to a pickled file.
    """
    from huggingface_hub import hf_hub_download

    repository = getattr(configuration, "hf_hub_id", None)
    file = getattr(configuration, "hf_hub_filename", None) or "model.safetensors"
    mend = "check the network, or give 'pretrained' the path of a safetensors file"
    if not repository or not file.endswith(".safetensors"):
        raise UsageError(f"timm's hub has no safetensors weights for '{name}'", mend=mend)
    try:
        hf_hub_download(repository, file)
    except Exception as error:  # the hub's errors share no base class
        raise UsageError(
            f"the pretrained weights of '{name}' could not be had",
            where=repository,
            found=first_line(error, named=True),
            mend=mend,
        ) from error


def _make_classifier_exact(module: nn.Module, outputs: int) -> str | None:
    """Turns the linear classifier into a :class:`Classifier`; returns its name, if it has one.

    The classifier is the last linear layer with that many outputs; networks that end in a
    convolution keep it as it is.
    """
    named = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == outputs
    ]
    if not named:
        return None
    path, _, leaf = named[-1].rpartition(".")
    parent = module.get_submodule(path)
    old = getattr(parent, leaf)
    new = Classifier(old.in_features, old.out_features, bias=old.bias is not None, device="meta")
    new.weight, new.bias = old.weight, old.bias
    setattr(parent, leaf, new)
    return named[-1]
