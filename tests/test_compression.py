"""What clients send compressed: by hand, without bias, and without losing anything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import NonFiniteError, SuiteError
from bench.federation.compression import largest, sparse_bytes, to_bytes, top_k
from bench.suites.scenario import FAMILIES
from tests.federation_toys import BodyAndHead, bits, straight_and_resumed, toy, vector
from tests.team_of_threads import run_team

FOUR_SIGMA = 4.0


def choice(name: str, **parameters):
    return FAMILIES["compression"].read({"name": name, **parameters})


def half(size: int) -> torch.Tensor:
    """Rounding to the nearest: u = ½."""
    return torch.full((size,), 0.5)


def numbers(size: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=size)).float()


def test_top_k_by_hand():
    """Changes 1, -3, 2, 0 and ½; the two largest are sent."""
    old = torch.tensor([1.0, 1, 1, 1, 1])
    new = torch.tensor([2.0, -2, 3, 1, 1.5])
    residual = torch.zeros(5)
    sent = top_k(new, old, 0.4, residual)
    assert new.tolist() == [1, -2, 3, 1, 1]
    assert residual.tolist() == [1, 0, 0, 0, 0.5]
    assert sent == 2 * 4 + 1, "two values, and a bit for each of five elements"
    second = torch.tensor([1.5, -2, 3, 1, 1.5])
    top_k(second, new, 0.4, residual)
    assert second.tolist() == [2.5, -2, 3, 1, 2], "½ + 1 and ½ + ½"
    assert residual.tolist() == [0.0] * 5


def test_top_k_without_error_feedback_forgets():
    old, new = torch.zeros(3), torch.tensor([1.0, 2, 4])
    top_k(new, old, 0.34, None)
    assert new.tolist() == [0, 0, 4]


def test_at_least_one_element_is_sent():
    new = torch.tensor([1.0, 2.0])
    assert top_k(new, torch.zeros(2), 1e-9, None) == 4 + 1
    assert new.tolist() == [0, 2]


def test_of_equal_ones_the_first_are_sent():
    assert largest(torch.tensor([1.0, 2, 1, 2, 1]), 3).tolist() == [True, True, False, True, False]
    assert largest(torch.ones(3), 3).all()


@given(
    size=st.integers(1, 400),
    share=st.floats(0.001, 1),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
)
@settings(max_examples=80, deadline=None)
def test_message_and_residual_are_the_whole_change_to_the_bit(size, share, seed, scale):
    old, new = numbers(size, seed), numbers(size, seed + 1, scale)
    before = numbers(size, seed + 2, scale)
    wanted = new + before
    received, residual = new.clone(), before.clone()
    top_k(received, old, share, residual)
    sent = residual == 0
    assert torch.equal(received[sent], wanted[sent])
    assert torch.equal(received[~sent], old[~sent])
    assert torch.equal(residual[~sent], (wanted - old)[~sent])
    count = max(1, math.floor(share * size + 0.5))
    assert int((received != old).sum()) <= count
    kept, lost = (wanted - old).abs()[received != old], residual.abs()
    assert not len(kept) or kept.min() >= lost.max()


def test_all_of_it_sent_is_the_parameters_to_the_bit():
    old, new = numbers(1000), numbers(1000, 1)
    received = new.clone()
    assert top_k(received, old, 1.0, torch.zeros(1000)) == 4000
    assert torch.equal(received, new)


def encoded(elements: int, places: np.ndarray, values: np.ndarray) -> bytes:
    """A message as it could be sent: the values, then their indices or a bit for each element."""
    indices = places.astype("<u4").tobytes()
    flags = np.zeros(elements, dtype=bool)
    flags[places] = True
    which = b"" if len(places) == elements else min(indices, np.packbits(flags).tobytes(), key=len)
    return values.astype("<f4").tobytes() + which


@pytest.mark.parametrize("sent", [1, 5, 30, 31, 32, 100, 999, 1000])
def test_bytes_are_those_of_a_message(sent):
    places = np.sort(np.random.default_rng(0).permutation(1000)[:sent])
    assert len(encoded(1000, places, np.ones(sent))) == sparse_bytes(1000, sent)


def test_eight_bits_by_hand():
    """Block one: s = 127, so levels are the rounded values. Block two: s = 2.54, steps of 0.02."""
    new = torch.tensor([127.0, -3.2, 0.6, 2.54, -0.031, 0.0])
    sent = to_bytes(new, torch.zeros(6), 3, half)
    assert new.tolist() == pytest.approx([127, -3, 1, 2.54, -0.04, 0], abs=1e-6)
    assert sent == 6 + 2 * 4


def test_eight_bits_of_no_change_and_of_the_last_block():
    old = numbers(10)
    new = old.clone()
    assert to_bytes(new, old, 4, half) == 10 + 3 * 4
    assert torch.equal(new, old)


def test_the_ends_of_the_scale_are_exact_whatever_is_drawn():
    for u in (0.0, 1 - 2**-24):
        new = torch.tensor([0.7, -0.7])
        to_bytes(new, torch.zeros(2), 2, lambda n, u=u: torch.full((n,), u))
        assert new.tolist() == pytest.approx([0.7, -0.7], abs=1e-7)


@given(seed=st.integers(0, 1000), block=st.sampled_from([1, 3, 64, 1000]))
@settings(max_examples=30, deadline=None)
def test_eight_bits_are_never_further_off_than_one_level(seed, block):
    rng = np.random.default_rng(seed)
    old, new = numbers(200, seed), numbers(200, seed + 1)
    received = new.clone()
    to_bytes(received, old, block, lambda n: torch.from_numpy(rng.random(n, "float32")))
    change = (new - old).abs()
    for start in range(0, 200, block):
        part = slice(start, start + block)
        level = float(change[part].max()) / 127
        assert float((received - new)[part].abs().max()) <= level + 1e-6


def test_eight_bits_have_no_bias():
    """The mean over 3,000 draws is within four standard errors of the value, whose variance is at
    most a quarter of a level squared; and the errors do vary."""
    rng, draws = np.random.default_rng(0), 3000
    change, nothing = numbers(50, 3), torch.zeros(50)
    total = torch.zeros(50, dtype=torch.float64)
    for _ in range(draws):
        received = change.clone()
        to_bytes(
            received, torch.zeros(50), 50, lambda n: torch.from_numpy(rng.random(n, "float32"))
        )
        total += received.double()
    level = float(change.abs().max()) / 127
    error = (total / draws - change.double()).abs().max()
    assert 0 < float(error) < FOUR_SIGMA * level / 2 / math.sqrt(draws)
    nearest = change.clone()
    to_bytes(nearest, nothing, 50, half)
    assert float((nearest - change).abs().max()) > 10 * float(error)


TWO = {"start": [2.0, 2.0], "targets": [[0, 1], [0, 1], [0, 1], [4, 2]]}


def test_a_round_of_top_k_by_hand(tmp_path):
    """One element of two. Client 0: changes -1, -½, sends the first; client 1: +1, 0. FedAvg of
    (1, 2) and (3, 2). Then client 0 from (1.5, 2): -¾ and -½ - ½: sends the second, 2 - 1 = 1."""
    federation = toy(tmp_path, fields={"compression": choice("topk", share=0.5)}, **TWO)
    result = federation.round(1)
    assert vector(federation) == [1.5, 2.0]
    assert (result.bytes_up, result.bytes_down) == (2 * (4 + 1), 2 * 8)
    federation.round(2)
    assert vector(federation) == [1.5 * 0.75 + 2.75 * 0.25, 0.75 * 1.0 + 0.25 * 2.0]


def test_a_client_that_is_away_keeps_what_it_has_not_sent(tmp_path):
    federation = toy(tmp_path, fields={"compression": choice("topk", share=0.5)}, **TWO)
    federation.round(1, clients=[0])
    assert federation._store.get(0)["residual"].tolist() == [0.0, -0.5]
    federation.round(2, clients=[1])
    assert federation._store.get(0)["residual"].tolist() == [0.0, -0.5]


def test_personal_parameters_are_not_sent_compressed_or_otherwise(tmp_path):
    """The body alone is sent, one element of one whatever the share; heads are FedPer's."""
    fields = {"compression": choice("topk", share=0.1)}
    both = {"start": [2.0, 2.0], "targets": [[0, 0], [0, 0], [0, 0], [4, 4]], "module": BodyAndHead}
    federation = toy(tmp_path, "fedper", fields=fields, **both)
    result = federation.round(1)
    assert result.bytes_up == 8
    found = []
    for _, load_model in federation.personal_models():
        load_model()
        found.append(federation.trainer.flat.parameters_flat.tolist())
    assert found == [[1.5, 1.0], [1.5, 3.0]]


