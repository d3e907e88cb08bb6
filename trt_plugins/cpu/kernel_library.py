"""The kernels compiled for the CPU, called from Python: what tests and benchmarks drive without a GPU."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_s4op.reference import s4d_discrete, s4d_kernel

__all__ = [
    "ORIN_SHARED_BYTES",
    "CpuKernels",
    "Problem",
    "Tactic",
    "Weights",
    "build",
    "problem_of",
    "random_weights",
    "weights_of",
]

Array = npt.NDArray[Any]

HERE = Path(__file__).resolve().parent
ORIN_SHARED_BYTES = 163 * 1024  # CUDA programming guide, compute capability 8.7: shared memory a block


class Tactic(IntEnum):
    """The algorithms of kernels/ssm_conv.h, by the numbers that engines store."""

    FFT = 1
    SCAN = 2
    TOEPLITZ = 3
    SCAN_TF32 = 4
    TOEPLITZ_TF32 = 5

    @property
    def dtypes(self) -> tuple[type[np.generic], ...]:
        """Types of x and y that the tactic takes."""
        if self is Tactic.FFT:
            return (np.float32, np.float16)
        return (np.float16,) if self in (Tactic.SCAN, Tactic.TOEPLITZ) else (np.float32,)

    def error_limit(self, dtype: type[np.generic]) -> float:
        """Relative RMS error allowed against float64 fed with the same rounded inputs."""
        if self is Tactic.FFT:
            return 5e-7 if dtype is np.float32 else 5e-4
        return 1e-3


@dataclass(frozen=True)
class Weights:
    """One layer's operators; every field but `channels` and `num_channels` is float32."""

    channels: tuple[int, ...]  # kept, ascending
    num_channels: int
    k: Array  # (Hk, Lk)
    d: Array  # (Hk,)
    poles: Array | None  # (Hk, M, 2), or None for S4
    residues: Array | None  # (Hk, M, 2), or None for S4


def random_weights(
    rng: np.random.Generator, channels: Sequence[int], num_channels: int, length: int, modes: int
) -> Weights:
    """Operators as S4D's initialisation makes them: A = -1/2 + i pi n, dt log-uniform in [1e-3, 1e-1].

    k is what the float32 poles and residues give, so that both forms describe one kernel.
    """
    kept = len(channels)
    log_dt = rng.uniform(np.log(1e-3), np.log(1e-1), kept)
    a_imag = np.pi * np.tile(np.arange(modes), (kept, 1))
    c = rng.normal(size=(2, kept, modes)) / np.sqrt(2)
    poles, residues = s4d_discrete(log_dt, np.full((kept, modes), np.log(0.5)), a_imag, c[0] + 1j * c[1])
    wrapped = np.remainder(poles.imag + np.pi, 2 * np.pi) - np.pi  # as edge_s4op/op.py stores it
    pole_pairs = np.stack([poles.real, wrapped], -1).astype(np.float32)
    residue_pairs = np.stack([residues.real, residues.imag], -1).astype(np.float32)
    return weights_of(rng, channels, num_channels, pole_pairs, residue_pairs, length)


def weights_of(
    rng: np.random.Generator,
    channels: Sequence[int],
    num_channels: int,
    poles: Array,
    residues: Array,
    length: int,
) -> Weights:
    """Operators with these float32 poles and residues (Hk, M, 2), their kernel, and a random d."""
    k = s4d_kernel(_complex(poles), _complex(residues), length).astype(np.float32)
    d = rng.normal(size=len(channels)).astype(np.float32)
    return Weights(tuple(channels), num_channels, k, d, poles, residues)


@dataclass(frozen=True)
class Problem:
    """The sizes a tactic is chosen by: kernels/ssm_conv.h's Problem."""

    batch: int
    channels: int
    kept: int
    length: int
    taps: int
    modes: int
    half: bool
    gelu: bool

    def packed(self) -> Any:
        sizes = (self.batch, self.channels, self.kept, self.length, self.taps, self.modes)
        return (ctypes.c_int32 * 8)(*sizes, int(self.half), int(self.gelu))


def problem_of(x: Array, weights: Weights, *, gelu: bool) -> Problem:
    """The sizes of x (B, H, L) under `weights`."""
    modes = 0 if weights.poles is None else weights.poles.shape[1]
    batch, channels, length = x.shape
    kept, taps = weights.k.shape
    return Problem(batch, channels, kept, length, taps, modes, x.dtype == np.float16, gelu)


def build(output: Path, *flags: str) -> Path:
    """Compile the kernels into the shared library `output`; RuntimeError with the compiler's words."""
    command = ["sh", str(HERE / "build.sh"), str(output), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the kernels do not compile for the CPU: {' '.join(command)}\n{done.stderr}")
    return output


class CpuKernels:
    """A library made by `build`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._library.s4op_supports.argtypes = (ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)
        self._library.s4op_workspace_bytes.argtypes = (ctypes.c_int32, ctypes.c_void_p)
        self._library.s4op_workspace_bytes.restype = ctypes.c_int64
        self._library.s4op_run.argtypes = (ctypes.c_int32, *[ctypes.c_void_p] * 8, ctypes.c_int32)

    def supports(self, tactic: int, problem: Problem, shared_bytes: int = ORIN_SHARED_BYTES) -> bool:
        """Whether `tactic` computes `problem` with at most `shared_bytes` of shared memory a block."""
        return bool(self._library.s4op_supports(tactic, problem.packed(), shared_bytes))

    def workspace_bytes(self, tactic: int, problem: Problem) -> int:
        """Device memory that `tactic` needs beside its inputs and output."""
        return int(self._library.s4op_workspace_bytes(tactic, problem.packed()))

    def run(
        self, tactic: int, x: Array, weights: Weights, *, gelu: bool = False, backwards: bool = False
    ) -> Array:
        """y (B, H, L) for x (B, H, L), float32 or float16; `backwards` turns blocks and threads around.

        Every array lies between NaNs, so a read outside shows. Raises RuntimeError when the launch
        fails or when something outside y or the workspace was written.
        """
        problem = problem_of(x, weights, gelu=gelu)
        guarded = [_guarded(a) for a in (x, weights.k, weights.d, weights.poles, weights.residues)]
        y, whole = _guarded_output(x)
        channels = np.array(weights.channels, np.int32)
        pointers = [None if a is None else a.ctypes.data for a in guarded]
        status = self._library.s4op_run(
            tactic, problem.packed(), channels.ctypes.data, *pointers, y.ctypes.data, int(backwards)
        )
        if status != 0:
            raise RuntimeError(f"tactic {tactic} failed with {status} on {problem}")
        if not (np.isnan(whole[:GUARD]).all() and np.isnan(whole[-GUARD:]).all()):
            raise RuntimeError(f"tactic {tactic} wrote outside its output on {problem}")
        return y


GUARD = 256  # elements before and behind an array; a multiple of any vector load


def _guarded(array: Array | None) -> Array | None:
    if array is None:
        return None
    view, _ = _guarded_output(array)
    view[...] = array
    return view


def _guarded_output(like: Array) -> tuple[Array, Array]:
    """An array of NaN of `like`'s shape and type, and the buffer it lies in."""
    whole = np.full(like.size + 2 * GUARD, np.nan, like.dtype)
    return whole[GUARD:-GUARD].reshape(like.shape), whole


def _complex(pairs: Array) -> Array:
    wide = pairs.astype(np.float64)
    return np.asarray(wide[..., 0] + 1j * wide[..., 1])
