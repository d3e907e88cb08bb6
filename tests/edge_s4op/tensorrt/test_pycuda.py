"""The runner's tests through PyCUDA, in a process whose libcuda.so.1 is the stand-in; and falling back."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge_s4op.runtime.tensorrt import cuda_pycuda
from tests.edge_s4op.tensorrt.fake_device import build_driver
from tests.edge_s4op.tensorrt.fake_runner import PYCUDA_DRIVER
from tests.project import ROOT

# PyCUDA refers to functions of the driver that the stand-in lacks: they are looked up when called.
PYTEST = """
import os, sys
sys.setdlopenflags(os.RTLD_LAZY)
import pycuda.driver, pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("trt")
def test_the_runners_tests_pass_through_pycuda(tmp_path: Path):
    if find_spec("pycuda") is None:
        pytest.skip("no pycuda: `docker/install.sh .venv host,agent,jetson,dev` (nvcc on the PATH) runs this")
    build_driver(tmp_path)
    paths = f"{tmp_path}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    environment = os.environ | {"LD_LIBRARY_PATH": paths, PYCUDA_DRIVER: str(tmp_path)}
    tests = [f"tests/edge_s4op/tensorrt/{name}.py" for name in ("test_runner", "test_cuda_graphs")]
    command = [sys.executable, "-c", PYTEST, "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "could not be cleaned up" not in done.stdout + done.stderr
    assert "clean-up operation failed" not in done.stdout + done.stderr
    found = re.search(r"(\d+) passed(?:, (\d+) skipped)?", done.stdout)
    assert found is not None
    assert int(found[1]) >= 25
    assert int(found[2] or 0) <= 1  # loading an engine, where the driver shows a GPU


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        (None, False),
        ("", True),
        ("raise ImportError('undefined symbol: cuX')", True),
        ("import s4op_no_such", True),
    ],
)
def test_without_a_pycuda_that_imports_the_driver_is_called(
    content: str | None,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        monkeypatch.delitem(sys.modules, name)
    if content is None:
        monkeypatch.setitem(sys.modules, "pycuda", None)
    else:
        (tmp_path / "pycuda.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
    with caplog.at_level(logging.WARNING, "edge_s4op.tensorrt"):
        assert cuda_pycuda.load_pycuda() is None
    monkeypatch.delitem(sys.modules, "pycuda", raising=False)
    assert bool(caplog.records) is warned
