"""bench throughput: what is asked, ceilings, history, sessions, and the command itself."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.errors import ResultsError, UsageError
from bench.throughput import ceilings as ceilings_module
from bench.throughput import session as session_module
from bench.throughput.ceilings import (
    Ceilings,
    arithmetic_rate,
    ceilings,
    convolution_rate,
    copy_rate,
    matmul_rate,
)
from bench.throughput.memory import PeakMemory, available_bytes
from bench.throughput.record import (
    FOLDER,
    append,
    check_history,
    load_history,
    machine_slug,
)
from bench.throughput.request import Request, read_request
from bench.throughput.session import measure
from bench.throughput.table import throughput_table
from bench.training.device import Precision
from tests.throughput_rows import row_by_hand

CPU = torch.device("cpu")
HISTORIES = Path(__file__).parent.parent / FOLDER


@pytest.fixture
def small_ceilings(monkeypatch):
    monkeypatch.setattr(ceilings_module, "ARRAY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(ceilings_module, "SIDES", {"cpu": (64, 128)})
    monkeypatch.setattr(ceilings_module, "CONVOLUTION", (2, 8, 6))


class TestRequest:
    def test_lists_are_given_by_commas_or_by_repetition(self):
        request = read_request(image_sizes=["64", "320"], batches=["16,32", "16"], seconds=1)
        assert request.image_sizes == (64, 320)
        assert request.batches == (16, 32)

    def test_every_combination_is_measured_batches_innermost(self):
        request = read_request(backbones=["2nn,resnet10t"], batches=["8,16"], precisions=["fp32"])
        rows = [(s.backbone, s.image_size, s.batch) for s in request.settings("cpu")]
        assert rows == [
            ("2nn", 28, 8),
            ("2nn", 28, 16),
            ("resnet10t", 64, 8),
            ("resnet10t", 64, 16),
        ]

    def test_a_gpu_has_the_published_size_by_default(self):
        assert {s.image_size for s in Request().settings("cuda")} == {320}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"batches": ["0"]},
            {"batches": ["-4"]},
            {"batches": ["1.5"]},
            {"batches": ["1e3"]},
            {"batches": ["²"]},
            {"image_sizes": ["100000"]},
            {"precisions": ["fp16"]},
            {"steps": ["graphs"]},
            {"clients": -1},
            {"seconds": 0.0},
            {"seconds": math.nan},
            {"seconds": math.inf},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong):
        with pytest.raises(UsageError):
            read_request(**wrong)


class TestCeilings:
    def test_rates_are_counted_by_the_work_done(self, monkeypatch, small_ceilings):
        monkeypatch.setattr(ceilings_module, "best_seconds", lambda *_: 0.5)
        assert matmul_rate(CPU, torch.float32) == 2 * 64**3 / 0.5
        assert convolution_rate(torch.float32) == 2 * (3 * 3 * 8) * (8 * 2 * 4 * 4) / 0.5
        assert copy_rate(CPU) == 3 * 2**20 / 0.5

    @pytest.mark.parametrize(("convolution", "rate"), [(7.0, 7.0), (2.0, 3.0)])
    def test_arithmetic_is_that_of_the_faster_library(self, monkeypatch, convolution, rate):
        monkeypatch.setattr(ceilings_module, "matmul_rate", lambda *_: 3.0)
        monkeypatch.setattr(ceilings_module, "convolution_rate", lambda _: convolution)
        assert arithmetic_rate(CPU, torch.float32) == rate
        assert arithmetic_rate(torch.device("cuda"), torch.float32) == 3.0

    def test_the_higher_of_two_measurements_is_the_ceiling(self, small_ceilings):
        measured = ceilings(CPU, [Precision("fp32", ""), Precision("bf16", "")])
        assert measured.flops.keys() == {"fp32", "bf16"}
        assert measured.bytes > 0
        assert Ceilings({"fp32": 2.0}, 5.0).joined(Ceilings({"fp32": 3.0}, 4.0)) == Ceilings(
            {"fp32": 3.0}, 5.0
        )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc resets the mark")
def test_a_row_is_charged_for_its_own_peak_only():
    peak = PeakMemory(CPU)
    peak.start()
    if peak.kind != "rss-row":
        pytest.skip("this system does not let a process reset its high-water mark")
    before = peak.bytes()
    array = np.ones(2**26, dtype=np.uint8)
    del array
    assert peak.bytes() >= before + 0.9 * 2**26
    peak.start()
    assert peak.bytes() < before + 0.5 * 2**26


class TestHistory:
    def test_sessions_are_appended_and_a_torn_line_is_ended(self, tmp_path):
        path = tmp_path / "new" / "machine.jsonl"
        append(path, {"schema": 1, "n": 1})
        append(path, {"schema": 1, "n": 2})
        assert [s["n"] for s in load_history(path)] == [1, 2]
        path.write_text('{"schema": 1, "n"')
        append(path, {"schema": 1, "n": 3})
        assert path.read_text().splitlines()[1] == '{"schema":1,"n":3}'

    @pytest.mark.parametrize("line", ["{", "[]", '{"schema": 2}', '{"schema": 1, "x": NaN}'])
    def test_a_wrong_line_is_named(self, tmp_path, line):
        path = tmp_path / "h.jsonl"
        path.write_text(f'{{"schema": 1}}\n{line}\n')
        with pytest.raises(ResultsError, match=r"h\.jsonl:2"):
            load_history(path)
        with pytest.raises(ResultsError):
            check_history(path)

    def test_a_place_that_cannot_be_written_is_refused_beforehand(self, tmp_path):
        with pytest.raises(UsageError):
            check_history(tmp_path)
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError):
            check_history(tmp_path / "file" / "h.jsonl")
        check_history(tmp_path / "not" / "yet" / "h.jsonl")

    @pytest.mark.parametrize(
        ("machine", "slug"),
        [
            ({"gpu": "NVIDIA H200"}, "nvidia-h200"),
            (
                {"gpu": None, "processor": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 2},
                "intel-xeon-cpu-2-cores",
            ),
        ],
    )
    def test_a_file_is_named_by_the_machine(self, machine, slug):
        assert machine_slug(machine) == slug


def assert_session(session: dict) -> None:
    """The shape of a session, wherever it was measured."""
    assert session["schema"] == 1
    assert session["date"].endswith("+00:00")
    assert session["git"].keys() == {"commit", "dirty"}
    assert {"processor", "cores", "memory_gib", "gpu", "system"} <= session["machine"].keys()
    assert {"python", "torch", "bench"} <= session["versions"].keys()
    assert session["device"] in ("cpu", "cuda")
    assert (session["device"] == "cuda") == (session["machine"]["gpu"] is not None)
    assert session["threads"] >= 1
    assert session["settings"].keys() == {"seconds", "clients"}
    assert session["ceilings"]["bytes_per_second"] > 0
    assert session["rows"]
    for row in session["rows"]:
        assert row["precision"] in session["ceilings"]["flops_per_second"]
        for what in ("training", "inference"):
            speed, spread = row[f"{what}_images_per_second"], row[f"{what}_spread"]
            assert row[f"{what}_flops"] > 0
            assert row[f"{what}_bytes"] > 0
            assert (speed is None) == (spread is None) == (row[f"{what}_repetitions"] == 0)
            if speed is None:
                assert row["remark"]
            else:
                assert spread[0] <= speed <= spread[1]
                assert row[f"{what}_share"] == pytest.approx(speed / row[f"{what}_roof"], rel=1e-3)
        if row["training_images_per_second"] is not None:
            assert row["peak_memory_bytes"] > 0
            assert row["peak_memory_kind"] in ("rss-row", "rss-process", "cuda-allocated")
    for best in session["recommended"]:
        assert any(best.items() <= row.items() for row in session["rows"])


def test_the_committed_histories_are_sessions():
    for path in HISTORIES.glob("*.jsonl"):
        for session in load_history(path):
            assert_session(session)
            assert machine_slug(session["machine"]) == path.stem
            assert session["git"]["commit"], f"{path.name} does not say what it measured"


class TestSession:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_small_networks(self, monkeypatch, small_ceilings, threads):
        monkeypatch.setattr(session_module, "PATIENCE", 1000.0)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        seen = []
        session = measure(
            read_request(
                backbones=["2nn", "mcmahan-cnn"],
                batches=["10"],
                precisions=["auto", "fp32"],
                clients=2,
                seconds=0.02,
            ),
            "cpu",
            lambda what, done, total: seen.append((what, done, total)),
        )
        assert_session(json.loads(json.dumps(session, allow_nan=False)))
        # auto is fp32 for both, so each is measured once
        assert [row["backbone"] for row in session["rows"]] == ["2nn", "mcmahan-cnn"]
        assert all(row["federated_client_images"] % 10 == 0 for row in session["rows"])
        assert all(row["training_repetitions"] >= 3 for row in session["rows"])
        assert session["threads"] == threads
        for row in session["rows"]:
            assert (row["one_thread_images_per_second"] is not None) == (threads > 1)
        assert {what for what, _, _ in seen} == {"networks", "warming up", "measuring"}
        assert ("measuring", 10, 10) in seen

    def test_a_row_that_cannot_be_trained_says_so_and_the_others_go_on(
        self, monkeypatch, small_ceilings
    ):
        """At 32 px resnet10t ends in one pixel, so a batch of one has one value a channel."""
        request = read_request(
            backbones=["resnet10t"],
            image_sizes=["32"],
            batches=["1,4,60000"],
            precisions=["fp32"],
            clients=0,
            seconds=0.02,
        )
        monkeypatch.setattr(session_module, "available_bytes", lambda _: 2**30)
        session = measure(request, "cpu", lambda *_: None)
        assert_session(session)
        one, four, many = session["rows"]
        assert "single value" in one["remark"]
        assert many["remark"].startswith("out of memory: a step needs")
        assert four["remark"] is None
        assert four["training_images_per_second"] > 0
        assert four["federated_overhead"] is None
        assert [best["batch"] for best in session["recommended"]] == [4]
        table = throughput_table(session)
        assert "remark" in [column.key for column in table.columns]

    def test_every_step_has_its_row_and_says_what_it_came_to(self, monkeypatch, small_ceilings):
        """``auto`` is ``eager`` here, and a compiler that fails leaves its row eager."""

        def broken(_):
            raise RuntimeError("no compiler")

        monkeypatch.setattr("bench.training.step.compile_network", broken)
        request = read_request(
            backbones=["2nn"], batches=["4,8"], steps=["auto,eager,compiled"], clients=2,
            seconds=0.02,
        )  # fmt: skip
        session = measure(request, "cpu", lambda *_: None)
        assert_session(session)
        assert [(row["batch"], row["step_reason"]) for row in session["rows"]] == [
            (4, "--step auto"),
            (8, "--step auto"),
            (4, "--step compiled; not compiled: RuntimeError: no compiler"),
            (8, "--step compiled; not compiled: RuntimeError: no compiler"),
        ]
        assert {row["step"] for row in session["rows"]} == {"eager"}

    def test_a_repetition_of_inference_is_whole_batches_unless_one_is_too_much(self):
        session = session_module._Session(Request(seconds=5.0), CPU, 1, lambda *_: None)
        fast = SimpleNamespace(evaluation_batch=300, infer=lambda images: images / 1000)
        slow = SimpleNamespace(evaluation_batch=300, infer=lambda images: images / 40)
        assert session._inference_images(fast) == 900
        assert session._inference_images(slow) == 40

    def test_an_allocation_that_fails_is_a_remark(self):
        reasons = []
        with session_module._surviving(reasons.append):
            torch.empty(2**55)
        assert reasons[0].startswith("out of memory:")
        with pytest.raises(RuntimeError, match="other"), session_module._surviving(reasons.append):
            raise RuntimeError("other")

    def test_a_long_federated_round_is_left_out_with_its_reason(self, monkeypatch, tmp_path):
        row = row_by_hand(rounds=[], step_seconds=1.0)
        session = session_module._Session(Request(clients=5, seconds=1.0), CPU, 1, lambda *_: None)
        monkeypatch.setattr(session, "_once", lambda *_: None)
        session._repeat([row], tmp_path)
        assert row.remark == "no federated round: it would take 30 s; raise --seconds"
        assert not row.failed
        assert not row.rounds

    def test_a_cpu_has_memory(self):
        assert available_bytes(CPU) > 2**20


def command(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """bench throughput in this process: its exit code, stdout and stderr."""
    from bench.cli import main

    monkeypatch.setattr(sys, "argv", ["bench", "throughput", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


class TestCommand:
    def test_json_and_history_hold_the_same_session(
        self, monkeypatch, capsys, tmp_path, small_ceilings
    ):
        monkeypatch.chdir(tmp_path)
        code, out, err = command(
            monkeypatch, capsys, "--backbone=2nn", "--batch=8", "--seconds=0.02", "--device=cpu",
            "--clients=2", "--json",
        )  # fmt: skip
        assert code == 0
        assert err == ""  # progress is for terminals
        printed = json.loads(out)
        (file,) = (tmp_path / FOLDER).glob("*.jsonl")
        (kept,) = load_history(file)
        assert_session(kept)
        assert {key: printed[key] for key in kept} == kept
        assert machine_slug(kept["machine"]) == file.stem

    def test_a_table_says_what_it_was_measured_against(
        self, monkeypatch, capsys, tmp_path, small_ceilings
    ):
        monkeypatch.chdir(tmp_path)
        code, out, _ = command(
            monkeypatch, capsys, "--backbone", "2nn", "--batch", "8", "--batch", "16",
            "--seconds", "0.02", "--device", "cpu", "--clients", "0", "--no-history",
        )  # fmt: skip
        assert code == 0
        for words in ("Ceilings measured in this run", "Recommended for 2nn at 28 px", "FLOP/s"):
            assert words in out
        assert not (tmp_path / "results").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--backbone", "densenet12", "--device", "cpu"), "densenet121"),
            (("--backbone", "2nn", "--image-size", "64", "--device", "cpu"), "28×28"),
            (("--backbone", "densenet121", "--image-size", "16", "--device", "cpu"), "16×16"),
            (("--batch", "many"), "whole numbers"),
            (("--precision", "fp64"), "auto, fp32, bf16"),
            (("--step", "fused"), "auto, eager, graph, compiled"),
            (("--backbone", "2nn", "--step", "graph", "--device", "cpu"), "on a GPU only"),
            (("--device", "tpu"), "cuda:N"),
            (("--device", "cuda:99"), "no device"),
            (("--seconds", "-1"), "--seconds"),
            (("--history", "/"), "folder"),
        ],
    )
    def test_bad_input_ends_with_2_and_a_reason(
        self, monkeypatch, capsys, tmp_path, arguments, words
    ):
        monkeypatch.chdir(tmp_path)
        code, out, err = command(monkeypatch, capsys, *arguments)
        assert code == 2
        assert out == ""
        assert words in err
        assert not list(tmp_path.iterdir())
