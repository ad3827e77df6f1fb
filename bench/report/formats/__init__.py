"""One module a format; each turns tables into text and knows nothing of the others."""

from __future__ import annotations

SYNTHETIC = "Synthetic data: made by a generator, not taken from patients."
"""What every format says of a table whose data is the phantom's."""
