"""Told to stop, an agent answers what it has accepted, refuses the rest, and ends; told again, it ends."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.device_agent.agent_helpers import REPOSITORY, agent_process, scaling_artifact
from tests.device_agent.agent_requests import first_output, infer, serve
from tests.device_agent.fakes import wait_until

# Runs wait for the file `go` while there is a file `hold`.
HELD = """
import sys, time
from pathlib import Path
from device_agent.agent import open_agent
from device_agent.device import Device, local_device
from device_agent.server import listen, run, url_of
from device_agent.settings import Settings

folder = Path(sys.argv[1])

class Held:
    def __init__(self, runner):
        self.runner, self.backend, self.manifest = runner, runner.backend, runner.manifest

    def run(self, feeds):
        if (folder / "hold").exists():
            (folder / "running").touch()
        while (folder / "hold").exists() and not (folder / "go").exists():
            time.sleep(0.01)
        return self.runner.run(feeds)

    def close(self):
        self.runner.close()

here = local_device()
device = Device(here.facts, here.backends, lambda *a: Held(here.open_runner(*a)), here.measure)
agent = open_agent(Settings(data_dir=folder / "data", drain_s=float(sys.argv[2])), device)
with listen("127.0.0.1", 0) as listener:
    run(agent, listener, lambda: print(url_of(listener), flush=True))
    agent.close()
"""


class HeldAgent:
    """An agent that serves "m", in a process of its own; `hold` makes its runs wait for `go`."""

    def __init__(self, folder: Path, drain_s: float) -> None:
        self.folder = folder
        script = folder / "held.py"
        script.write_text(HELD)
        self.log = open(folder / "log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(folder), str(drain_s)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": "."},
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        url = lines.get(timeout=60).decode().strip()
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        # One request runs at a time, so that one runs and the others wait.
        assert serve(self.http, "m", scaling_artifact(2.0), max_batch=1).status_code == 200

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def go(self) -> None:
        (self.folder / "go").touch()

    def waiting(self) -> int:
        lines = self.http.get("/metrics").text.splitlines()
        (value,) = (line.split()[-1] for line in lines if line.startswith('s4op_queue_depth{model="m"}'))
        return int(float(value))

    def is_ready(self) -> bool:
        return self.http.get("/v2/health/ready").status_code == 200

    def infer(self) -> httpx.Response:
        with httpx.Client(base_url=self.http.base_url, timeout=60, trust_env=False) as http:
            return infer(http, "m")

    def close(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()
        self.log.close()


@pytest.fixture
def agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HeldAgent]:
    held = HeldAgent(tmp_path, getattr(request, "param", 60.0))
    yield held
    held.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_no_accepted_request_is_lost(agent: HeldAgent, tmp_path: Path, signum: signal.Signals) -> None:
    agent.hold()
    with ThreadPoolExecutor(12) as pool:
        accepted = [pool.submit(agent.infer) for _ in range(12)]
        wait_until(lambda: agent.waiting() == 11)
        agent.process.send_signal(signum)
        wait_until(lambda: not agent.is_ready())
        refused = agent.infer()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert list(refused.json()) == ["error"]
        assert not any(future.done() for future in accepted)
        agent.go()
        assert [first_output(future.result(60)) for future in accepted] == [[2, 4, 6]] * 12
    assert agent.process.wait(30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("agent", [0.2], indirect=True)
def test_what_cannot_be_answered_in_time_is_refused(agent: HeldAgent) -> None:
    agent.hold()
    with ThreadPoolExecutor(5) as pool:
        accepted = [pool.submit(agent.infer) for _ in range(5)]
        wait_until(lambda: agent.waiting() == 4)
        agent.process.send_signal(signal.SIGTERM)
        answers = [future.result(60) for future in accepted]
    assert [answer.status_code for answer in answers] == [503] * 5  # that of the run is cut off
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert agent.process.wait(30) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(agent: HeldAgent, signum: signal.Signals) -> None:
    agent.hold()
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(agent.infer)
        wait_until((agent.folder / "running").exists)
        agent.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not agent.is_ready())
        agent.process.send_signal(signum)
        assert agent.process.wait(30) == 128 + signum
        with pytest.raises(httpx.TransportError):
            lost.result(60)


def libraries_of(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_the_fast_loop_and_parser_are_used_where_they_are_installed(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    pytest.importorskip("httptools")
    with agent_process(tmp_path / "data") as agent:
        assert httpx.get(f"{agent.url}/v2/health/ready", trust_env=False).status_code == 200
        loaded = libraries_of(agent.process.pid)
    assert "uvloop" in loaded
    assert "httptools" in loaded


def test_it_serves_without_them(tmp_path: Path) -> None:
    for name in ("uvloop", "httptools"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed')\n")
    with agent_process(tmp_path / "data", env={"PYTHONPATH": str(tmp_path)}) as agent:
        with httpx.Client(base_url=agent.url, trust_env=False, timeout=60) as http:
            serve(http, "m", scaling_artifact(2.0))
            assert first_output(infer(http, "m")) == [2, 4, 6]
        assert "uvloop" not in libraries_of(agent.process.pid)
        agent.process.terminate()
        assert agent.process.wait(30) == 0
