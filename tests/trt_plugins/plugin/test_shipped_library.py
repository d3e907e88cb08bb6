"""The library as CMake builds it for GPUs: what it exports and needs, and what it does without a GPU."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.trt_plugins.plugin.build_plugin import TRT_PLUGINS, configure, need_nvcc, run
from tests.trt_plugins.plugin.harness import FIELDS, Harness, Layer
from tests.trt_plugins.plugin.test_results import Case
from trt_plugins.cpu.kernel_library import Tactic

REPOSITORY = TRT_PLUGINS.parent


def _dynamic(library: Path) -> str:
    return run("readelf", "--dynamic", "--wide", library)


def test_exports_what_tensorrt_looks_for_and_nothing_else(cuda_plugin: Path):
    table = run("nm", "--dynamic", "--defined-only", cuda_plugin)
    assert sorted(re.findall(r"^\S+ \S (\S+)$", table, re.MULTILINE)) == ["getCreators", "setLoggerFinder"]


def test_needs_neither_tensorrt_nor_a_cuda_library(cuda_plugin: Path):
    needed = re.findall(r"NEEDED.*\[(\S+)\]", _dynamic(cuda_plugin))
    assert needed
    assert not [name for name in needed if "nv" in name or "cu" in name], needed


def test_library_for_onnxruntime_finds_the_other_beside_itself(cuda_plugin: Path):
    dynamic = _dynamic(cuda_plugin.with_name("libs4op_ssm_conv_onnxruntime.so"))
    assert "libs4op_ssm_conv.so" in re.findall(r"NEEDED.*\[(\S+)\]", dynamic)
    assert re.findall(r"RUNPATH.*\[(\S+)\]", dynamic) == ["$ORIGIN"]
    assert "NODELETE" in dynamic


def test_offers_the_same_tactics_as_on_the_cpu(harness_program: Path, cuda_plugin: Path):
    with Harness(harness_program, cuda_plugin) as plugin:
        plugin.made("p")
        assert plugin.value("configure", "p", *Layer(dtype="float16").tensors()) == 0
        assert plugin.value("tactics", "p") == [1, 2, 3]
        assert re.search(r"kernels=[0-9a-f]{16}$", plugin.value("identity", "p")[3])


DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])


@DTYPES
def test_without_a_gpu_running_is_an_error_and_no_crash(
    harness_program: Path, cuda_plugin: Path, tmp_path: Path, dtype: type
):
    case = Case(tmp_path, dtype)
    with Harness(harness_program, cuda_plugin) as plugin:
        if plugin.value("gpus") > 0:
            pytest.skip("this machine has a GPU; a machine without one shows that running is an error")
        plugin.made("p")
        prepared = plugin.call("shape_change", "p", *case.layer.tensors())
        reply = case.enqueue(plugin, "p")
        assert reply.result != 0
        assert re.search(r"CUDA error \d+|cannot do batch", (prepared.log + reply.log)[0])
        assert not case.output.exists()
        assert plugin.value("clone", "q", "p") is True  # alive and well


@DTYPES
def test_on_a_gpu_every_tactic_matches_the_reference(
    harness_program: Path, cuda_plugin: Path, tmp_path: Path, dtype: type
):
    case = Case(tmp_path, dtype)
    with Harness(harness_program, cuda_plugin) as plugin:
        if plugin.value("gpus") == 0:
            pytest.skip("no GPU: a machine with one checks the shipped library's results here")
        plugin.made("p", {**FIELDS, "allow_tf32": "int32=1"})
        assert plugin.value("configure", "p", *case.layer.tensors()) == 0
        for tactic in plugin.value("tactics", "p"):
            assert plugin.value("tactic", "p", tactic) == 0
            assert plugin.value("shape_change", "p", *case.layer.tensors()) == 0
            reply = case.enqueue(plugin, "p")
            assert (reply.result, reply.log) == (0, ()), reply
            assert case.error() <= Tactic(tactic).error_limit(np.dtype(dtype).type)


def test_missing_headers_are_named_with_what_to_do(tmp_path: Path):
    need_nvcc()
    done = configure(tmp_path / "build", tmp_path / "nowhere")
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert f"TensorRT's headers (NvInferRuntime.h) not found in '{tmp_path}/nowhere'" in message
    assert "pass TENSORRT_ROOT=FOLDER" in message


def test_headers_without_ipluginv3_are_refused(tmp_path: Path):
    need_nvcc()
    (tmp_path / "include").mkdir()
    (tmp_path / "include/NvInferRuntime.h").touch()
    version = "#define NV_TENSORRT_MAJOR 8\n#define NV_TENSORRT_MINOR 6\n"
    (tmp_path / "include/NvInferVersion.h").write_text(version)
    done = configure(tmp_path / "build", tmp_path)
    assert done.returncode != 0
    assert "TensorRT 10.0 or newer needed (IPluginV3), found 8.6" in " ".join(done.stderr.split())


def test_make_plugin_builds_where_the_agent_looks():
    done = subprocess.run(
        ["make", "--dry-run", "plugin", "TENSORRT_ROOT=/opt/tensorrt", "CUDA_ARCHITECTURES=87"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "cmake -S trt_plugins -B build/trt_plugins" in done.stdout
    assert "-DTENSORRT_ROOT='/opt/tensorrt' -DCUDA_ARCHITECTURES='87'" in done.stdout
    assert "cmake --build build/trt_plugins" in done.stdout
