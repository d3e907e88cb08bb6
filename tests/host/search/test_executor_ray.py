import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as tensors_from_bytes

from edge_s4op.errors import S4opError, UsageError
from host.search.executor import Executor, open_executor
from host.search.executor_ray import check_answers
from host.search.executor_task import tune
from host.training.snapshot import read_snapshot
from tests.host.search.test_executor import DATA, LONG, ROOT, started, task
from tests.test_imports import IMPORT_WITHOUT

RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'edge-s4op[ray]'"
)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_ray_is_imported_only_when_asked_for_and_without_it_the_message_says_how_to_install_it():
    script = IMPORT_WITHOUT + (
        "\nassert 'ray' not in sys.modules"
        "\nfrom host.search.executor import open_executor"
        "\nfrom tests.host.search.test_executor import DATA"
        "\nopen_executor('ray', DATA)"
    )
    done = python("-c", script, "ray", "host.search.executor")
    assert "UsageError: executor 'ray' needs Ray" in done.stderr
    assert "python -m pip install 'edge-s4op[ray]'" in done.stderr


@RAY
@pytest.mark.parametrize("address", ["somewhere", "ray://127.0.0.1:10001", "127.0.0.1:port"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match=r"expected HOST:PORT.*found " + address):
        open_executor("ray", DATA, address=address)


@RAY
def test_an_address_where_nothing_answers_is_told_within_seconds():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"no Ray cluster answers at {address}: .*ray start --head"):
            open_executor("ray", DATA, address=address)


@RAY
def test_an_address_where_something_else_answers_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"no Ray cluster answers at {address}: no answer within 3 s"):
            check_answers(address, timeout_s=3.0)


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(folder.name)] = parent, (folder / "cmdline").read_text().replace("\0", " ")
    return found


def ray_processes(folder: Path) -> list[int]:
    return [pid for pid, (_, command) in processes().items() if str(folder) in command]


def tuning_processes(folder: Path) -> list[int]:
    """Ray's workers that run a task; their parents have Ray's folder on the command line."""
    parents = ray_processes(folder)
    return [pid for pid, (parent, line) in processes().items() if parent in parents and "::_tune" in line]


@dataclass
class OwnRay:
    """An executor, the folder that only its Ray uses, what handled SIGTERM before, and how to close it."""

    executor: Executor
    folder: Path
    handler: object
    close: Callable[[], None]


@pytest.fixture(scope="module")
def own():
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        pytest.skip("Ray is running in this process: run this file by itself")
    folders, handler = set(Path("/tmp").glob("s4op-ray-*")), signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(open_executor("ray", DATA, workers=1, threads=1))
        (folder,) = set(Path("/tmp").glob("s4op-ray-*")) - folders
        yield OwnRay(executor, folder, handler, stack.close)


@RAY
def test_a_killed_ray_worker_is_its_own_candidates_failure_only(own, tmp_path):
    doomed = own.executor.submit(replace(task(run_dir=tmp_path, training=LONG), name="doomed"))
    started(tmp_path)
    (victim,) = tuning_processes(own.folder)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(S4opError, match=r"candidate doomed: its Ray task was lost \(WorkerCrashed"):
        doomed.result(timeout=60)
    assert own.executor.submit(task()).result(timeout=60).result.epochs_run == 4


@RAY
def test_a_cluster_by_its_address_gives_the_same_and_writes_no_files_unless_they_are_shared(own, tmp_path):
    expected = tune(task(), DATA).restore().state_dict()
    address = pytest.importorskip("ray").get_runtime_context().gcs_address  # one machine, for another process
    done = python("-c", IN_ANOTHER_PROCESS, address, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]
    assert (tmp_path / "run").is_dir()
    found = tensors_from_bytes((tmp_path / "model").read_bytes())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@RAY
def test_closing_ends_ray_its_tasks_and_its_files_and_leaves_signals_alone(own, tmp_path):
    """The last that uses it."""
    assert signal.getsignal(signal.SIGTERM) is own.handler
    gpu = task().training.model_copy(update={"device": "cuda"})
    running = own.executor.submit(task(run_dir=tmp_path, training=LONG))
    started(tmp_path)
    assert tuning_processes(own.folder)
    with pytest.raises(UsageError, match=r"no machine .* large enough.*expected 1 CPUs and 1 GPU"):
        own.executor.submit(task(training=gpu))
    own.close()
    with pytest.raises(CancelledError):
        running.result(timeout=5)
    deadline = time.monotonic() + 20
    while ray_processes(own.folder):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not own.folder.exists()
    assert read_snapshot(tmp_path).state.history


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from host.search.executor import open_executor
from tests.host.search.test_executor import DATA, task

address, folder = sys.argv[1], Path(sys.argv[2])
for shared in (False, True):
    with open_executor("ray", DATA, threads=1, address=address, shared_files=shared) as executor:
        assert executor.shares_files == shared
        tuned = executor.submit(task(run_dir=folder / "run")).result()
        assert (folder / "run").exists() == shared
(folder / "model").write_bytes(tuned.model.weights)
"""
