"""The packed images where training reads them, and batches as the network takes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.stacked import Images, Stacked
from bench.training import augment

NORMALISATION = {"chexpert": (0.449, 0.226), "mnist": (0.0, 1.0)}
"""Mean and standard deviation, of pixels in [0, 1], that inputs are centred and scaled by. For
radiographs the mean over the channels of ImageNet's, which pretrained weights expect; McMahan et
al. 2017 use MNIST's pixels as they are."""
CHUNK_PIXELS = {"cpu": 2**22, "cuda": 2**27}
"""Pixels gathered and normalised at once: enough to make small images cheap, little enough to stay
in a CPU's cache hierarchy (16 MiB as fp32)."""
RESIDENT_SHARE = 0.6
"""The share of a GPU's free memory that images may take; beyond it they are streamed."""


class ImageStore:
    """(n, h, w) uint8 images, read by row number, on the device.

    On a CPU the array is used where it lies, a memory map included. On a GPU it is moved whole
    where it fits; otherwise rows are gathered into one of two pinned buffers, so that the host
    fills one while the GPU copies from the other. Images in several arrays (``Stacked``) become one
    on a GPU that they fit on, and stay where they lie elsewhere.
    """

    def __init__(self, images: Images | Tensor, device: torch.device) -> None:
        self.device = device
        self._stack = images if isinstance(images, Stacked) else None
        arrays = images.parts if isinstance(images, Stacked) else (images,)
        self._parts = [as_tensor(array) for array in arrays]
        self._shape = tuple(images.shape)
        self._pinned: list[Tensor] = []
        self._copied: list[torch.cuda.Event] = []
        self._turn = 0
        if device.type == "cuda" and self._fits():
            self._parts = [self._joined()]

    def __len__(self) -> int:
        return self._shape[0]

    @property
    def side(self) -> int:
        """The images' width, pixels."""
        return self._shape[2]

    @property
    def resident(self) -> bool:
        """Whether the images are in the device's own memory."""
        return self._parts[0].device == self.device

    def gather(self, rows: Tensor) -> Tensor:
        """(k, h, w) uint8 on the device, for (k,) int64 ``rows`` on the CPU."""
        if not self.resident:
            return self._streamed(rows)
        if len(self._parts) == 1:
            return self._parts[0].index_select(0, rows.to(self.device, non_blocking=True))
        return self._select(rows, torch.empty((len(rows), *self._shape[1:]), dtype=torch.uint8))

    def _fits(self) -> bool:
        free, _ = torch.cuda.mem_get_info(self.device)
        return sum(part.numel() for part in self._parts) <= RESIDENT_SHARE * free

    def _joined(self) -> Tensor:
        """All images in one tensor on the device, each array moved by itself."""
        if len(self._parts) == 1:
            return self._parts[0].to(self.device)
        joined = torch.empty(self._shape, dtype=torch.uint8, device=self.device)
        start = 0
        for part in self._parts:
            joined[start : start + len(part)].copy_(part)
            start += len(part)
        return joined

    def _select(self, rows: Tensor, out: Tensor) -> Tensor:
        """Fills (k, h, w) ``out`` with the images ``rows``, both on the CPU."""
        if self._stack is None:
            return torch.index_select(self._parts[0], 0, rows, out=out)
        found = self._stack.located(rows.numpy())
        for number, places, own in found:
            part, taken = self._parts[number], torch.from_numpy(own)
            if len(found) == 1:  # a client whose images are all at one site
                return torch.index_select(part, 0, taken, out=out)
            out.index_copy_(0, torch.from_numpy(places), part.index_select(0, taken))
        return out

    def _streamed(self, rows: Tensor) -> Tensor:
        if not self._pinned or len(rows) > len(self._pinned[0]):
            torch.cuda.synchronize(self.device)
            shape = (len(rows), *self._shape[1:])
            self._pinned = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in "ab"]
            self._copied = [torch.cuda.Event() for _ in "ab"]
        self._turn = 1 - self._turn
        self._copied[self._turn].synchronize()  # at once, unless the GPU is two chunks behind
        buffer = self._pinned[self._turn][: len(rows)]
        self._select(rows, buffer)
        images = buffer.to(self.device, non_blocking=True)
        self._copied[self._turn].record()
        return images


def as_tensor(images: NDArray[np.uint8] | Tensor) -> Tensor:
    """The same memory as a tensor; a read-only memory map too, which is then only ever read."""
    if isinstance(images, Tensor):
        return images
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(images))


def normalised(images: Tensor, mean: float, deviation: float) -> Tensor:
    """(pixel / 255 - mean) / deviation.

    (n, h, w) uint8 → (n, 1, h, w) fp32, strided as channels-last, so that convolutions follow suit.
    """
    scaled = images.float().mul_(1.0 / (255.0 * deviation))
    if mean:
        scaled.sub_(mean / deviation)
    n, height, width = images.shape
    return scaled.view(n, height, width, 1).permute(0, 3, 1, 2)


def batch_bounds(examples: int, batch_size: int | None) -> list[tuple[int, int]]:
    """(start, stop) of each batch; None is one batch of everything.

    The last, partial batch is kept. If it would hold one image only, that image joins the batch
    before it: batch normalisation needs two values. (Batches of one that were asked for stay.)
    """
    if examples == 0:
        return []
    size = examples if batch_size is None else batch_size
    starts = list(range(0, examples, size))
    if size > 1 and len(starts) > 1 and examples - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], examples], strict=True))


def passes(batches: int, *, epochs: int, steps: int | None = None) -> list[int]:
    """How many of its ``batches`` each pass over a client's images takes, in order.

    ``steps``, where given, takes the place of ``epochs``: passes follow each other until there are
    so many batches, and the last may break off. Without images there is no pass.
    """
    if batches == 0:
        return []
    if steps is None:
        return [batches] * epochs
    whole, rest = divmod(steps, batches)
    return [batches] * whole + [rest] * (rest > 0)


def batches(
    store: ImageStore,
    rows: Tensor,
    bounds: Sequence[tuple[int, int]],
    *,
    normalisation: tuple[float, float],
    augmentation: augment.Draw | None = None,
) -> Iterator[Tensor]:
    """(b, 1, h, w) fp32 inputs, a batch at a time, for ``rows`` cut at ``bounds``.

    Several batches are gathered at once and yielded as views, so a batch costs no copy of its own.
    """
    limit = max(1, CHUNK_PIXELS[store.device.type] // store.side**2)
    first = 0
    while first < len(bounds):
        last = first + 1
        start = bounds[first][0]
        while last < len(bounds) and bounds[last][1] - start <= limit:
            last += 1
        stop = bounds[last - 1][1]
        raw = augment.apply(store.gather(rows[start:stop]), augmentation, start, stop)
        inputs = normalised(raw, *normalisation)
        for low, high in bounds[first:last]:
            yield inputs[low - start : high - start]
        first = last
