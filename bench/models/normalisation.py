"""Batch normalisation replaced by group normalisation: a network without running statistics.

Wu & He 2018, *Group Normalization* (ECCV). Hsieh et al. 2020, *The Non-IID Data Quagmire of
Decentralized Machine Learning* (ICML), is why a federation may want it.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

MAX_GROUPS = 32
"""Wu & He's default number of groups."""


def groups_for(channels: int) -> int:
    """The groups of a layer: the largest divisor of ``channels`` that is at most 32 and leaves two
    channels or more in a group (a group of one would be instance normalisation, whose output is
    constant where the map is one pixel); one group where no divisor does.
    """
    limit = min(MAX_GROUPS, channels // 2)
    return max((g for g in range(1, limit + 1) if channels % g == 0), default=1)


def to_group_norm(module: nn.Module) -> None:
    """Replaces every batch normalisation inside ``module``, in place.

    Scale, shift and epsilon are carried over, and so are the activation and the dropout that timm
    fuses into its normalisation layers. Running statistics go.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, _group_norm(child))
        else:
            to_group_norm(child)


def _group_norm(batch_norm: _BatchNorm) -> nn.Module:
    channels = batch_norm.num_features
    norm = nn.GroupNorm(
        groups_for(channels), channels, eps=batch_norm.eps, affine=batch_norm.affine
    )
    if batch_norm.affine:
        norm.weight = batch_norm.weight
        norm.bias = batch_norm.bias
    followers = [getattr(batch_norm, name, None) for name in ("drop", "act")]
    kept = [f for f in followers if f is not None and not isinstance(f, nn.Identity)]
    return nn.Sequential(norm, *kept) if kept else norm
