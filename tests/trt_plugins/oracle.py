"""What a tactic's output is held against: the float64 reference on the same rounded inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_s4op.reference import ssm_conv
from trt_plugins.cpu.kernel_library import CpuKernels, Tactic, Weights, problem_of

Array = npt.NDArray[Any]
Dtype = type[np.generic]

# Every tactic with every type it takes.
VARIANTS = [(tactic, dtype) for tactic in Tactic for dtype in tactic.dtypes]
VARIANT_IDS = [f"{tactic.name.lower()}-{np.dtype(dtype).name}" for tactic, dtype in VARIANTS]


def covers(tactic: Tactic, length: int) -> bool:
    """Whether the tactic is meant for sequences of this length (S4D operators)."""
    if tactic in (Tactic.TOEPLITZ, Tactic.TOEPLITZ_TF32):
        return length <= 512
    return tactic is Tactic.FFT or length > 64


def noise(rng: np.random.Generator, shape: tuple[int, int, int], dtype: Dtype) -> Array:
    return np.asarray(rng.normal(size=shape).astype(dtype))


def check(kernels: CpuKernels, tactic: Tactic, x: Array, weights: Weights, *, gelu: bool) -> None:
    """Run forwards and backwards: equal bits, and errors within the tactic's limit."""
    assert kernels.supports(tactic, problem_of(x, weights, gelu=gelu)), "the tactic declines the problem"
    y = kernels.run(tactic, x, weights, gelu=gelu)
    backwards = kernels.run(tactic, x, weights, gelu=gelu, backwards=True)
    assert y.tobytes() == backwards.tobytes(), "the result depends on the order of threads"
    compare(y, x, weights, tactic, gelu=gelu)


def compare(y: Array, x: Array, weights: Weights, tactic: Tactic, *, gelu: bool) -> None:
    """Kept channels within the tactic's limit, as a whole and row by row; pruned ones are copies."""
    expected = ssm_conv(x, weights.k[:, : x.shape[-1]], weights.d, weights.channels, with_gelu=gelu)
    kept = list(weights.channels)
    pruned = [c for c in range(weights.num_channels) if c not in set(kept)]
    limit = tactic.error_limit(x.dtype.type)
    error, scale = y[:, kept].astype(np.float64) - expected[:, kept], rms(expected[:, kept])
    assert rms(error) <= limit * scale, f"relative RMS error {rms(error) / scale:.2e}, limit {limit:.0e}"
    worst = max(rms(row) for row in error.reshape(-1, x.shape[-1])) / scale
    assert worst <= 10 * limit, f"one row is off: {worst:.2e} of the output's RMS"
    if not gelu:
        assert y[:, pruned].tobytes() == x[:, pruned].tobytes(), "a pruned channel is not a copy"
    elif pruned:
        passed = Tactic.FFT.error_limit(x.dtype.type) * rms(expected[:, pruned])
        assert rms(y[:, pruned] - expected[:, pruned]) <= passed, "gelu of a pruned channel is off"


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
