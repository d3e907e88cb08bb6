"""Every tactic equals the float64 reference, at every length, on the kernels' own source run on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.trt_plugins.oracle import VARIANT_IDS, VARIANTS, Dtype, check, compare, covers, noise
from trt_plugins.cpu.kernel_library import CpuKernels, Tactic, Weights, random_weights, weights_of

LENGTHS = (1, 2, 63, 64, 150, 256, 427, 1024, 1460, 4096, 16384)
# (B, H, kept); the second list where a case takes long.
SHAPES = [(1, 1, (0,)), (1, 5, (0, 2, 3)), (3, 4, (1, 3)), (2, 2, (0, 1))]
LONG_SHAPES = [(1, 2, (1,)), (2, 2, (0, 1))]
CASES = [
    pytest.param(tactic, dtype, length, shape, id=f"{name}-L{length}-B{shape[0]}-H{shape[1]}")
    for (tactic, dtype), name in zip(VARIANTS, VARIANT_IDS, strict=True)
    for length in LENGTHS
    if covers(tactic, length)
    for shape in (SHAPES if length < 4096 else LONG_SHAPES)
]


def only(*tactics: Tactic) -> pytest.MarkDecorator:
    """The test for every type of these tactics."""
    chosen = [(v, name) for v, name in zip(VARIANTS, VARIANT_IDS, strict=True) if v[0] in tactics]
    variants, names = zip(*chosen, strict=True)
    return pytest.mark.parametrize(("tactic", "dtype"), variants, ids=names)


over_variants = only(*Tactic)


def layer(channels: tuple[int, ...], num_channels: int, length: int, modes: int = 32) -> Weights:
    seed = [num_channels, length, modes, *channels]
    return random_weights(np.random.default_rng(seed), channels, num_channels, length, modes)


@pytest.mark.parametrize("gelu", [False, True], ids=["linear", "gelu"])
@pytest.mark.parametrize(("tactic", "dtype", "length", "shape"), CASES)
def test_every_tactic_equals_the_reference(
    kernels: CpuKernels,
    tactic: Tactic,
    dtype: Dtype,
    length: int,
    shape: tuple[int, int, tuple[int, ...]],
    gelu: bool,
) -> None:
    batch, num_channels, channels = shape
    x = noise(np.random.default_rng(length), (batch, num_channels, length), dtype)
    check(kernels, tactic, x, layer(channels, num_channels, length), gelu=gelu)


@pytest.mark.parametrize("length", [16385, 40000])
@only(*(tactic for tactic in Tactic if covers(tactic, 16385)))
def test_sequences_longer_than_one_transform(
    kernels: CpuKernels, tactic: Tactic, dtype: Dtype, length: int
) -> None:
    x = noise(np.random.default_rng(length), (2, 2, length), dtype)
    check(kernels, tactic, x, layer((0,), 2, length, modes=4), gelu=True)


@pytest.mark.parametrize("modes", [1, 3, 8, 17, 64])
@only(Tactic.SCAN, Tactic.SCAN_TF32)
def test_any_number_of_modes(kernels: CpuKernels, tactic: Tactic, dtype: Dtype, modes: int) -> None:
    x = noise(np.random.default_rng(modes), (2, 3, 427), dtype)
    check(kernels, tactic, x, layer((0, 2), 3, 427, modes), gelu=False)


@over_variants
@pytest.mark.parametrize("scale", [1e-3, 1e2])
def test_small_and_large_kernels_are_as_exact(
    kernels: CpuKernels, tactic: Tactic, dtype: Dtype, scale: float
) -> None:
    """Trained operators differ by orders of magnitude; half has none to spare."""
    made = layer((0, 1), 2, 256)
    assert made.residues is not None
    size = np.float32(scale)
    weights = replace(made, k=made.k * size, residues=made.residues * size, d=made.d * np.float32(0))
    x = noise(np.random.default_rng(7), (1, 2, 256), dtype)
    x *= dtype(min(100, 1 / scale))  # the output itself stays within half's normal range
    check(kernels, tactic, x, weights, gelu=False)


@over_variants
@pytest.mark.parametrize("length", [150, 2900])
def test_operators_far_from_their_initialisation(
    kernels: CpuKernels, tactic: Tactic, dtype: Dtype, length: int
) -> None:
    """Modes that hardly decay beside ones gone in a sample, any phase, residues a thousandfold apart."""
    if not covers(tactic, length):
        length = 500
    rng = np.random.default_rng(length)
    damping = -np.exp(rng.uniform(np.log(1e-6), np.log(3), (2, 12)))
    poles = np.stack([damping, rng.uniform(-np.pi, np.pi, (2, 12))], -1).astype(np.float32)
    residues = rng.normal(size=(2, 12, 2)) * np.exp(rng.uniform(-7, 0, (2, 12, 1)))
    weights = weights_of(rng, (0, 1), 2, poles, residues.astype(np.float32), length)
    check(kernels, tactic, noise(rng, (2, 2, length), dtype), weights, gelu=False)


@over_variants
def test_taps_behind_the_sequence_are_not_used(kernels: CpuKernels, tactic: Tactic, dtype: Dtype) -> None:
    made = layer((0, 2), 3, 150)
    tail = np.full((2, 13), np.nan, np.float32)
    x = noise(np.random.default_rng(1), (2, 3, 150), dtype)
    check(kernels, tactic, x, replace(made, k=np.concatenate([made.k, tail], 1)), gelu=False)


@over_variants
def test_rows_do_not_touch_each_other(kernels: CpuKernels, tactic: Tactic, dtype: Dtype) -> None:
    """A NaN in one batch and channel stays there, kept or pruned."""
    weights = layer((0, 1), 3, 150)
    x = noise(np.random.default_rng(2), (5, 3, 150), dtype)
    clean = kernels.run(tactic, x, weights)
    x[1, 0, 3] = x[3, 2, 149] = np.nan
    y = kernels.run(tactic, x, weights)
    touched = np.isnan(y).any(-1)  # (B, H)
    assert {tuple(map(int, row)) for row in np.argwhere(touched)} == {(1, 0), (3, 2)}
    assert np.array_equal(y[~touched], clean[~touched])


@over_variants
def test_the_widest_layer(kernels: CpuKernels, tactic: Tactic, dtype: Dtype) -> None:
    """Kept channels on both sides of every boundary of the bit set, up to the last one."""
    length = 65 if covers(tactic, 65) else 2
    weights = layer((0, 31, 32, 2047, 2048, 4095), 4096, length, modes=2)
    check(kernels, tactic, noise(np.random.default_rng(3), (1, 4096, length), dtype), weights, gelu=False)


@over_variants
def test_more_batches_than_a_grid_is_high(kernels: CpuKernels, tactic: Tactic, dtype: Dtype) -> None:
    """CUDA's grids end at 65535; the scan, slow on a CPU, is sent beyond its own number of blocks."""
    scan = tactic in (Tactic.SCAN, Tactic.SCAN_TF32)
    length, batch = (65, 1500) if scan else (2, 65537)
    weights = layer((0,), 1, length, modes=1)
    x = noise(np.random.default_rng(4), (batch, 1, length), dtype)
    compare(kernels.run(tactic, x, weights), x, weights, tactic, gelu=False)


@over_variants
def test_no_batch_is_no_work(kernels: CpuKernels, tactic: Tactic, dtype: Dtype) -> None:
    assert kernels.run(tactic, np.empty((0, 2, 100), dtype), layer((1,), 2, 100)).shape == (0, 2, 100)


def test_operators_without_poles_go_through_the_fft(kernels: CpuKernels) -> None:
    """S4 has no poles and residues: k alone."""
    weights = replace(layer((0, 2), 3, 200), poles=None, residues=None)
    check(kernels, Tactic.FFT, noise(np.random.default_rng(5), (2, 3, 200), np.float32), weights, gelu=True)
