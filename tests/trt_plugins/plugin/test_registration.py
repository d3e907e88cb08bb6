"""The library beside a libnvinfer, as ONNX Runtime's TensorRT provider and TensorRT's loader meet it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trt_plugins.plugin.build_plugin import build_registry, headers_major

ONNXRUNTIME_LIBRARY = "libs4op_ssm_conv_onnxruntime.so"
LOADER = """
import ctypes, sys
# Private to this handle, as Python loads TensorRT.
registry = ctypes.CDLL(sys.argv[1]) if sys.argv[1] else None
plugin = ctypes.CDLL(sys.argv[2])
if registry:
    registry.seen.restype = ctypes.c_char_p
    print(registry.seen().decode(), end="")
if hasattr(plugin, "getCreators"):
    count = ctypes.c_int32(-1)
    plugin.getCreators(ctypes.byref(count))
    print(f"creators: {count.value}")
"""


@pytest.fixture(scope="session")
def libnvinfer(tensorrt_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libnvinfer")
    return build_registry(folder / f"libnvinfer.so.{headers_major(tensorrt_root)}", tensorrt_root)


@pytest.fixture(scope="session")
def other_libnvinfer(tensorrt_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    major = headers_major(tensorrt_root) + 1
    return build_registry(tmp_path_factory.mktemp("other") / f"libnvinfer.so.{major}", tensorrt_root, major)


def _load(libnvinfer: Path | str, library: Path) -> tuple[str, str]:
    """What was printed when `library` was loaded into a process that has `libnvinfer`."""
    words = [sys.executable, "-c", LOADER, str(libnvinfer), str(library)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": ""})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_loading_the_onnxruntime_library_registers_the_plugin(cuda_plugin: Path, libnvinfer: Path):
    library = cuda_plugin.with_name(ONNXRUNTIME_LIBRARY)
    assert _load(libnvinfer, library) == ("SSMConv 1 ''\ncreators: 1\n", "")


def test_the_onnxruntime_library_says_when_tensorrt_is_missing(cuda_plugin: Path, other_libnvinfer: Path):
    library = cuda_plugin.with_name(ONNXRUNTIME_LIBRARY)
    for libnvinfer in ("", other_libnvinfer):
        printed, errors = _load(libnvinfer, library)
        assert "SSMConv 1" not in printed
        assert "not registered: the TensorRT this was built for is not loaded" in errors


def test_another_major_version_of_tensorrt_gets_no_creator(cuda_plugin: Path, other_libnvinfer: Path):
    printed, errors = _load(other_libnvinfer, cuda_plugin)
    assert printed == "creators: 0\n"
    assert re.search("built for another major version of TensorRT than the loaded one", errors)


def test_the_version_it_was_built_for_gets_the_creator(cuda_plugin: Path, libnvinfer: Path):
    assert _load(libnvinfer, cuda_plugin) == ("creators: 1\n", "")
