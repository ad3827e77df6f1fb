"""The phantom: synthetic chest radiographs in a CheXpert tree, whose truth is known."""

from bench.data.phantom.embedded import EMBEDDED, embedded_phantom, embedded_phantom_folder
from bench.data.phantom.writer import MARKER, Parameters, read_marker, write_phantom

__all__ = [
    "EMBEDDED",
    "MARKER",
    "Parameters",
    "embedded_phantom",
    "embedded_phantom_folder",
    "read_marker",
    "write_phantom",
]
