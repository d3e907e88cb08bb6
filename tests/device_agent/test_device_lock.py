"""The device's lock: one holder on the machine, whichever program it is in; free when that one dies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.errors import MeasurementError, StorageError
from edge_s4op.profiler.device_lock import DEVICE_LOCK_VARIABLE, DeviceLock, default_device_lock
from tests.device_agent.agent_helpers import REPOSITORY, scaling_artifact
from tests.device_agent.agent_requests import ended, job_of, serve, submitted, upload
from tests.device_agent.fakes import Gate, gated_device, wait_until

HOLDER = """
import sys, time
from pathlib import Path
from edge_s4op.profiler.device_lock import DeviceLock
with DeviceLock(Path(sys.argv[1])).hold():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen]:
    """Another program that holds the device."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


def test_another_process_holds_it_until_it_is_killed(path: Path, holder: subprocess.Popen) -> None:
    lock = DeviceLock(path)
    with pytest.raises(MeasurementError, match=f"device is busy.*{path}"), lock.hold(timeout_s=0.2):
        pass
    holder.send_signal(signal.SIGKILL)
    with lock.hold(timeout_s=20):
        pass


def test_who_is_no_longer_wanted_leaves(path: Path) -> None:
    unwanted = threading.Event()
    with DeviceLock(path).hold():
        threading.Timer(0.1, unwanted.set).start()
        with pytest.raises(MeasurementError), DeviceLock(path).hold(unwanted=unwanted.is_set):
            pass


def test_it_excludes_holders_in_one_process_and_is_free_after_an_error(path: Path) -> None:
    with (
        DeviceLock(path).hold(),
        pytest.raises(MeasurementError, match="busy"),
        DeviceLock(path).hold(timeout_s=0),
    ):
        pass
    with pytest.raises(KeyError), DeviceLock(path).hold():
        raise KeyError
    with DeviceLock(path).hold(timeout_s=0):
        pass


def test_who_comes_back_at_once_queues_behind_who_waits(path: Path) -> None:
    """An agent with a long queue does not keep another one out."""
    order: list[str] = []

    def many() -> None:
        while "one" not in order and len(order) < 200:
            with DeviceLock(path).hold():
                order.append("many")
                time.sleep(0.02)

    busy = threading.Thread(target=many)
    busy.start()
    wait_until(lambda: len(order) > 0)
    with DeviceLock(path).hold():
        order.append("one")
    busy.join()
    assert order.index("one") < 150


def test_every_user_may_lock_it(path: Path) -> None:
    before = os.umask(0o077)
    try:
        DeviceLock(path).check()
        with DeviceLock(path.with_name("shared.lock.2")).hold():
            pass
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("shared.lock*")} == {0o666}


def test_the_default_is_the_same_for_all_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(DEVICE_LOCK_VARIABLE)
    path = default_device_lock()
    assert path in (Path("/run/lock/s4op-device.lock"), Path("/tmp/s4op-device.lock"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert default_device_lock() == path
    monkeypatch.setenv(DEVICE_LOCK_VARIABLE, str(tmp_path / "other"))
    assert default_device_lock() == tmp_path / "other" == DeviceLock().path
    assert Settings(data_dir=tmp_path).device_lock == tmp_path / "other"


def test_an_agent_does_not_start_with_a_lock_it_cannot_use(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", device_lock=tmp_path)
    with pytest.raises(StorageError, match=f"cannot lock the device with {tmp_path}: Is a directory"):
        open_agent(settings)
    open_agent(settings.model_copy(update={"device_lock": tmp_path / "lock"})).close()  # nothing is left held


def test_two_agents_on_one_machine_never_measure_at_once(start, tmp_path: Path) -> None:
    gates = Gate(), Gate()
    agents = [
        start(device=gated_device(gate), data_dir=tmp_path / str(number)) for number, gate in enumerate(gates)
    ]
    artifact = scaling_artifact()
    first = submitted(agents[0], upload(agents[0], artifact))
    assert gates[0].entered.acquire(timeout=10)
    second = submitted(agents[1], upload(agents[1], artifact))
    wait_until(lambda: job_of(agents[1], second).state == "running")
    gates[1].open.set()
    assert not gates[1].entered.acquire(timeout=0.3)
    assert job_of(agents[1], second).stage == "waiting for the device"
    gates[0].open.set()
    assert ended(agents[0], first).state == "succeeded"
    assert ended(agents[1], second).state == "succeeded"


def test_waiting_for_another_program_ends_with_the_job_or_the_program(
    start, path: Path, holder: subprocess.Popen
) -> None:
    http = start(device_lock=path, lease_wait_s=0.1)
    artifact = upload(http, scaling_artifact())
    cancelled = submitted(http, artifact)
    wait_until(lambda: job_of(http, cancelled).stage == "waiting for the device")
    http.delete(f"/v1/measurements/{cancelled}")
    assert ended(http, cancelled).state == "cancelled"

    answer = serve(http, "m", artifact)  # loading may build an engine: it waits its turn, too
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "another program measures" in answer.json()["error"]

    job = submitted(http, artifact)
    wait_until(lambda: job_of(http, job).stage == "waiting for the device")
    holder.kill()
    assert ended(http, job).state == "succeeded"
