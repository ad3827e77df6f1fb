"""1×1 convolutions as matrix products: the same numbers, and only where they are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bench.environment
import bench.models.pointwise
from bench.models.backbone import build
from bench.models.pointwise import Pointwise, most_pixels, use_products

LAST = torch.channels_last
INTEL = "vendor_id\t: GenuineIntel\nmodel name\t: Xeon\n\nvendor_id\t: Second\n"
AMD = "vendor_id\t: AuthenticAMD\nmodel name\t: EPYC\n"
ARM = "BogoMIPS\t: 100.00\nCPU implementer\t: 0x41\n"


@pytest.fixture
def products(monkeypatch):
    """Taken wherever they can be, on any processor."""
    monkeypatch.setattr(bench.models.pointwise, "most_pixels", lambda dtype: float("inf"))


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Makes it one of which Linux says the given."""

    def becomes(cpuinfo: str) -> None:
        file = tmp_path / "cpuinfo"
        file.write_text(cpuinfo)
        monkeypatch.setattr(bench.environment, "CPUINFO", file)
        monkeypatch.setattr(bench.environment.platform, "processor", lambda: "")
        most_pixels.cache_clear()

    yield becomes
    monkeypatch.undo()
    most_pixels.cache_clear()


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.to(dtype).contiguous(memory_format=LAST).requires_grad_()


def is_product(output: Tensor) -> bool:
    """Whether autograd would differentiate what a product is seen through."""
    return type(output.grad_fn).__name__ == "PermuteBackward0"


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("side", [1, 2, 7])
def test_values_and_gradients_are_the_convolutions(side, bias):
    layer = nn.Conv2d(6, 4, 1, bias=bias).double()
    given = images(5, 6, side, side)
    expected = torch.einsum("nihw,oi->nohw", given, layer.weight[:, :, 0, 0])
    if bias:
        expected = expected + layer.bias[:, None, None]
    sought = [given, *layer.parameters()]
    wanted = torch.autograd.grad(expected.sin().sum(), sought)
    use_products(layer)
    found = layer(given)
    assert is_product(found)
    assert found.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(torch.autograd.grad(found.sin().sum(), sought), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, (1, 3)),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, groups=2),
        type("Own", (nn.Conv2d,), {})(4, 4, 1),
        nn.ConvTranspose2d(4, 4, 1),
        nn.Conv1d(4, 4, 1),
    ],
    ids=["3x3", "1x3", "stride", "padding", "groups", "subclass", "transposed", "1d"],
)
def test_what_is_more_than_a_product_stays(layer):
    kind = type(layer)
    use_products(nn.Sequential(layer))
    assert type(layer) is kind


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, padding="same")])
def test_parameters_names_and_hooks_stay(layer):
    seen = []
    layer.register_forward_hook(lambda *_: seen.append(1))
    before = dict(layer.named_parameters())
    use_products(nn.Sequential(layer))
    assert type(layer) is Pointwise
    after = dict(layer.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    layer(images(2, 4, 3, 3, dtype=torch.float32))
    assert seen == [1]


def convolved(given: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    layer = nn.Conv2d(given.shape[-3], 4, 1).to(dtype)
    use_products(layer)
    return not is_product(layer(given))


@pytest.mark.parametrize(
    ("cpuinfo", "dtype", "most"),
    [
        (INTEL, torch.float32, 4096),
        (INTEL, torch.bfloat16, None),
        (AMD, torch.float32, 64),
        (AMD, torch.bfloat16, 1024),
        (ARM, torch.float32, 64),
    ],
)
def test_beyond_so_many_pixels_a_batch_is_convolved(cpuinfo, dtype, most, processor):
    processor(cpuinfo)
    largest = most or 2**14
    assert not convolved(images(1, 3, 1, largest, dtype=dtype), dtype)
    assert convolved(images(largest + 1, 3, 1, 1, dtype=dtype), dtype) is (most is not None)


@pytest.mark.usefixtures("products")
def test_other_memory_is_convolved():
    assert convolved(torch.rand(2, 3, 4, 4, requires_grad=True))
    assert convolved(torch.rand(3, 4, 4, requires_grad=True))


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("autocast", [False, True])
def test_a_built_network_is_the_one_of_convolutions(autocast):
    """Logits and gradients to rounding; in bf16, which keeps 8 bits, to a hundredth."""
    network = build("densenet-tiny", outputs=3, image_size=32, seed=0)
    network = network.to(memory_format=LAST)
    pointwise = [m for m in network.modules() if isinstance(m, Pointwise)]
    assert len(pointwise) == 5  # four layers' and a transition's

    def outcome() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = network(images(8, 1, 32, 32, dtype=torch.float32).detach())
        return [logits, *torch.autograd.grad(logits.sin().sum(), list(network.parameters()))]

    products = outcome()
    for module in pointwise:
        module.__class__ = nn.Conv2d
    convolutions = outcome()
    for mine, theirs in zip(products, convolutions, strict=True):
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(mine, theirs, rtol=0, atol=(3e-2 if autocast else 1e-5) * scale)
