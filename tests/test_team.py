"""What the members of a team exchange, and how they fail together."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import NonFiniteError, WorkerLost
from bench.federation.team import (
    ALONE,
    EVERYWHERE,
    Abandoned,
    Team,
    given_up_everywhere,
    longest_first,
    spread,
    together,
)
from bench.runs.ensemble import Ensemble
from tests.team_of_threads import run_team


@pytest.mark.parametrize("size", [1, 2, 4])
def test_messages_reach_everyone_in_the_order_of_ranks(size: int) -> None:
    def member(team: Team) -> tuple[Any, Any]:
        shared = team.share({"from": team.rank, "third": 1 / 3, "nan": math.nan})
        return shared, team.gather([team.rank, "x" * 100_000 * team.rank])

    for shared, gathered in run_team(size, member):
        assert (shared["from"], shared["third"]) == (0, 1 / 3)
        assert math.isnan(shared["nan"])
        assert gathered == [[rank, "x" * 100_000 * rank] for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sums_are_integer_sums_whatever_the_sizes_and_again(size: int) -> None:
    def member(team: Team) -> list[list[int]]:
        found = []
        for length in (5, 3, 1000, 0, 7):  # the places grow, and are used again
            long = torch.arange(length) * (team.rank + 1)
            short = torch.full((2, 3), team.rank, dtype=torch.int32)
            team.add_up([long, short])
            found.append([*long.tolist(), *short.reshape(-1).tolist()])
        return found

    ranks = sum(range(size))
    expected = [
        [*(n * (ranks + size) for n in range(length)), *[ranks] * 6]
        for length in (5, 3, 1000, 0, 7)
    ]
    assert run_team(size, member) == [expected] * size


def test_sums_wrap_around_as_the_exact_sums_need() -> None:
    def member(team: Team) -> list[int]:
        value = torch.tensor([2**62])
        team.add_up([value])
        return value.tolist()

    assert run_team(4, member) == [[0]] * 4


def test_the_owner_s_numbers_reach_everyone_bit_for_bit() -> None:
    special = [0.1, -0.0, math.inf, 1e-45, math.nan]

    def member(team: Team) -> bytes:
        floats = torch.tensor(special) if team.rank == 2 else torch.ones(5)
        counts = torch.tensor([7 if team.rank == 2 else -1])
        spread(team, 2, [floats, counts, torch.empty(0)])
        return floats.numpy().tobytes() + counts.numpy().tobytes()

    expected = torch.tensor(special).numpy().tobytes() + torch.tensor([7]).numpy().tobytes()
    assert run_team(3, member) == [expected] * 3


def test_a_failure_anywhere_is_everyone_s_and_the_leader_has_the_reason() -> None:
    def member(team: Team) -> str:
        def work() -> int:
            if team.rank == 1:
                raise NonFiniteError("not finite", where="round 3, client 5", mend="lower the lr")
            return team.rank

        try:
            together(team, work)
        except (Abandoned, NonFiniteError) as error:
            ended = f"{type(error).__name__}: {error}"
        assert together(team, lambda: team.rank) == [0, 1, 2]  # they are still in step
        return ended

    told = "NonFiniteError: round 3, client 5: not finite\n  to mend: lower the lr"
    assert run_team(3, member) == [told, "Abandoned: ", "Abandoned: "]


@pytest.mark.parametrize("failing", [0, 1])
def test_the_leader_knows_which_failures_everyone_knows(failing: int) -> None:
    def member(team: Team) -> bool:
        def work() -> None:
            if team.rank == failing:
                raise ValueError

        with pytest.raises((Abandoned, RuntimeError, ValueError)) as caught:
            together(team, work)
        return given_up_everywhere(caught.value)

    assert run_team(2, member)[0]
    assert given_up_everywhere(NonFiniteError("every member finds it in the same numbers"))
    assert not given_up_everywhere(ValueError())


class Led:
    """The leader of two, or the other one, of whom nothing is sent anywhere."""

    def __init__(self, rank: int = 0, size: int = 2) -> None:
        self.rank, self.size = rank, size
        self.told: list[Any] = []

    def share(self, message: Any = None) -> Any:
        self.told.append(message)
        return message


def ensemble_that_raises(error: Exception, team: Led) -> Ensemble:
    def fail(*_: Any) -> None:
        raise error

    federation = SimpleNamespace(round=fail, commit=fail, export=fail, models=fail)
    assembly: Any = SimpleNamespace(
        federation=federation, enter_phase_of=lambda number: None, state=fail
    )
    material: Any = SimpleNamespace(evaluated={})
    alike: Any = team
    return Ensemble(alike, assembly, material)


ORDERS: dict[str, Callable[[Ensemble], Any]] = {
    "round": lambda ensemble: ensemble.round(3),
    "state": lambda ensemble: ensemble.state(),
    "commit": lambda ensemble: ensemble.commit(3),
    "export": lambda ensemble: ensemble.save_weights(Path("weights")),
    "load": lambda ensemble: ensemble._load("models", 0),
}


@pytest.mark.parametrize("order", ORDERS)
def test_what_fails_in_the_leader_alone_ends_the_run(order: str) -> None:
    team = Led()
    with pytest.raises(WorkerLost) as caught:
        ORDERS[order](ensemble_that_raises(MemoryError("no room"), team))
    assert [name for name, *_ in team.told] == [order]
    assert str(caught.value) == (
        "worker 1 of 2: a process failed where the others wait for it\n"
        "  found: MemoryError: no room\n"
        "  to mend: the same command carries on from the last checkpoint"
    )
    assert isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.parametrize("order", ORDERS)
def test_what_fails_in_all_ends_the_scenario_only(order: str) -> None:
    known = ValueError("everyone knows")
    vars(known)[EVERYWHERE] = True
    cases = [
        (known, Led()),
        (NonFiniteError("in the same numbers"), Led()),
        (WorkerLost("gone"), Led()),
        (MemoryError("no room"), Led(rank=1)),
        (MemoryError("no room"), Led(size=1)),
    ]
    for error, team in cases:
        with pytest.raises(type(error)) as caught:
            ORDERS[order](ensemble_that_raises(error, team))
        assert caught.value is error
        assert len(team.told) == (team.size > 1 and team.rank == 0)


def test_what_nobody_foresaw_keeps_its_traceback_and_a_full_disk_its_place() -> None:
    def member(team: Team) -> Exception:
        def work() -> None:
            if team.rank == 1:
                raise failure

        with pytest.raises(Exception) as caught:  # noqa: PT011 - its kind is looked at below
            together(team, work)
        return caught.value

    failure: Exception = ZeroDivisionError("by zero")
    told = run_team(2, member)[0]
    assert str(told) == "ZeroDivisionError: by zero"
    (note,) = told.__notes__
    assert "in worker 2" in note
    assert "raise failure" in note
    failure = OSError(28, "No space left on device", "/results/x")
    full = run_team(2, member)[0]
    assert isinstance(full, OSError)
    assert (full.errno, full.filename) == (28, "/results/x")


def test_the_lowest_rank_s_failure_is_the_one_that_is_told() -> None:
    def member(team: Team) -> str:
        def work() -> None:
            raise ValueError(str(team.rank))

        with pytest.raises((ValueError, Abandoned)) as caught:
            together(team, work)
        return str(caught.value)

    assert run_team(3, member)[0] == "0"


def test_alone_a_failure_is_as_it_was_raised() -> None:
    def work() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        together(ALONE, work)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_who_waits_for_one_that_is_gone_is_told_so(gone: int) -> None:
    def member(team: Team) -> None:
        if team.rank == gone:
            return
        while True:
            team.gather(None)

    with pytest.raises(WorkerLost, match="is gone"):
        run_team(3, member)


def test_the_longest_come_first() -> None:
    work = {0: 3.0, 1: 5.0, 2: 3.0, 3: 4.0}
    # 1 → member 0 (5), 3 → member 1 (4), 0 → member 1 (7), 2 → member 0 (8)
    assert longest_first(work, 2) == {1: 0, 3: 1, 0: 1, 2: 0}
    assert longest_first(work, 1) == dict.fromkeys(work, 0)
    assert sorted(longest_first(work, 9).values()) == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 6))
def test_no_member_has_more_than_a_fair_part_and_one_piece(
    lengths: list[int], members: int
) -> None:
    homes = longest_first({k: float(n) for k, n in enumerate(lengths)}, members)
    loads = [sum(n for k, n in enumerate(lengths) if homes[k] == m) for m in range(members)]
    assert sum(loads) == sum(lengths)
    fair, longest = sum(lengths) / members, max(lengths, default=0)
    assert max(loads) <= fair + longest * (1 - 1 / members) + 1e-9
