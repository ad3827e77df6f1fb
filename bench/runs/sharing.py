"""Whether the clients of a round are better trained by processes than by threads.

Threads share each operation out, and wait for each other at its end; where images are small that
takes much of what they gain. DenseNet121 in batches of 16: on two cores two threads are 1.1 to 1.25
times as fast as one at 32 px, 1.1 to 1.4 at 64, 1.2 to 1.3 at 128 and 1.3 to 1.7 at 224 (``bench
throughput``). Processes have a client each instead.
"""

from __future__ import annotations

from bench.federation.expectation import reporting
from bench.federation.strategies import TABLE
from bench.models.mcmahan import NETWORKS
from bench.suites.scenario import Scenario

SMALL_STEP = 2**18
"""Pixels of a batch up to which threads gain little: 16 images of 128×128."""


def workers_hint(scenario: Scenario, threads: int) -> str | None:
    """What to say to a person whose round's clients one process with so many ``threads`` trains one
    after another; None where processes would not gain much."""
    setting = TABLE[scenario.strategy.name].setting
    batch = scenario.batch_size
    if threads == 1 or setting == "pooled" or batch is None:
        return None
    clients = scenario.clients if setting == "alone" else int(reporting(scenario).mean)
    workers = min(threads, clients)
    if workers < 2 or scenario.backbone in NETWORKS or batch * scenario.image_size**2 > SMALL_STEP:
        return None
    return (
        f"{clients} clients a round and images of {scenario.image_size} px: --workers {workers} "
        "would share them out, and may be faster than threads"
    )
