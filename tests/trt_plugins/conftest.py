"""The kernels built once per session: for the CPU, and by nvcc where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.project import ROOT
from trt_plugins.cpu.kernel_library import CpuKernels, build

# For Orin and Hopper, both from Orin's PTX, so that the slow front end runs once: every kernel uses as many
# registers on Hopper as from Hopper's own. PTX for any other GPU that the tests may run on.
ARCHITECTURE = "arch=compute_87,code=[sm_87,sm_90,compute_87]"


@pytest.fixture(scope="session")
def compiler() -> str:
    """The C++ compiler's command."""
    command = os.environ.get("CXX", "g++")
    if shutil.which(command) is None:
        pytest.skip(f"no C++ compiler ({command}); with g++ installed the kernels are run on the CPU")
    return command


@pytest.fixture(scope="session")
def kernels(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> CpuKernels:
    library = tmp_path_factory.mktemp("kernels") / "libssm_conv_cpu.so"
    return CpuKernels(build(library, "-O1"))  # optimising more takes longer than it saves here


@dataclass(frozen=True)
class CudaBuild:
    """What trt_plugins/bench/build.sh made, and nvcc's words (`-Xptxas -v`) with the PTX it kept."""

    folder: Path
    log: str


@pytest.fixture(scope="session")
def cuda_build(tmp_path_factory: pytest.TempPathFactory) -> CudaBuild:
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        pytest.skip("no nvcc; with CUDA's compiler (in PATH or CUDACXX) the cubins are compiled and checked")
    folder = tmp_path_factory.mktemp("cuda")
    flags = ["-Xptxas", "-v", "--threads", "2", "--keep", "--keep-dir", str(folder)]
    flags.append(f"-gencode={ARCHITECTURE}")
    command = ["sh", str(ROOT / "trt_plugins" / "bench" / "build.sh"), str(folder), *flags]
    done = subprocess.run(command, env={**os.environ, "CUDACXX": nvcc}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return CudaBuild(folder, done.stderr)
