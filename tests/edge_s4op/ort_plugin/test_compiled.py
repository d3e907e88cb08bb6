"""The sources, compiled anew: against ONNX Runtime's header, with the sanitizers, as the package does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SOURCES = ROOT / "edge_s4op" / "ort_plugin"
CXX = os.environ.get("CXX", "g++")

needs_compiler = pytest.mark.skipif(
    shutil.which(CXX) is None, reason=f"no C++ compiler ({CXX}): with g++ the sources are compiled"
)


def compiled(*words: str | Path) -> None:
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
    command = [CXX, "-std=c++17", *warnings, f"-I{SOURCES}", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_the_interface_is_onnxruntimes() -> None:
    root = os.environ.get("ONNXRUNTIME_ROOT")
    if root is None:
        pytest.skip(
            "NO ONNX RUNTIME HEADERS: ONNXRUNTIME_ROOT=FOLDER with include/onnxruntime_c_api.h would compare "
            "edge_s4op/ort_plugin/ort_abi.h with it"
        )
    compiled("-fsyntax-only", f"-I{root}/include", HERE / "abi_check.cpp")


@needs_compiler
def test_nothing_is_read_or_written_outside_a_tensor(tmp_path: Path) -> None:
    program = tmp_path / "memory_check"
    sources = [SOURCES / f"{name}.cpp" for name in ("layer", "rows_base", "rows_avx2", "rows_avx512")]
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compiled(*flags, HERE / "memory_check.cpp", *sources, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) % 120 == 0  # 12 lengths, 5 numbers of states, two forms


def test_every_source_is_compiled_and_every_header_watched() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib comes with Python 3.11")
    import tomllib

    (extension,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    assert extension["optional"] is True
    assert {ROOT / name for name in extension["sources"]} == set(SOURCES.glob("*.cpp"))
    assert {ROOT / name for name in extension["depends"]} == set(SOURCES.glob("*.h"))
