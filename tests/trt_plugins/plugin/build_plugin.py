"""Builds the plugin and the harness that calls it: for the CPU with g++, for GPUs with CMake and nvcc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = [
    "PLUGIN_SOURCES",
    "ROOTS",
    "TRT_PLUGINS",
    "build_cpu_plugin",
    "build_cuda_plugin",
    "build_harness",
    "build_registry",
    "configure",
    "cuda_root",
    "headers_major",
    "kernels_for_cpu",
    "need_nvcc",
    "run",
]

HERE = Path(__file__).resolve().parent
TRT_PLUGINS = HERE.parents[2] / "trt_plugins"
PLUGIN_SOURCES = sorted((TRT_PLUGINS / "plugin").glob("*.cpp"))
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-sanitize=vptr", "-g1")
WARNINGS = ("-Wall", "-Wextra", "-Werror")

# How the real library is built in tests: for Orin alone, to save time.
ARCHITECTURE = "87-real"


def _roots() -> list[Path]:
    named = [Path(part) for part in os.environ.get("TENSORRT_ROOT", "").split(":") if part]
    return named or [path for path in (Path("/usr"), Path("/usr/local")) if _include(path) is not None]


def _include(root: Path) -> Path | None:
    for place in ("include", "include/x86_64-linux-gnu", "include/aarch64-linux-gnu"):
        if (root / place / "NvInferRuntime.h").is_file():
            return root / place
    return None


ROOTS = _roots()


def cuda_root() -> Path:
    """The CUDA toolkit's folder; skips the test where there is none."""
    nvcc = shutil.which("nvcc")
    places = [os.environ.get("CUDA_HOME"), "/usr/local/cuda", nvcc and Path(nvcc).resolve().parents[1]]
    for place in places:
        if place and (Path(place) / "include/cuda_runtime_api.h").is_file():
            return Path(place)
    pytest.skip("no CUDA headers, which TensorRT's include; with the CUDA toolkit installed this runs")


def need_nvcc() -> None:
    """Skips the test without nvcc or CMake."""
    for program in ("nvcc", "cmake"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}; with it on PATH the plugin is built for GPUs")


def run(*command: object) -> str:
    """Run a compiler; the test fails with its words if it does."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _compile(output: Path, *words: object) -> Path:
    run(os.environ.get("CXX", "g++"), "-std=c++17", "-O1", "-fPIC", *WARNINGS, "-o", output, *words)
    return output


def _headers(root: Path) -> tuple[str, ...]:
    include = _include(root)
    assert include is not None, f"TENSORRT_ROOT names {root}, which has no include/NvInferRuntime.h"
    return ("-isystem", str(include), "-isystem", str(cuda_root() / "include"))


def kernels_for_cpu(folder: Path) -> list[Path]:
    """The kernels as objects; they do not depend on TensorRT, so every version shares them.

    Without the sanitizers, which take minutes to compile them: test_sanitized.py has that in small.
    """
    sources = sorted((TRT_PLUGINS / "kernels").glob("*.cu"))
    return [_compile(folder / f"{source.stem}.o", "-c", "-x", "c++", source) for source in sources]


def build_cpu_plugin(folder: Path, root: Path, kernels: Sequence[Path]) -> Path:
    """The plugin with kernels that run on the CPU, under the address and undefined-behaviour sanitizers."""
    sources = [*PLUGIN_SOURCES, TRT_PLUGINS / "registration/tensorrt.cpp"]
    flags = (*SANITIZE, "-shared", "-fvisibility=hidden", '-DS4OP_KERNEL_BUILD="cpu"', *_headers(root))
    return _compile(folder / "libs4op_ssm_conv.so", *flags, *sources, *kernels, "-ldl")


def build_harness(folder: Path, root: Path) -> Path:
    """The program that calls a plugin as TensorRT does."""
    cuda = cuda_root()
    libraries = [path for path in cuda.glob("lib*/libcudart_static.a")] + [
        path for path in cuda.glob("targets/*/lib/libcudart_static.a")
    ]
    if not libraries:
        pytest.skip(f"no libcudart_static.a in {cuda}; a full CUDA toolkit has it")
    source = HERE / "harness.cpp"
    return _compile(
        folder / "harness", *SANITIZE, *_headers(root), source, libraries[0], "-ldl", "-lrt", "-lpthread"
    )


def configure(folder: Path, root: Path | str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run CMake on the plugin."""
    words = ["cmake", "-S", str(TRT_PLUGINS), "-B", str(folder), f"-DTENSORRT_ROOT={root}"]
    words += [f"-DCUDA_ARCHITECTURES={ARCHITECTURE}", "-DS4OP_WERROR=ON", *flags]
    return subprocess.run(words, capture_output=True, text=True)


def build_cuda_plugin(build: Path, output: Path, root: Path) -> Path:
    """The library as it is shipped, installed into `output` beside the one for ONNX Runtime.

    `build` is used again for every version of TensorRT: the kernels are compiled once.
    """
    done = configure(build, root)
    assert done.returncode == 0, done.stdout + done.stderr
    run("cmake", "--build", build, "--parallel", "2")
    run("cmake", "--install", build, "--prefix", output)
    return output / "lib/libs4op_ssm_conv.so"


def headers_major(root: Path) -> int:
    """The major version of TensorRT's headers."""
    text = (Path(_headers(root)[1]) / "NvInferVersion.h").read_text()
    found = re.search(r"define (?:NV_TENSORRT_MAJOR|TRT_MAJOR_ENTERPRISE) +(\d+)", text)
    assert found is not None, f"no version in {root}"
    return int(found[1])


def build_registry(output: Path, root: Path, major: int | None = None) -> Path:
    """A libnvinfer of nothing but a registry: registry.cpp."""
    version = f"-DVERSION={(major or headers_major(root)) * 10000 + 300}"
    flags = ("-shared", "-Wno-deprecated-declarations", version, f"-Wl,-soname,{output.name}")
    return _compile(output, *flags, *_headers(root), HERE / "registry.cpp")
