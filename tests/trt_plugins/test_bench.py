"""The benchmark program: its own reference finds what is wrong, and without a GPU it says so."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.trt_plugins.conftest import CudaBuild
from tests.trt_plugins.test_kernel_choice import SENSIBLE
from trt_plugins.cpu.kernel_library import ORIN_SHARED_BYTES, CpuKernels, Tactic

BENCH = ROOT / "trt_plugins" / "bench"


def compiled(compiler: str, kernels: CpuKernels, source: Path, program: Path) -> Path:
    """The program's checks for the CPU, linked with the kernels of this session."""
    command = [compiler, "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-I", str(BENCH)]
    command += ["-o", str(program), "-x", "c++", str(source), "-x", "none", str(kernels.path)]
    subprocess.run([*command, f"-Wl,-rpath,{kernels.path.parent}"], check=True)
    return program


@pytest.fixture(scope="module")
def program(compiler: str, kernels: CpuKernels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program's checks for the CPU, as they stand."""
    return compiled(
        compiler, kernels, BENCH / "bench_ssm_conv.cu", tmp_path_factory.mktemp("bench") / "bench"
    )


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_its_checks_pass_on_the_cpu(program: Path) -> None:
    done = run(program, "--check", "--quick")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["gpu"], found["failed"]) == (None, 0)
    assert found["checks"] >= 100


def test_its_checks_fail_when_values_differ(compiler: str, kernels: CpuKernels, tmp_path: Path) -> None:
    """The program's own idea of GELU is changed by a hundredth: every variant with GELU is wrong."""
    for path in BENCH.glob("*.[ch]*"):
        text = (
            path.read_text().replace("std::erf(x *", "std::erf(1.01 * x *").replace("../kernels", "kernels")
        )
        (tmp_path / path.name).write_text(text)
    (tmp_path / "kernels").symlink_to(BENCH.parent / "kernels")
    program = compiled(compiler, kernels, tmp_path / "bench_ssm_conv.cu", tmp_path / "bench")
    done = run(program, "--check", "--quick")
    assert done.returncode == 1
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == done.stdout.count("WRONG") == found["checks"] / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fast"], "unknown argument --fast"),
        (["--sizes", "1,4,5,100"], "sizes are B,H,Hk,L or B,H,Hk,L,M, found 1,4,5,100"),
        (["--time"], "compiled without CUDA: --check only"),
    ],
)
def test_wrong_arguments_are_named(program: Path, arguments: list[str], message: str) -> None:
    done = run(program, *arguments)
    assert (done.returncode, done.stderr) == (2, f"bench_ssm_conv: {message}\n")


def test_its_checks_pass_on_a_gpu(cuda_build: CudaBuild) -> None:
    done = run(cuda_build.folder / "bench_ssm_conv", "--check", "--quick")
    if done.returncode == 2:
        assert "no CUDA device" in done.stderr
        pytest.skip(f"{done.stderr.strip()}; on a GPU trt_plugins/bench/run_on_gpu.sh runs everything")
    assert done.returncode == 0, done.stdout


def test_the_c_library_chooses_as_the_kernels_do(cuda_build: CudaBuild, kernels: CpuKernels) -> None:
    """It loads without a GPU; nvcc's and g++'s builds agree on what is supported and on workspaces."""
    library = ctypes.CDLL(str(cuda_build.folder / "libssm_conv_c.so"))
    library.s4op_supports.argtypes = (ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)
    library.s4op_workspace_bytes.argtypes = (ctypes.c_int32, ctypes.c_void_p)
    library.s4op_workspace_bytes.restype = ctypes.c_int64
    library.s4op_shared_bytes.restype = ctypes.c_int64
    shared_bytes = library.s4op_shared_bytes()
    assert shared_bytes < 0 or shared_bytes >= 48 * 1024, "neither an error nor what every device has"
    for tactic in Tactic:
        packed = SENSIBLE.packed()
        supported = bool(library.s4op_supports(tactic, packed, ORIN_SHARED_BYTES))
        assert supported == kernels.supports(tactic, SENSIBLE)
        assert library.s4op_workspace_bytes(tactic, packed) == kernels.workspace_bytes(tactic, SENSIBLE)
