"""The stand-in for a GPU finds what it is there to find, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.pretended import DEVICE, Gpu, Race, pretending


@pytest.fixture
def gpu(monkeypatch):
    with pretending(monkeypatch) as gpu:
        yield gpu


def captured(work, stream=None):
    """The graph of ``work``, on a stream of its own."""
    graph = torch.cuda.CUDAGraph()
    stream = stream or torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with (
        torch.cuda.stream(stream),
        torch.cuda.graph(graph, pool=1, stream=stream, capture_error_mode="thread_local"),
    ):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    return graph


def test_tensors_are_where_they_were_put(gpu):
    host = torch.arange(6.0)
    ways = [
        host.to(DEVICE),
        host.cuda(),
        host.to("cuda:0", torch.float64, non_blocking=True),
        torch.zeros(2, device="cuda"),
        torch.tensor([1.0], device=DEVICE),
        torch.zeros(3, device=DEVICE).to(host),
        host.to(torch.zeros(1, device=DEVICE)),
    ]
    assert [t.device.type for t in ways] == ["cuda"] * 5 + ["cpu", "cuda"]
    assert ways[2].dtype == torch.float64
    derived = ways[0].view(2, 3).t().contiguous().mul(2).sum(0)
    assert derived.is_cuda
    assert derived.cpu().tolist() == [6.0, 24.0]
    assert torch.empty_like(ways[0], device="cpu").device.type == "cpu"
    assert host.device.type == "cpu"
    assert isinstance(gpu, Gpu)


def test_gradients_cross_the_devices(gpu):
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    (weight.to(DEVICE) ** 2).sum().backward()
    assert weight.grad.device.type == "cpu"
    assert weight.grad.tolist() == [4.0, 6.0]
    layer = torch.nn.Linear(2, 1).to(DEVICE)
    unused = torch.zeros(3, device=DEVICE, requires_grad=True)
    given = torch.autograd.grad(
        layer(torch.ones(4, 2, device=DEVICE)).sum(),
        [layer.weight, unused],
        allow_unused=True,
        materialize_grads=True,
    )
    assert [g.device for g in given] == [DEVICE, DEVICE]
    assert given[0].tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize(
    "meet",
    [
        lambda there, host: there + host,
        lambda there, host: there.add_(host),
        lambda there, host: torch.cat([there, host]),
        lambda there, host: there.index_select(0, torch.tensor([0])),
        lambda there, host: host + there[0],
        lambda there, host: torch._foreach_add_([there], [host]),
        lambda there, host: torch.add(host, 1.0, out=there),
    ],
)
def test_devices_do_not_meet_in_an_operation(gpu, meet):
    with pytest.raises(RuntimeError, match="on the same device"):
        meet(torch.zeros(3, device=DEVICE), torch.ones(3))


def test_a_scalar_of_the_host_may_be_used_and_numpy_may_not(gpu):
    there = torch.ones(3, device=DEVICE)
    assert (there * torch.tensor(2.0)).tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(there)


def test_what_makes_the_host_wait_is_listed(gpu):
    there = torch.arange(4.0, device=DEVICE)
    host = torch.zeros(4)
    there.mul_(2).add_(host.to(DEVICE, non_blocking=True))
    assert gpu.waits == []
    for wait in (
        lambda: there.sum().item(),
        lambda: float(there[0]),
        lambda: bool(there.any()),
        there.tolist,
        there.nonzero,
        lambda: there[there > 1],
        lambda: there[torch.tensor([0])],
        lambda: host.to(DEVICE),
        lambda: there.to("cpu", non_blocking=True),  # the memory is pageable
        lambda: torch.equal(there, there),
    ):
        before = len(gpu.waits)
        wait()
        assert len(gpu.waits) == before + 1


def test_a_race_between_streams_is_found(gpu):
    shared = torch.zeros(4, 2, device=DEVICE)
    one, other = torch.cuda.Stream(), torch.cuda.Stream()
    for stream in (one, other):
        stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(one):
        shared[0].add_(1)
    with torch.cuda.stream(other):
        shared[1].add_(1)  # another row
        with pytest.raises(Race, match="stream 2 touches what stream 1 is writing"):
            shared[0].add_(1)
        other.wait_stream(one)
        shared[0].add_(1)
    with pytest.raises(Race):
        shared.sum()


def test_an_event_orders_streams(gpu):
    shared, event = torch.zeros(4, device=DEVICE), torch.cuda.Event()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        with pytest.raises(Race):
            shared.add_(1)
        event.record(gpu.streams[0])
        side.wait_event(event)
        shared.fill_(1)
        event.record()
    event.synchronize()
    assert shared.sum().item() == 4  # what the host starts knows what the host knows


def test_pinned_memory_must_not_be_overwritten_while_it_is_copied(gpu):
    pinned, copied = torch.zeros(4, pin_memory=True), torch.cuda.Event()
    there = pinned.to(DEVICE, non_blocking=True)
    copied.record()
    with pytest.raises(Race, match="the host touches what the main stream is reading"):
        pinned.add_(1)
    copied.synchronize()
    pinned.add_(1)
    pinned.copy_(there, non_blocking=True)
    with pytest.raises(Race, match="is writing"):
        pinned.sum()
    torch.cuda.synchronize()
    assert pinned.sum() == 0
    assert gpu.waits == []


def test_a_capture_does_nothing_and_a_replay_does_it_again(gpu):
    total, term = torch.zeros(2, device=DEVICE), torch.ones(2, device=DEVICE)
    made = []

    def work():
        made.append(term * 2)
        total.add_(made[0])

    graph = captured(work)
    assert total.tolist() == [0.0, 0.0]
    assert all(map(np.isnan, made[0].tolist()))
    for _ in range(2):
        graph.replay()
    assert total.tolist() == [4.0, 4.0]
    term.fill_(5)  # the same memory
    graph.replay()
    assert total.tolist() == [14.0, 14.0]
    assert made[0].tolist() == [10.0, 10.0]


def test_a_capture_of_a_backward_pass_is_replayed(gpu):
    weight = torch.ones(2, device=DEVICE, requires_grad=True)
    given, kept = torch.tensor([1.0, 2.0], device=DEVICE), torch.zeros(2, device=DEVICE)

    def work():
        (gradient,) = torch.autograd.grad((given * weight**2).sum(), [weight])
        kept.copy_(gradient)

    graph = captured(work)
    graph.replay()
    assert kept.tolist() == [2.0, 4.0]
    given.fill_(3)
    graph.replay()
    assert kept.tolist() == [6.0, 6.0]


def test_replays_draw_anew_from_the_device_s_generator(gpu):
    drawn = torch.zeros(8, device=DEVICE)
    before = torch.get_rng_state()
    graph = captured(lambda: drawn.copy_(torch.rand(8, device=DEVICE)))
    draws = []
    for seed in (1, 2, 1):
        torch.cuda.manual_seed(seed)
        for _ in range(2):
            graph.replay()
            draws.append(drawn.tolist())
    assert draws[:2] == draws[4:]
    assert len({tuple(d) for d in draws}) == 4
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (lambda there, host: there.sum().item(), "_local_scalar_dense"),
        (lambda there, host: there.tolist(), "pageable"),
        (lambda there, host: there.add_(host.to(DEVICE, non_blocking=True)), "pageable"),
        (lambda there, host: there[there > 0], "index"),
        (lambda there, host: torch.cuda.manual_seed(1), "generator"),
        (lambda there, host: torch.cuda.get_rng_state(), "generator"),
        (lambda there, host: torch.cuda.synchronize(), "synchronize"),
    ],
)
def test_a_capture_refuses(gpu, work, what):
    there, host = torch.zeros(3, device=DEVICE), torch.zeros(3)
    seen = []

    def refused():
        with pytest.raises(RuntimeError, match=what):
            work(there, host)
        seen.append(True)

    with pytest.raises(RuntimeError, match="previous error"):  # though the first was caught
        captured(refused)
    assert seen == [True]


def test_streams_that_work_in_a_capture_are_drawn_in_and_waited_for(gpu):
    there = torch.zeros(2, device=DEVICE)
    side, raised = torch.cuda.Stream(), []

    def forked(*, drawn_in=True, joined=True):
        current = torch.cuda.current_stream()
        if drawn_in:
            side.wait_stream(current)
        with torch.cuda.stream(side):
            try:
                there.add_(1)
            except RuntimeError as error:
                raised.append(str(error))
        if joined:
            current.wait_stream(side)

    graph = captured(forked)
    graph.replay()
    assert there.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="unjoined"):
        captured(lambda: forked(joined=False))
    torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="previous error"):
        captured(lambda: forked(drawn_in=False))
    assert "not part of it" in raised[0]


def test_torch_is_as_it_was_in_the_end(monkeypatch):
    names = ("is_available", "Stream", "graph", "manual_seed", "default_generators")
    before = [getattr(torch.cuda, name) for name in names] + [torch.Generator, torch.autocast]
    with monkeypatch.context() as patch, pretending(patch) as gpu:
        assert torch.cuda.is_available()
        torch.zeros(2, device=DEVICE).add_(1)
        done = gpu.operations
    after = [getattr(torch.cuda, name) for name in names] + [torch.Generator, torch.autocast]
    assert all(one is other for one, other in zip(before, after, strict=True))
    torch.zeros(2).add_(1)
    assert gpu.operations == done == 2
