"""Importing this registers every command."""

import bench.cli.baselines
import bench.cli.check
import bench.cli.compare
import bench.cli.data
import bench.cli.data_cache
import bench.cli.data_phantom
import bench.cli.partition
import bench.cli.plan
import bench.cli.plot
import bench.cli.report
import bench.cli.run
import bench.cli.schema
import bench.cli.score
import bench.cli.throughput
import bench.cli.verify  # noqa: F401
