"""Two workers share two cores: one thread each, set before anything imports torch or numpy."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
