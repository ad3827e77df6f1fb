"""bench throughput: counts against arithmetic by hand, and the figures of a row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bench.throughput.ceilings import Ceilings
from bench.throughput.counting import Line, Meter
from bench.throughput.record import (
    is_busy,
    recommended,
)
from bench.throughput.table import advice
from bench.throughput.workbench import Workbench
from tests.throughput_rows import row_by_hand

CPU = torch.device("cpu")
DENSENET_320 = (11_242_729_472, 33_567_625_216)
"""FLOPs of DenseNet121 (320 px, 1 channel, 14 outputs), forward and in training: issue 4's 11.2 and
33.6 GFLOP. torchvision's 2.83 GMAC at 224 px and 3 channels comes to 11.23."""
DENSENET_HEAD = (2 * 1024 * 14, 3 * 2 * 1024 * 14)
"""The classifier's part, which does not grow with the image."""


def moved(work) -> int:
    with Meter() as meter:
        work()
    return meter.bytes


class TestTraffic:
    x = torch.ones(2, 3)

    @pytest.mark.parametrize(
        ("work", "expected"),
        [
            (lambda x: x.relu(), 24 + 24),
            (lambda x: x + x, 24 + 24 + 24),
            (lambda x: x.clone().add_(x), (24 + 24) + (24 + 24 + 24)),
            (lambda x: torch.empty(2, 3).zero_(), 24),
            (lambda x: torch.empty(2, 3).copy_(x), 24 + 24),
            (lambda x: x.view(6)[:3].t(), 0),
            (lambda x: x.to(torch.bfloat16), 24 + 12),
            (lambda x: torch.cat([x, x]), 24 + 24 + 48),
            (lambda x: x.new_ones(1).expand(2, 3) + x, 4 + 4 + 24 + 24),
            (lambda x: torch._foreach_copy_([torch.empty(2, 3)], [x]), 24 + 24),
        ],
    )
    def test_an_operation_reads_its_inputs_and_writes_its_outputs(self, work, expected):
        assert moved(lambda: work(self.x)) == expected

    def test_batch_normalisation_reads_twice_in_training_only(self):
        x, channel = torch.randn(4, 2, 3, 3), 2 * 4
        size = x.numel() * 4
        mean, variance = torch.zeros(2), torch.ones(2)

        def work(training: bool) -> None:
            F.batch_norm(x, mean, variance, training=training)

        training, evaluation = moved(lambda: work(True)), moved(lambda: work(False))
        assert evaluation == 2 * size + 2 * channel
        # two reads, a write, the running statistics and the saved ones
        assert training == 3 * size + 2 * channel + 2 * channel

    def test_memory_is_what_lives_at_once(self):
        with Meter() as meter:
            y = torch.zeros(1000)
            z = y + 1  # 8000 bytes live
            del y
            z = z * 2  # again two at once
            z.view(10, 100).relu_()
        assert meter.peak == 8000


class TestCounts:
    def test_the_perceptron_of_mcmahan_by_hand(self):
        bench = Workbench("2nn", 28, "fp32", CPU)
        layers = [2 * 784 * 200, 2 * 200 * 200, 2 * 200 * 14]
        forward = sum(layers)
        # backward: every weight's gradient, and every layer's input's but the images'
        training = 2 * layers[0] + 3 * layers[1] + 3 * layers[2]
        assert bench.count_inference().flops == Line(0, forward)
        assert bench.count_training().flops == Line(0, training)

    def test_densenet121_at_64_pixels_is_a_25th_of_320(self):
        bench = Workbench("densenet121", 64, "bf16", CPU)
        inference, training = bench.count_inference(), bench.count_training()
        for counts, whole, head in zip(
            (inference, training), DENSENET_320, DENSENET_HEAD, strict=True
        ):
            assert (counts.flops.per_image - head) * 25 + head == pytest.approx(whole, rel=1e-6)
        # issue 4: about 1.32 GB an image at 320 px in bf16, weights' traffic apart
        assert training.bytes.per_image * 25 == pytest.approx(1.32e9, rel=0.03)
        assert training.bytes.fixed > 5 * 4 * bench.parameters  # Adam reads four, writes three

    @pytest.mark.slow
    def test_densenet121_at_320_pixels(self):
        bench = Workbench("densenet121", 320, "bf16", CPU)
        assert bench.count_inference().flops.per_image == DENSENET_320[0]
        assert bench.count_training().flops.per_image == DENSENET_320[1]


