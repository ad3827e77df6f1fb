"""Backbones: parameter counts, seeds, weights files, normalisation layers, errors."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from bench.errors import UsageError
from bench.models.backbone import Classifier, build
from bench.models.densenet import PAPERS, DenseNet
from bench.models.normalisation import groups_for, to_group_norm
from bench.models.pretrained import PretrainedWarning, load_weights, normalised_names
from bench.suites.backbones import OWN


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "parameters"), [("2nn", 199_210), ("mcmahan-cnn", 1_663_370)])
def test_mcmahan_networks_have_the_papers_parameters(name, parameters):
    module = build(name, outputs=10, image_size=28, seed=0)
    assert count(module) == parameters
    assert module(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def papers_2nn(net, x):
    x = F.relu(F.linear(x.flatten(1), net.hidden1.weight, net.hidden1.bias))
    x = F.relu(F.linear(x, net.hidden2.weight, net.hidden2.bias))
    return F.linear(x, net.classifier.weight, net.classifier.bias)


def papers_cnn(net, x):
    x = F.max_pool2d(F.relu(F.conv2d(x, net.conv1.weight, net.conv1.bias, padding=2)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, net.conv2.weight, net.conv2.bias, padding=2)), 2)
    x = F.relu(F.linear(x.flatten(1), net.hidden.weight, net.hidden.bias))
    return F.linear(x, net.classifier.weight, net.classifier.bias)


@pytest.mark.parametrize(("name", "paper"), [("2nn", papers_2nn), ("mcmahan-cnn", papers_cnn)])
def test_mcmahan_networks_compute_what_the_paper_describes(name, paper):
    """Convolution, ReLU, pooling; with the last two the other way round the bits are the same."""
    module = build(name, outputs=10, image_size=28, seed=0)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    ours, theirs = module(images), paper(module, images)
    assert torch.equal(ours, theirs)
    gradients = [
        torch.autograd.grad(logits.logsumexp(1).sum(), list(module.parameters()))
        for logits in (ours, theirs)
    ]
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


def test_densenet121_with_one_channel_and_14_outputs():
    module = build("densenet121", outputs=14, image_size=64, seed=0)
    # 6,953,856 of the features with three input channels (He et al.'s DenseNet release), less the
    # two channels of the 64 7×7 filters, plus the classifier.
    assert count(module) == 6_953_856 - 2 * 64 * 49 + 1024 * 14 + 14
    assert isinstance(module.classifier, Classifier)


@pytest.mark.parametrize(
    ("name", "autocast"), [*((name, False) for name in PAPERS), ("densenet121", True)]
)
def test_densenets_are_timms_to_the_bit(name, autocast):
    """Names and their order, initialisation, logits, gradients and running statistics."""
    import timm

    images = torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, theirs = [], []
    for found, make in (
        (ours, lambda: DenseNet(PAPERS[name], 5, 2)),
        (theirs, lambda: timm.create_model(name, num_classes=5, in_chans=2)),
    ):
        torch.manual_seed(3)
        module = make().to(memory_format=torch.channels_last)
        found += module.state_dict().items()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = module(images)
        gradients = torch.autograd.grad(logits.square().sum(), list(module.parameters()))
        found += [("logits", logits), *zip(dict(module.named_parameters()), gradients, strict=True)]
        found += [(f"after {n}", t) for n, t in module.state_dict().items()]
        with torch.inference_mode():
            found.append(("evaluated", module.eval()(images)))
    assert [n for n, _ in ours] == [n for n, _ in theirs]
    assert [n for (n, a), (_, b) in zip(ours, theirs, strict=True) if not torch.equal(a, b)] == []


@pytest.mark.parametrize("size", [32, 64])
def test_the_tiny_densenet(size):
    module = build("densenet-tiny", outputs=14, image_size=size, seed=0)
    # Stem of 16 channels; two layers that add 8 each by way of 32; 32 channels halved; two more.
    stem = 16 * 49 + 2 * 16
    first = sum(2 * c + c * 32 + 2 * 32 + 32 * 8 * 9 for c in (16, 24))
    between = 2 * 32 + 32 * 16
    assert count(module) == stem + 2 * first + between + 2 * 32 + 32 * 14 + 14
    assert isinstance(module.classifier, Classifier)
    assert module(torch.rand(8, 1, size, size)).shape == (8, 14)


def test_the_tiny_densenet_has_batch_normalisation_or_group_where_asked_for():
    batch = build("densenet-tiny", outputs=2, image_size=32, seed=0)
    norms = [module for module in batch.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 * 4 + 1 + 1  # stem, four layers, transition, last
    before = norms[0].running_mean.clone()
    batch(torch.rand(4, 1, 32, 32))
    assert not torch.equal(norms[0].running_mean, before)
    group = build("densenet-tiny", outputs=2, image_size=32, norm="group", seed=0)
    assert not list(group.buffers())
    assert count(group) == count(batch)


def test_the_tiny_densenet_is_a_function_of_the_seed():
    first, again, other = (
        build("densenet-tiny", outputs=5, image_size=32, seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name, tensor in first.items() if tensor.dim() > 1]
    assert len(drawn) == 1 + 2 * 4 + 1 + 1
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_a_densenet_needs_no_timm():
    code = "import sys; from bench.models.backbone import build; "
    code += "[build(name, outputs=14, image_size=32, seed=0) "
    code += "for name in ('densenet121', 'densenet-tiny')]; "
    code += "print('timm' in sys.modules, 'torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_initialisation_is_a_function_of_the_seed_and_disturbs_no_generator():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = build("2nn", outputs=10, image_size=28, seed=1)
    assert torch.equal(torch.rand(1), expected)
    again = build("2nn", outputs=10, image_size=28, seed=1)
    other = build("2nn", outputs=10, image_size=28, seed=2)
    assert torch.equal(first.hidden1.weight, again.hidden1.weight)
    assert not torch.equal(first.hidden1.weight, other.hidden1.weight)


def test_a_transformer_takes_the_image_size_asked_for():
    module = build("vit_tiny_patch16_224", outputs=3, image_size=48, seed=0)
    assert module(torch.zeros(1, 1, 48, 48)).shape == (1, 3)


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'densenet121'"):
        build("densent121", outputs=14, image_size=64, seed=0)
    with pytest.raises(UsageError, match="did you mean 'densenet-tiny'") as caught:
        build("densenet_tiny", outputs=14, image_size=64, seed=0)
    assert all(f"'{name}'" in caught.value.expected for name in OWN)


def test_an_image_size_a_backbone_cannot_take_is_an_error():
    with pytest.raises(UsageError, match="takes 28×28"):
        build("2nn", outputs=10, image_size=32, seed=0)
    with pytest.raises(UsageError, match="'vit_tiny_patch16_224' cannot be built for 8×8"):
        build("vit_tiny_patch16_224", outputs=2, image_size=8, seed=0)


def test_hub_weights_that_cannot_be_had_are_an_error(monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(UsageError, match="could not be had") as caught:
        build("densenet121", outputs=14, image_size=64, pretrained=True, seed=0)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "size"), [("densenet-tiny", 32), ("2nn", 28)])
def test_no_weights_are_published_for_a_network_of_ours(name, size):
    with pytest.raises(UsageError, match=f"no pretrained weights are published for '{name}'"):
        build(name, outputs=10, image_size=size, pretrained=True, seed=0)


def test_local_weights_load_with_another_head_and_three_channels(tmp_path):
    source = build("resnet10t", outputs=5, in_channels=3, image_size=32, seed=1)
    state = {k: v.contiguous() for k, v in source.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.warns(PretrainedWarning, match=r"fc\.weight is 5×512, not 14×512"):
        module = build(
            "resnet10t",
            outputs=14,
            image_size=32,
            pretrained=str(tmp_path / "w.safetensors"),
            seed=2,
        )
    grey = source.conv1[0].weight.sum(1, keepdim=True)
    torch.testing.assert_close(module.conv1[0].weight, grey)
    assert torch.equal(module.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    fresh = build("resnet10t", outputs=14, image_size=32, seed=2)
    assert torch.equal(module.fc.weight, fresh.fc.weight)


def test_local_weights_with_the_same_head_load_whole(tmp_path):
    source = build("2nn", outputs=4, image_size=28, seed=1)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = build(
            "2nn", outputs=4, image_size=28, pretrained=str(tmp_path / "w.safetensors"), seed=2
        )
    assert torch.equal(module.classifier.weight, source.classifier.weight)


def test_weights_files_that_cannot_serve(tmp_path):
    module = build("2nn", outputs=4, image_size=28, seed=0)
    with pytest.raises(UsageError, match="does not exist"):
        load_weights(module, tmp_path / "absent.safetensors", head="classifier")
    (tmp_path / "text.safetensors").write_text("weights, honestly")
    with pytest.raises(UsageError, match="cannot be read"):
        load_weights(module, tmp_path / "text.safetensors", head="classifier")
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    before = module.hidden1.weight.clone()
    with pytest.raises(UsageError, match=r"4 of 6 tensors(.|\n)*hidden1.weight is absent"):
        load_weights(module, tmp_path / "other.safetensors", head="classifier")
    assert torch.equal(module.hidden1.weight, before)


def test_torchvision_names_of_densenet_are_translated():
    names = normalised_names(
        ["features.denseblock1.denselayer2.norm.1.weight", "features.norm0.bias"]
    )
    assert list(names.values()) == [
        "features.denseblock1.denselayer2.norm1.weight",
        "features.norm0.bias",
    ]


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(1, 1), (2, 1), (3, 1), (32, 16), (48, 24), (64, 32), (1024, 32), (7, 1)],
)
def test_group_rule(channels, groups):
    assert groups_for(channels) == groups


def test_group_normalisation_leaves_no_running_statistics():
    module = build("densenet121", outputs=2, image_size=32, norm="group", seed=0)
    assert not list(module.buffers())
    assert count(module) == count(build("densenet121", outputs=2, image_size=32, seed=0))


def test_group_normalisation_keeps_the_fused_activation():
    from timm.layers import BatchNormAct2d

    network = nn.Sequential(BatchNormAct2d(4))
    to_group_norm(network)
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(network(x), torch.relu(nn.functional.group_norm(x, 2)))


def test_the_classifier_computes_in_fp32_under_autocast():
    layer = Classifier(8, 3)
    x = torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float32
    assert torch.equal(y, layer(x))


@pytest.mark.parametrize(("backbone", "optimizer"), [("2nn", "adam"), ("mcmahan-cnn", "sgd")])
def test_a_step_imports_no_more_than_needed(backbone, optimizer):
    code = """
import sys
import bench.training.trainer, bench.training.device, bench.training.yardstick
import torch
from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.training.device import Precision
from bench.training.optimizers import optimizer_for
from bench.training.step import step_for
from bench.training.tasks import DigitTask
backbone, optimizer = sys.argv[1:]
flat = FlatModel(build(backbone, outputs=10, image_size=28, seed=0), "cpu")
choice = Choice(optimizer, (("lr", 0.1),))
optimizer = optimizer_for(choice, flat.parameters_flat)
step = step_for(flat, DigitTask(), optimizer, Precision("fp32", "test"))
step(torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64))
heavy = {"torch._dynamo", "torchvision", "timm", "sklearn", "pandas", "sympy"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    command = [sys.executable, "-c", code, backbone, optimizer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
