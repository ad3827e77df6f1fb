"""The bar: a table of CheXpert's size is divided in under 5 s and 1 GB, whatever the rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.federation.partitions import describe, partition
from tests.partition_pools import CHEXPERT_RULES, chexpert_shaped

MOST_SECONDS = 5.0
MOST_BYTES = 10**9

rules = pytest.mark.parametrize("rule", CHEXPERT_RULES, ids=str)


@pytest.fixture(scope="module")
def table():
    return chexpert_shaped()


@rules
@pytest.mark.parametrize("clients", [5, 1000])
def test_partition(benchmark, table, rule, clients):
    shared = benchmark.pedantic(
        partition, (rule, table), {"clients": clients, "seed": 0}, rounds=3, iterations=1
    )
    assert sum(shared.sizes) == 223_414


def test_describe(benchmark, table):
    shared = partition(CHEXPERT_RULES[0], table, clients=100, seed=0)
    report = benchmark.pedantic(describe, (shared, table), rounds=3, iterations=1)
    assert report.units.sum() == 64_540


def test_time_and_memory_of_a_process_of_its_own():
    """All rules one after the other, table and interpreter included in the peak memory."""
    script = """
import time
from bench.federation.partitions import describe, partition
from tests.partition_pools import CHEXPERT_RULES, chexpert_shaped
table = chexpert_shaped()
for rule in CHEXPERT_RULES:
    start = time.perf_counter()
    describe(partition(rule, table, clients=100, seed=0), table)
    print(time.perf_counter() - start)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    *seconds, peak = map(float, run.stdout.split())
    assert len(seconds) == len(CHEXPERT_RULES)
    assert max(seconds) < MOST_SECONDS
    assert peak < MOST_BYTES
