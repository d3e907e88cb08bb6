"""Settings for the whole suite, made before any test module is imported."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler.loadscope import LoadScopeScheduling

# The suite's models are tiny, and training and agent processes run side by side. On two cores with one
# other busy process a training step took 15 ms with one OpenMP thread and 870 ms with two (their
# spin-waits starve each other). A variable rather than a call: child processes inherit it, and tests
# without torch need not import it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Agents of other programs on this machine, of another run of this suite and of its other processes are not
# waited for: a process of `pytest --numprocesses` inherits the variable from the one that started it.
if "PYTEST_XDIST_WORKER" in os.environ or "S4OP_DEVICE_LOCK" not in os.environ:
    os.environ["S4OP_DEVICE_LOCK"] = str(Path(tempfile.mkdtemp(prefix="s4op-tests-")) / "device.lock")

# In the background of a shell SIGINT is ignored, and processes would inherit that which are to end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COMPILED = "tests/trt_plugins/"
LONG = (COMPILED, "tests/host/test_", "tests/host/search/", "tests/host/", "tests/test_docs_python_api.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long runs first, so that several processes end at about the same time."""
    items.sort(
        key=lambda item: next((k for k, part in enumerate(LONG) if item.nodeid.startswith(part)), len(LONG))
    )


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One process more than cores: with as many, a sixth of the cores' time went by in waiting."""
    cores = yield
    return cores if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """With `--numprocesses`, a file's tests run in one process; those that share a build by nvcc do, too."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return COMPILED if nodeid.startswith(COMPILED) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # it would run files with many tests first
    return ByFile(config, log)
