"""The sources, compiled anew: against ONNX Runtime's header, with the sanitizers, for ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT, pyproject

HERE = Path(__file__).parent
SOURCES = ROOT / "edge_s4op" / "ort_plugin"
CXX = os.environ.get("CXX", "g++")
ARM_CXX, ARM = "aarch64-linux-gnu-g++", "qemu-aarch64"
NAMES = ("layer", "rows_base", "rows_avx2", "rows_avx512")
ROWS = [HERE / "rows_check.cpp", *(SOURCES / f"{name}.cpp" for name in NAMES)]

needs_compiler = pytest.mark.skipif(
    shutil.which(CXX) is None, reason=f"no C++ compiler ({CXX}): with g++ the sources are compiled"
)


def compiled(*words: str | Path, compiler: str = CXX) -> Path:
    """Compile without a warning; the last word, where a program is made."""
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
    command = [compiler, "-std=c++17", *warnings, f"-I{SOURCES}", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(words[-1])


def checked(program: Path, *emulator: str) -> str:
    """What rows_check printed."""
    done = subprocess.run([*emulator, program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
def test_rows_are_right_and_nothing_is_touched_outside_a_tensor(tmp_path: Path) -> None:
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    found = checked(compiled(*flags, *ROWS, "-o", tmp_path / "rows_check"))
    assert int(found.split()[0]) % 120 == 0, found  # 12 lengths, 5 numbers of states, two forms


@pytest.mark.skipif(
    None in (shutil.which(ARM_CXX), shutil.which(ARM)),
    reason=f"no {ARM_CXX} or {ARM}: Debian's packages g++-aarch64-linux-gnu and qemu-user run this",
)
def test_rows_are_right_on_arm(tmp_path: Path) -> None:
    program = compiled("-O2", "-static", *ROWS, "-o", tmp_path / "rows_check", compiler=ARM_CXX)
    assert checked(program, ARM).startswith("120 runs, neon to neon, ")


def test_every_source_is_compiled_and_every_header_watched() -> None:
    (extension,) = pyproject()["tool"]["setuptools"]["ext-modules"]
    assert extension["optional"] is True
    assert {ROOT / name for name in extension["sources"]} == set(SOURCES.glob("*.cpp"))
    assert {ROOT / name for name in extension["depends"]} == set(SOURCES.glob("*.h"))
