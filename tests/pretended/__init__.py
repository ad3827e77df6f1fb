"""A CUDA device that is none: its tensors lie in the CPU's memory, its rules are CUDA's.

Code for GPUs runs on it, and fails where a GPU would fail or give other numbers:

- where tensors of two devices meet in one operation, or reach numpy without a copy;
- where a stream, or the host in pinned memory, touches what another has not finished with;
- where work under capture waits for the device, reads pageable memory, seeds or reads the
  generator, or is on a stream that was not drawn in or is not waited for. What is captured is not
  done: memory that it made holds NaN until the graph is replayed, and a replay reads and writes the
  very memory that was captured;
- random numbers come from a generator of the device's own.

It counts operations, and lists what made the host wait. It says nothing of speed, of how much
memory is used or how its reuse is ordered between streams, of the numbers that a GPU's kernels
give, of ``torch.compile``, cuDNN and NCCL: that takes a GPU (``test_trainer_gpu.py``).
"""

from tests.pretended.device import DEVICE
from tests.pretended.gpu import Gpu, pretend, pretending
from tests.pretended.order import Race

__all__ = ["DEVICE", "Gpu", "Race", "pretend", "pretending"]
