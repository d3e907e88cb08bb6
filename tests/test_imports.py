"""Who may import what: one way between the packages, and nothing heavy on the device."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

from tests.project import PACKAGES, ROOT, distributions, files, modules

# usage: BLOCKED[,BLOCKED...] MODULE... - imports the modules where the blocked ones cannot be imported
IMPORT_WITHOUT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked in this process", name=name)

blocked = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""

NOT_ALLOWED = {
    "edge_s4op": {"host", "device_agent", "torch", "fastapi", "starlette", "uvicorn"},
    "host": {"device_agent", "fastapi", "starlette", "uvicorn"},
    "device_agent": {"host", "torch"},
}

EXTRAS = {
    # The runtime and the profiler are used only where an extra brings a runtime.
    "edge_s4op": ("agent",),
    "host": ("host",),
    "device_agent": ("agent",),
}
OPTIONAL = {"cuda", "onnxruntime", "pycuda", "tensorrt"}
DISTRIBUTION_OF = {"google": "protobuf"}


def imported(path: Path) -> Iterator[str]:
    """First part of every name that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize(
    ("package", "blocked"),
    [("edge_s4op", "torch"), ("edge_s4op", "fastapi,starlette"), ("device_agent", "torch")],
)
def test_every_module_imports_without(package: str, blocked: str) -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT, blocked, *modules(package)]
    done = run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_blocker_blocks() -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT, "wave", "wave"]
    done = run(command, cwd=ROOT, capture_output=True, text=True)
    assert "wave is blocked in this process" in done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(package)
        for name in imported(path)
        if name in NOT_ALLOWED[package]
    ]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_is_declared(package: str) -> None:
    declared = distributions(EXTRAS[package])
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(package)
        for name in imported(path)
        if name not in {*PACKAGES, *OPTIONAL, *sys.stdlib_module_names}
        and DISTRIBUTION_OF.get(name, name.replace("_", "-")) not in declared
    ]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_is_a_package(package: str) -> None:
    folders = {path.parent for path in files(package)}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()] == []


def test_no_extra_brings_both_onnxruntimes() -> None:
    runtimes = {"onnxruntime", "onnxruntime-gpu"}
    for extras in [("host",), ("agent",), ("host", "agent"), ("agent", "jetson")]:
        assert distributions(extras) & runtimes == {"onnxruntime"}
    for extras in [("gpu",), ("host-core", "gpu")]:
        assert distributions(extras) & runtimes == {"onnxruntime-gpu"}


@pytest.mark.parametrize("extras", [("agent",), ("gpu",), ("agent", "jetson")])
def test_the_device_needs_no_torch(extras: tuple[str, ...]) -> None:
    assert not distributions(extras) & {"torch", "aeon", "matplotlib"}


def test_everything_declared_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert distributions(("host", "agent", "jetson", "dev")) <= pinned
