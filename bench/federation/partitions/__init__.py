"""How patients are divided among the clients of a federation; no patient in two clients, ever."""

from bench.federation.partitions.allocation import RULES, Partition, fingerprint, partition
from bench.federation.partitions.describe import PartitionReport, describe
from bench.federation.partitions.units import Units, images, patients

__all__ = [
    "RULES",
    "Partition",
    "PartitionReport",
    "Units",
    "describe",
    "fingerprint",
    "images",
    "partition",
    "patients",
]
