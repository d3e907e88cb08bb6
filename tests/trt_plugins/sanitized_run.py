"""Runs every tactic on small problems: `python -m tests.trt_plugins.sanitized_run LIBRARY.so`.

For a library built with sanitizers, which end the process at the first access out of bounds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.trt_plugins.oracle import VARIANTS, check, covers, noise
from trt_plugins.cpu.kernel_library import CpuKernels, random_weights

LENGTHS = (1, 2, 63, 65, 150, 427, 1025, 4097, 16385)


def main(path: Path) -> int:
    """Number of problems run."""
    kernels, count, rng = CpuKernels(path), 0, np.random.default_rng(0)
    for tactic, dtype in VARIANTS:
        for length in filter(lambda length: covers(tactic, length), LENGTHS):
            for batch, modes in ((1, 5), (3, 16)) if length < 4096 else ((2, 1),):
                weights = random_weights(rng, (0, 2), 3, length, modes)
                check(kernels, tactic, noise(rng, (batch, 3, length), dtype), weights, gelu=batch == 1)
                count += 1
    return count


if __name__ == "__main__":
    print(f"{main(Path(sys.argv[1]))} problems clean")
