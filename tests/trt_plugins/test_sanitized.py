"""The kernels under AddressSanitizer and UBSan: no access out of bounds, no undefined arithmetic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT
from trt_plugins.cpu.kernel_library import build

# -O0: with the sanitizers' checks in, the optimiser takes longer than it saves (fft.cu: 54 s, not 8 s).
FLAGS = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def runtime(name: str) -> Path:
    """The compiler's sanitizer runtime, which must be loaded before everything else."""
    compiler = os.environ.get("CXX", "g++")
    try:
        found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"no C++ compiler ({compiler}); with g++ installed the kernels run under sanitizers")
    path = Path(found.stdout.strip())
    if not path.is_absolute():
        pytest.skip(f"{compiler} has no {name}; with it installed the kernels run under sanitizers")
    return path.resolve()


def sanitized(library: Path, module: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{runtime('libasan.so')}:{runtime('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter frees nothing at its end
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", module, str(library)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_all_tactics_are_clean(tmp_path: Path) -> None:
    runtime("libasan.so")
    done = sanitized(build(tmp_path / "libsanitized.so", *FLAGS), "tests.trt_plugins.sanitized_run")
    assert done.returncode == 0, done.stderr[:4000]
    assert "problems clean" in done.stdout
