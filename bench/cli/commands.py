"""Importing this registers every command."""

import bench.cli.partition  # noqa: F401
