"""SSMConv's CUDA kernels beside PyTorch: one layer's convolution, and a whole S4D model.

On a GPU three things run:
    bench_ssm_conv   every tactic checked, then timed against the floor of memory and arithmetic
    one layer        ours, PyTorch's rfft/irfft with the spectrum cached, and as published (kernel and
                     spectrum rebuilt at every call); B = 1, float32 and float16
    a whole model    torch GEMMs and our kernels in a CUDA graph, beside published eager PyTorch
"eager" is a call from Python; "graph" is a CUDA graph's replay, which leaves the GPU's own time.
Without a GPU the kernels, compiled for the CPU, are checked against the float64 reference.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Report, run
from edge_s4op.reference import ssm_conv
from trt_plugins.cpu.kernel_library import CpuKernels, Tactic, build, problem_of, random_weights

BUILD = Path(__file__).resolve().parents[1] / "trt_plugins" / "bench" / "build.sh"
LENGTHS = (64, 427, 1024, 4096, 16384)


def measure(quick: bool) -> Report:
    """SSMConv's CUDA kernels: floor, PyTorch's FFT convolution and published eager beside them."""
    missing = _missing()
    if missing is not None:
        print(f"# nothing timed: {missing}; the kernels' source is checked on the CPU instead", flush=True)
        return _checked_on_cpu(quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("S4OP_BENCH_FOLDER", temporary))
        if not (folder / "libssm_conv_c.so").exists():
            subprocess.run(["sh", str(BUILD), str(folder)], check=True)
        figures = _program(folder, quick)
        return _beside_torch(folder, figures, quick)


def _missing() -> str | None:
    """Why nothing can be timed here, or None."""
    try:
        status = ctypes.CDLL("libcuda.so.1").cuInit(0)
    except OSError:
        return "no NVIDIA driver (libcuda.so.1)"
    if status != 0:
        return f"no CUDA device (cuInit: {status})"
    return None if shutil.which(os.environ.get("CUDACXX", "nvcc")) else "no nvcc in PATH or CUDACXX"


def _program(folder: Path, quick: bool) -> dict[str, Any]:
    """Runs bench_ssm_conv, its table shown; figures by tactic and sizes. RuntimeError if a check fails."""
    command = [str(folder / "bench_ssm_conv"), *(["--quick"] if quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(last, end="", flush=True)  # all but the last line, which is for us
            last = line
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: its output says why")
    found: dict[str, Any] = json.loads(last)
    for row in found.pop("timings"):
        name = row["tactic"].replace(" ", "_")
        key = f"{name}_B{row['batch']}_H{row['channels']}_kept{row['kept']}_L{row['length']}"
        found[f"us_{key}"] = row["cold_us"]
        found[f"of_floor_{key}"] = round(row["floor_us"] / row["cold_us"], 3)
    return found


def _beside_torch(folder: Path, figures: dict[str, Any], quick: bool) -> Report:
    import torch

    columns = ("case", "ours us", "cached us", "published us", "vs cached", "vs published")
    if not torch.cuda.is_available():
        print("# nothing beside it: this torch has no CUDA", flush=True)
        return Report(columns, [], figures)
    from benchmarks import ssm_conv_peers

    rows = ssm_conv_peers.compare(folder / "libssm_conv_c.so", quick)
    for row in rows:
        figures |= row.figures()
    return Report(columns, [row.cells() for row in rows], figures)


def _checked_on_cpu(quick: bool) -> Report:
    """Relative RMS errors of every tactic, compiled for the CPU, against the float64 reference."""
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        kernels = CpuKernels(build(Path(folder) / "libssm_conv_cpu.so"))
        for tactic in Tactic:
            for dtype in tactic.dtypes:
                for length in LENGTHS[: 3 if quick else None]:
                    error = _error(kernels, tactic, dtype, length)
                    if error is not None:
                        limit = tactic.error_limit(dtype)
                        rows.append((tactic.name.lower(), np.dtype(dtype).name, length, error, limit))
    wrong = sum(not float(str(row[3])) <= float(str(row[4])) for row in rows)
    if wrong:
        raise RuntimeError(f"{wrong} of {len(rows)} checks failed: {rows}")
    figures: dict[str, Any] = {"gpu": None, "checks": len(rows), "failed": wrong}
    return Report(("tactic", "type", "L", "relative RMS error", "limit"), rows, figures)


def _error(kernels: CpuKernels, tactic: Tactic, dtype: type[np.generic], length: int) -> float | None:
    """Over two batches of two kept channels; None where the tactic is not for this length."""
    rng = np.random.default_rng(length)
    weights = random_weights(rng, (0, 2), 3, length, 32)
    x = rng.normal(size=(2, 3, length)).astype(dtype)
    if not kernels.supports(tactic, problem_of(x, weights, gelu=True)):
        return None
    expected = ssm_conv(x, weights.k, weights.d, weights.channels, with_gelu=True)[:, [0, 2]]
    difference = kernels.run(tactic, x, weights, gelu=True)[:, [0, 2]] - expected
    return float(np.sqrt(np.mean(difference**2) / np.mean(expected**2)))


if __name__ == "__main__":
    run("ssm_conv", measure)
