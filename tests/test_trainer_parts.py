"""Devices, precision, threads, optimisers, augmentation, batches and the yardstick."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import environment
from bench.data.stacked import Stacked
from bench.errors import UsageError
from bench.suites.choice import Choice
from bench.training import augment, device
from bench.training.device import Precision, resolve_device, resolve_precision
from bench.training.images import ImageStore, as_tensor, batch_bounds, batches, normalised
from bench.training.optimizers import optimizer_for, reset, restore
from bench.training.yardstick import yardstick

CPU = torch.device("cpu")


def test_devices():
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for word in ("gpu", "cpu:0", "cuda:x", ""):
        with pytest.raises(UsageError, match="unknown device"):
            resolve_device(word)
    with pytest.raises(UsageError, match="no device 'cuda:99'"):
        resolve_device("cuda:99")


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bf16"),
        ({"avx512_f": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_automatic_precision_on_a_cpu(monkeypatch, features, name):
    monkeypatch.setattr(device, "cpu_features", lambda: features)
    chosen = resolve_precision("auto", CPU, "densenet121")
    assert chosen.name == name
    assert chosen.reason
    assert chosen.autocast == (torch.bfloat16 if name == "bf16" else None)
    assert resolve_precision("auto", CPU, "2nn").name == "fp32"
    assert resolve_precision("bf16", CPU, "2nn").name == "bf16"
    assert resolve_precision("fp32", CPU).name == "fp32"


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_automatic_precision_on_a_gpu(monkeypatch, capability, name):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", torch.device("cuda", 0), "densenet121").name == name


def test_threads(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device.choose_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(device, "_capabilities", lambda: {"num_physical_cores": 8})
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(environment, "quota", lambda: None)
    assert device.choose_threads() == 8
    monkeypatch.setattr(environment, "quota", lambda: 2)
    assert device.choose_threads() == 2


@pytest.mark.parametrize(
    ("text", "quota"),
    [("max 100000", None), ("250000 100000", 2), ("50000 100000", 1), ("junk", None)],
)
def test_quota_of_a_control_group(tmp_path, text, quota):
    (tmp_path / "cpu.max").write_text(text)
    assert environment.quota(tmp_path / "cpu.max") == quota
    assert environment.quota(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Choice("sgd", (("lr", 0.1),)), lambda p: torch.optim.SGD(p, lr=0.1)),
        (
            Choice(
                "sgd", (("lr", 0.1), ("momentum", 0.9), ("nesterov", True), ("weight_decay", 0.1))
            ),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        ),
        (Choice("adam", (("lr", 0.01),)), lambda p: torch.optim.Adam(p, lr=0.01)),
        (
            Choice("adamw", (("lr", 0.01), ("weight_decay", 0.2), ("beta2", 0.9))),
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.2, betas=(0.9, 0.9)),
        ),
    ],
)
def test_optimizers_equal_torchs(ours, theirs):
    torch.manual_seed(0)
    mine = torch.randn(1001)
    reference = mine.clone().requires_grad_()
    optimizer, expected = optimizer_for(ours, mine), theirs([reference])
    for _ in range(10):
        gradient = torch.randn(1001)
        reference.grad = gradient.clone()
        expected.step()
        optimizer.step(mine, gradient)
        torch.testing.assert_close(mine, reference.detach(), rtol=1e-6, atol=2e-7)


def test_an_optimizer_resets_and_restores_in_place():
    adam = optimizer_for(Choice("adam", (("lr", 0.01),)), torch.zeros(3))
    places = {k: v.data_ptr() for k, v in adam.state.items()}
    adam.step(torch.zeros(3), torch.ones(3))
    saved = {k: v.clone() for k, v in adam.state.items()}
    reset(adam)
    assert all(not v.any() for v in adam.state.values())
    restore(adam, saved)
    restore(adam, adam.state)
    assert all(torch.equal(v, saved[k]) for k, v in adam.state.items())
    assert {k: v.data_ptr() for k, v in adam.state.items()} == places


@given(st.integers(1, 200), st.one_of(st.none(), st.integers(1, 50)))
def test_batches_cover_every_example_once_and_none_is_alone(examples, size):
    bounds = batch_bounds(examples, size)
    assert [i for low, high in bounds for i in range(low, high)] == list(range(examples))
    lengths = [high - low for low, high in bounds]
    assert all(n <= (size or examples) + 1 for n in lengths)
    if size != 1 and examples > 1:
        assert min(lengths) > 1


def test_batch_bounds_by_hand():
    assert batch_bounds(11, 5) == [(0, 5), (5, 11)]
    assert batch_bounds(12, 5) == [(0, 5), (5, 10), (10, 12)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 2), (2, 3)]
    assert batch_bounds(1, 16) == [(0, 1)]
    assert batch_bounds(0, 16) == []


def test_inputs_are_normalised_and_channels_last():
    images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    inputs = normalised(images, 0.5, 0.25)
    torch.testing.assert_close(inputs, torch.tensor([[[[-2.0, 2.0], [-1.2, -0.4]]]]))
    assert inputs.stride() == (4, 1, 2, 1)
    torch.testing.assert_close(normalised(images, 0.0, 1.0)[0, 0], images[0] / 255)


def test_a_read_only_memory_map_is_used_where_it_lies(tmp_path, recwarn):
    pixels = np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4)
    pixels.tofile(tmp_path / "pack")
    mapped = np.memmap(tmp_path / "pack", dtype=np.uint8, mode="r", shape=(5, 4, 4))
    tensor = as_tensor(mapped)
    assert not recwarn.list
    assert tensor.data_ptr() == mapped.ctypes.data
    store = ImageStore(mapped, CPU)
    assert store.resident
    assert torch.equal(store.gather(torch.tensor([4, 0])), torch.from_numpy(pixels[[4, 0]]))


def test_batches_are_the_rows_asked_for_whatever_the_chunk(monkeypatch):
    pixels = np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2)
    store = ImageStore(pixels, CPU)
    rows = torch.tensor([6, 2, 2, 0, 5])
    bounds = batch_bounds(5, 2)
    expected = [torch.tensor(pixels[[6, 2]]), torch.tensor(pixels[[2, 0, 5]])]
    for chunk in (1, 8, 2**20):
        monkeypatch.setattr("bench.training.images.CHUNK_PIXELS", {"cpu": chunk})
        got = [b[:, 0] * 255 for b in batches(store, rows, bounds, normalisation=(0.0, 1.0))]
        for mine, wanted in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, wanted.float())


def test_flips_and_shifts_by_hand():
    images = torch.tensor([[[1, 2], [3, 4]], [[1, 2], [3, 4]]], dtype=torch.uint8)
    flipped = augment.apply(images, augment.Draw(torch.tensor([True, False]), None), 0, 2)
    assert flipped.tolist() == [[[2, 1], [4, 3]], [[1, 2], [3, 4]]]
    shifts = torch.tensor([[9, 9], [1, 0], [0, -1]])
    shifted = augment.apply(images, augment.Draw(None, shifts), 1, 3)
    assert shifted.tolist() == [[[0, 0], [1, 2]], [[2, 0], [4, 0]]]
    assert images[0].tolist() == [[1, 2], [3, 4]]
    assert augment.apply(images, None, 0, 2) is images


def test_augmentation_draws_within_their_bounds():
    assert augment.draw("none", 10, 64, None) is None
    drawn = augment.draw("flip+shift", 4000, 64, np.random.default_rng(0))
    assert drawn.shift.min() == -4
    assert drawn.shift.max() == 4
    assert 0.45 < drawn.flip.float().mean() < 0.55
    only = augment.draw("flip", 10, 64, np.random.default_rng(0))
    assert only.shift is None


def test_the_yardstick_measures_and_draws_nothing():
    state = torch.get_rng_state()
    speeds = [yardstick(CPU, Precision(name, "")) for name in ("fp32", "bf16")]
    assert all(speed > 1 for speed in speeds)
    assert torch.equal(torch.get_rng_state(), state)


DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("share", [0.6, 0.0], ids=["resident", "streamed"])
def test_stacked_images_are_gathered_as_one_array_s(
    device: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.training.images.RESIDENT_SHARE", share)
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (n, 4, 4), dtype=np.uint8) for n in (5, 1, 7)]
    whole = torch.from_numpy(np.concatenate(parts))
    store = ImageStore(Stacked(parts), torch.device(device))
    assert (len(store), store.side) == (13, 4)
    assert store.resident == (device == "cpu" or share > 0)
    for rows in ([12, 0, 5, 5, 3], [1, 4], [5], [9, 8, 7], []):
        index = torch.tensor(rows, dtype=torch.int64)
        assert torch.equal(store.gather(index).cpu(), whole[index])