CEILINGS = Ceilings({"fp32": 1000.0}, 100.0)


class TestFigures:
    def test_medians_spread_and_share_by_hand(self):
        row = row_by_hand().record(CEILINGS)
        assert row["training_images_per_second"] == 10  # 6 images in 0.6 s
        assert row["training_spread"] == [6, 12]
        assert row["training_roof"] == 20
        assert row["training_share"] == 0.5
        assert row["training_bound"] == "memory"
        assert row["inference_images_per_second"] == 16
        assert row["inference_bytes"] == 2  # 8 bytes a batch of 4
        assert row["inference_roof"] == 50
        assert row["inference_share"] == 0.32
        assert row["federated_overhead"] == pytest.approx(0.1)
        assert row["federated_spread"] == pytest.approx([0.0, 0.3])
        assert row["federated_engine_seconds"] == 0.02

    def test_a_row_that_failed_has_a_reason_and_no_figures(self):
        row = row_by_hand()
        row.fail("out of memory: 9 GiB")
        record = row.record(CEILINGS)
        assert record["remark"] == "out of memory: 9 GiB"
        for key in ("training_images_per_second", "training_share", "federated_overhead"):
            assert record[key] is None
        assert record["inference_images_per_second"] is None

    def test_the_smallest_batch_near_the_fastest_is_recommended(self):
        def row(batch, speed, precision="bf16", step="graph"):
            return {
                "backbone": "b",
                "image_size": 64,
                "batch": batch,
                "precision": precision,
                "step": step,
                "training_images_per_second": speed,
                "one_thread_images_per_second": None,
            }

        rows = [row(8, 80.0), row(16, 98.0), row(32, 100.0), row(64, None), row(4, 99.0, "fp32")]
        rows.append(row(2, 99.5, step="eager"))
        (best,) = recommended(rows)
        assert (best["batch"], best["precision"], best["step"]) == (16, "bf16", "graph")
        assert recommended([row(64, None)]) == []

    @pytest.mark.parametrize(
        ("alone", "threads", "said"),
        [(30.0, 4, "One thread does 30.0: in a federation `bench run --workers 4`"),
         (25.0, 4, None), (None, 1, None)],
    )  # fmt: skip
    def test_workers_are_recommended_where_threads_share_badly(self, alone, threads, said):
        best = {
            "backbone": "b", "image_size": 64, "batch": 8, "precision": "bf16", "step": "eager",
            "training_images_per_second": 100.0, "one_thread_images_per_second": alone,
        }  # fmt: skip
        text = advice(best, threads)
        assert "batch 8, bf16, eager steps (100 images/s)." in text
        assert ("may come to 120" in text) == (said is not None)
        if said:
            assert said in text

    def test_one_thread_is_the_median_of_its_own_repetitions(self):
        row = row_by_hand(one_thread_seconds=[2.0, 1.5, 3.0])  # 6 images each
        assert row.record(CEILINGS)["one_thread_images_per_second"] == 3.0
        assert row_by_hand().record(CEILINGS)["one_thread_images_per_second"] is None
        row.fail("out of memory")
        assert row.record(CEILINGS)["one_thread_images_per_second"] is None

    def test_a_machine_in_use_is_called_busy(self):
        assert is_busy(2.0, 2)
        assert not is_busy(0.1, 2)
        assert not is_busy(None, 2)
