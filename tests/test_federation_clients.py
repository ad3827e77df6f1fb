"""What clients keep survives eviction, a kill at any moment and a resumed run."""

from __future__ import annotations

import contextlib

import pytest
import torch

from bench.errors import ResultsError
from bench.federation import clients as module
from bench.federation.clients import ClientStore


def state(value: float, size: int = 4) -> dict[str, torch.Tensor]:
    return {"v": torch.full((size,), float(value)), "n": torch.tensor([int(value)])}


def value(store: ClientStore, client: int) -> float:
    kept = store.get(client)
    assert kept is not None
    return float(kept["v"][0])


def test_a_state_is_what_was_put(tmp_path):
    store = ClientStore(tmp_path / "clients")
    assert store.get(3) is None
    assert 3 not in store
    store.put(3, 1, state(1.5))
    assert 3 in store
    assert value(store, 3) == 1.5
    assert not (tmp_path / "clients").exists(), "nothing is written before it must be"


def test_states_beyond_the_budget_go_to_disk_and_come_back(tmp_path):
    """A state has 4 floats and one int64, 24 bytes: two fit in 50."""
    store = ClientStore(tmp_path, memory_bytes=50)
    for client in range(4):
        store.put(client, 1, state(client))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert [value(store, client) for client in range(4)] == [0, 1, 2, 3]


def test_a_superseded_file_goes_unless_a_checkpoint_names_it(tmp_path):
    store = ClientStore(tmp_path)
    for number in (1, 2):
        store.put(0, number, state(number))
        store.flush()
    assert [f.name for f in tmp_path.iterdir()] == ["client-000000-round-000002.safetensors"]
    store.commit()
    store.put(0, 3, state(3))
    store.flush()
    assert len(list(tmp_path.iterdir())) == 2
    store.commit()
    assert [f.name for f in tmp_path.iterdir()] == ["client-000000-round-000003.safetensors"]


class Killed(BaseException):
    """The process dies here."""


def run(store: ClientStore, first: int, last: int, checkpoint: dict) -> None:
    """Rounds in which client r mod 3 adds r to what it has; a checkpoint every second round."""
    for number in range(first, last + 1):
        client = number % 3
        before = value(store, client) if client in store else 0.0
        store.put(client, number, state(before + number))
        if number % 2 == 0:
            store.flush()
            checkpoint.clear()
            checkpoint |= {"round": number, "versions": dict(store.versions)}
            store.commit()


@pytest.mark.parametrize("after", range(40))
def test_killed_before_any_file_operation_and_resumed_it_ends_the_same(
    tmp_path, monkeypatch, after
):
    """Every write, move and deletion is a moment to die at; ``after`` of them succeed."""
    left = [after]
    path_type = type(tmp_path)

    def mortal(name: str):
        original = getattr(path_type, name)

        def method(self, *args, **kwargs):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(self, *args, **kwargs)

        return method

    checkpoint: dict = {}
    with monkeypatch.context() as patch:
        for name in ("open", "replace", "unlink"):
            patch.setattr(path_type, name, mortal(name))
        with contextlib.suppress(Killed):
            run(ClientStore(tmp_path, memory_bytes=30), 1, 9, checkpoint)
    resumed = ClientStore(tmp_path, memory_bytes=30)
    if checkpoint:
        resumed.restore(checkpoint["versions"])
    run(resumed, checkpoint.get("round", 0) + 1, 9, checkpoint)
    resumed.flush()
    resumed.commit()
    assert [value(resumed, c) for c in range(3)] == [18, 12, 15], "3+6+9, 1+4+7, 2+5+8"
    assert len(list(tmp_path.iterdir())) == 3, "no litter is left"


def test_a_damaged_file_is_named(tmp_path):
    store = ClientStore(tmp_path)
    store.put(0, 1, state(1))
    store.flush()
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:20])
    fresh = ClientStore(tmp_path)
    fresh.restore({0: 1})
    with pytest.raises(ResultsError, match="client 0") as error:
        fresh.get(0)
    assert str(file) in str(error.value)
    file.unlink()
    with pytest.raises(ResultsError, match="client 0"):
        fresh.get(0)


def test_discard_leaves_nothing(tmp_path):
    store = ClientStore(tmp_path / "clients")
    store.put(0, 1, state(1))
    store.flush()
    store.discard()
    assert not (tmp_path / "clients").exists()
    assert store.get(0) is None


def test_the_default_budget_holds_a_federation_of_densenets():
    assert module.MEMORY_BYTES > 70 * 4 * 6_960_000
