"""The plugin built against every TensorRT whose headers are at hand, once per session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trt_plugins.plugin.build_plugin import (
    ROOTS,
    build_cpu_plugin,
    build_cuda_plugin,
    build_harness,
    kernels_for_cpu,
    need_nvcc,
)
from tests.trt_plugins.plugin.harness import Harness


@pytest.fixture(
    scope="session", params=ROOTS or [None], ids=lambda root: "none" if root is None else root.name
)
def tensorrt_root(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip(
            "NO TENSORRT HEADERS: the plugin is neither compiled nor called. TENSORRT_ROOT=FOLDER with "
            "include/NvInferRuntime.h (several: ':' between them), or JetPack's headers, would run this"
        )
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"no C++ compiler ({compiler}); with g++ the plugin is built and called")
    return Path(request.param)


@pytest.fixture(scope="session")
def cpu_kernels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return kernels_for_cpu(tmp_path_factory.mktemp("cpu-kernels"))


@pytest.fixture(scope="session")
def harness_program(tensorrt_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_harness(tmp_path_factory.mktemp("harness"), tensorrt_root)


@pytest.fixture(scope="session")
def cpu_plugin(
    tensorrt_root: Path, cpu_kernels: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_cpu_plugin(tmp_path_factory.mktemp("cpu-plugin"), tensorrt_root, cpu_kernels)


@pytest.fixture(scope="session")
def cuda_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_nvcc()
    return tmp_path_factory.mktemp("cuda-build")


@pytest.fixture(scope="session")
def cuda_plugin(tensorrt_root: Path, cuda_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cuda_plugin(cuda_build, tmp_path_factory.mktemp("cuda-plugin"), tensorrt_root)


@pytest.fixture
def plugin(harness_program: Path, cpu_plugin: Path) -> Iterator[Harness]:
    """The plugin with CPU kernels in a process of its own."""
    with Harness(harness_program, cpu_plugin) as harness:
        yield harness
