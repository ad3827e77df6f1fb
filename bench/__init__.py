"""A benchmark for chest X-ray classification, held against published results."""

__version__ = "0.1.0"