@pytest.mark.parametrize("name", ["scaffold", "dpfedavg"])
def test_what_cannot_be_compressed_is_refused(tmp_path, name):
    from bench.verify.federations import defaults

    with pytest.raises(SuiteError, match="compression: int8"):
        toy(tmp_path, name, fields={"compression": choice("int8")}, **defaults(name))


def test_a_change_that_is_not_finite_is_named(tmp_path):
    for name in ("topk", "int8"):
        fields = {"compression": choice(name)}
        federation = toy(tmp_path / name, targets=[0, 0, 0, math.nan], fields=fields)
        with pytest.raises(NonFiniteError, match="round 1, client 1"):
            federation.round(1)


MANY = {
    "start": numbers(40, 1).tolist(),
    "targets": np.random.default_rng(0).normal(size=(20, 40)),
    "clients": [rows.tolist() for rows in np.array_split(np.arange(20), [2, 3, 7, 11, 12])],
    "lr": 0.1,
    "fraction": 0.5,
}
CHOICES = [
    choice("topk", share=0.1),
    choice("topk", share=0.1, error_feedback=False),
    choice("int8", block=16),
]


@pytest.mark.parametrize("compression", CHOICES, ids=str)
def test_the_order_of_visits_does_not_change_a_bit(tmp_path, compression):
    found = []
    for order in ((0, 1, 2, 3, 4, 5), (5, 2, 0, 4, 1, 3)):
        fields = {"compression": compression}
        federation = toy(tmp_path / str(order[0]), fields=fields, **MANY)
        for number in (1, 2, 3):
            federation.round(number, clients=order)
        found.append(bits(federation.state()))
    assert found[0] == found[1]


