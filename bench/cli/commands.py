"""Importing this registers every command."""

import bench.cli.partition
import bench.cli.schema
import bench.cli.score  # noqa: F401
