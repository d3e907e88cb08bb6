"""Which tactic takes which problem, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.trt_plugins.oracle import VARIANT_IDS, VARIANTS, Dtype, covers
from tests.trt_plugins.test_kernels import LENGTHS, layer
from trt_plugins.cpu.kernel_library import CpuKernels, Problem, Tactic

SENSIBLE = Problem(batch=1, channels=8, kept=4, length=256, taps=256, modes=32, half=True, gelu=True)
HOPPER_SHARED_BYTES = 227 * 1024


@pytest.mark.parametrize("length", [*LENGTHS, 16385, 100_000])
@pytest.mark.parametrize(("tactic", "dtype"), VARIANTS, ids=VARIANT_IDS)
@pytest.mark.parametrize("batch", [1, 16])
def test_tactics_on_orin_by_length(
    kernels: CpuKernels, tactic: Tactic, dtype: Dtype, length: int, batch: int
) -> None:
    """An Orin's shared memory is enough for every length a tactic is meant for."""
    sizes = {"length": length, "taps": length, "batch": batch, "half": dtype is np.float16}
    assert kernels.supports(tactic, replace(SENSIBLE, **sizes)) == covers(tactic, length)


@pytest.mark.parametrize("tactic", Tactic)
@pytest.mark.parametrize("half", [False, True])
def test_a_tactic_takes_its_types_alone(kernels: CpuKernels, tactic: Tactic, half: bool) -> None:
    """TF32 is not float32: float problems get it only through tactics of that name."""
    expected = (np.float16 if half else np.float32) in tactic.dtypes
    assert kernels.supports(tactic, replace(SENSIBLE, half=half), HOPPER_SHARED_BYTES) == expected


def test_s4_has_no_scan(kernels: CpuKernels) -> None:
    problem = replace(SENSIBLE, modes=0)
    assert [t for t in Tactic if kernels.supports(t, problem)] == [Tactic.FFT, Tactic.TOEPLITZ]


@pytest.mark.parametrize("tactic", Tactic)
def test_a_device_without_shared_memory_is_refused(kernels: CpuKernels, tactic: Tactic) -> None:
    problem = replace(SENSIBLE, half=np.float16 in tactic.dtypes)
    assert kernels.supports(tactic, problem)
    assert not kernels.supports(tactic, problem, 256)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": -1},
        {"channels": 0, "kept": 0},
        {"channels": 4097},
        {"kept": 0},
        {"kept": 9},
        {"length": 0},
        {"taps": 255},
        {"modes": -1},
    ],
    ids=lambda sizes: "-".join(f"{key}={value}" for key, value in sizes.items()),
)
def test_sizes_without_sense_are_refused(kernels: CpuKernels, wrong: dict[str, int]) -> None:
    assert not any(kernels.supports(tactic, replace(SENSIBLE, **wrong)) for tactic in Tactic)


@pytest.mark.parametrize("number", [0, 6, -1])
def test_a_tactic_nobody_defined_is_an_error(kernels: CpuKernels, number: int) -> None:
    assert not kernels.supports(number, SENSIBLE)
    assert kernels.workspace_bytes(number, SENSIBLE) == 0
    with pytest.raises(RuntimeError, match=f"tactic {number} failed with 1"):
        kernels.run(number, np.zeros((1, 1, 4), np.float16), layer((0,), 1, 4))


def test_too_few_taps_are_an_error_at_launch(kernels: CpuKernels) -> None:
    with pytest.raises(RuntimeError, match="failed with 1"):
        kernels.run(Tactic.FFT, np.zeros((1, 1, 9), np.float32), layer((0,), 1, 8))