@pytest.mark.parametrize("compression", CHOICES, ids=str)
def test_three_processes_make_the_bits_and_send_the_bytes_of_one(tmp_path, compression):
    def member(team):
        fields = {"compression": compression}
        federation = toy(tmp_path / str(team.size), fields=fields, team=team, **MANY)
        sent = [federation.round(r).bytes_up for r in (1, 2, 3, 4)]
        return bits(federation.state()), sent

    (alone,) = run_team(1, member)
    assert run_team(3, member)[0] == alone
    assert min(alone[1]) > 0


@pytest.mark.parametrize("compression", CHOICES, ids=str)
@pytest.mark.parametrize("name", ["fedavg", "feddyn"])
def test_saved_and_loaded_it_goes_on_to_the_same_bits(tmp_path, name, compression):
    parameters = {"alpha": 0.1} if name == "feddyn" else {}
    arguments = {"fields": {"compression": compression}, **MANY, **parameters}
    straight, resumed = straight_and_resumed(
        lambda at: toy(at, name, **arguments), tmp_path, rounds=6
    )
    assert bits(resumed.state()) == bits(straight.state())
    for client in range(6):
        one, other = resumed._store.get(client), straight._store.get(client)
        assert bits(one or {}) == bits(other or {})


def test_with_error_feedback_top_k_gets_where_fedavg_gets(tmp_path):
    """Twenty clients' targets in 40 dimensions, all taking part, a tenth of the elements sent."""
    ends = {}
    for name, fields in (
        ("fedavg", {}),
        ("with", {"compression": CHOICES[0]}),
        ("without", {"compression": CHOICES[1]}),
    ):
        federation = toy(tmp_path / name, fields=fields, **{**MANY, "fraction": 1.0})
        for number in range(1, 151):
            federation.round(number)
        ends[name] = federation.parameters.clone()
    near = float((ends["with"] - ends["fedavg"]).norm())
    far = float((ends["without"] - ends["fedavg"]).norm())
    assert near < far / 2
