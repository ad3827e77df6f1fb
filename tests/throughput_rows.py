"""A row of bench throughput whose figures are worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

from bench.throughput.counting import Counts, Line
from bench.throughput.request import Setting
from bench.throughput.row import Network, Row
from bench.throughput.workbench import RoundTimes
from bench.training.device import Precision
from bench.training.execution import EAGER


def row_by_hand(**changes) -> Row:
    """Ten FLOPs and five bytes an image: the roof is min(1000 / 10, 100 / 5) = 20 images/s."""
    training = Counts(Line(0, 10), Line(0, 5), Line(0, 1))
    inference = Counts(Line(0, 4), Line(8, 0), Line(0, 1))
    bench = SimpleNamespace(
        precision=Precision("fp32", "test"), execution=EAGER, parameters=7, evaluation_batch=4
    )
    network = Network(
        bench=bench,
        training=training,
        inference=inference,
        inference_images=8,
        inference_seconds=[0.5, 0.4, 1.0],
    )
    values = {
        "setting": Setting(backbone="toy", image_size=8, batch=2, precision="fp32"),
        "network": network,
        "steps": 3,
        "training_seconds": [1.0, 0.5, 0.6],
        "peak_memory": 2**30,
        "peak_memory_kind": "rss-row",
        "rounds": [RoundTimes(1.1, 1.0, 0.01), RoundTimes(1.3, 1.0, 0.03), RoundTimes(2, 2, 0.02)],
        "client_images": 6,
    }
    return Row(**(values | changes))
