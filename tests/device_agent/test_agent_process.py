"""The agent as its own process: killed, stopped, started where it cannot be."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from edge_s4op.client import AgentClient
from edge_s4op.messages import MeasurementRequest, ServeRequest
from tests.device_agent.agent_helpers import REPOSITORY, agent_process, scaling_artifact
from tests.device_agent.fakes import wait_until

STUCK = """
import sys, time
from pathlib import Path
from device_agent.agent import open_agent
from device_agent.device import Device, local_device
from device_agent.server import listen, run, url_of
from device_agent.settings import Settings

class Stuck:
    def __init__(self, runner):
        self.runner, self.backend = runner, runner.backend
        self.manifest = runner.manifest

    def run(self, feeds):
        if (Path(sys.argv[1]) / "stuck").exists():
            print("stuck", flush=True)
            time.sleep(60)
        return self.runner.run(feeds)

    def close(self):
        self.runner.close()

here = local_device()
device = Device(here.facts, here.backends, lambda *a: Stuck(here.open_runner(*a)), here.measure)
agent = open_agent(Settings(data_dir=Path(sys.argv[1]), drain_s=0.5), device)
with listen("127.0.0.1", 0) as listener:
    url = url_of(listener)
    run(agent, listener, lambda: print(url, flush=True))
"""


def long_request(sha256: str, **changes: object) -> MeasurementRequest:
    fields = {
        "warmup_ms": 0,
        "cooldown_max_ms": 0,
        "max_duration_ms": 60_000,
        "min_iterations": 1_000_000,
        "precision": 1e-9,
    }
    return MeasurementRequest(artifact_sha256=sha256, **fields | changes)


def failing_start(*options: str) -> str:
    """Standard error of an agent that must not start, with exit code 1."""
    command = [sys.executable, "-m", "device_agent", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_queue_and_served_models_survive_a_kill(tmp_path: Path) -> None:
    data_dir, artifact = tmp_path / "data", scaling_artifact(3.0)
    x = np.array([[1, -2, 3]], dtype=np.float32)
    # long enough to be killed in, and ended by its samples rather than by its time
    interrupted = MeasurementRequest(
        artifact_sha256=artifact.sha256, warmup_ms=1500, max_duration_ms=100, min_iterations=100
    )
    with agent_process(data_dir) as agent, AgentClient.connect(agent.url) as client:
        client.put_artifact(artifact)
        client.serve("triple", ServeRequest(artifact_sha256=artifact.sha256))
        first = client.submit(interrupted, idempotency_key="k")
        second = client.submit(interrupted.model_copy(update={"warmup_ms": 0.0}))
        wait_until(lambda: client.job(first.id).state == "running")
        agent.kill()

    with agent_process(data_dir) as agent, AgentClient.connect(agent.url) as client:
        assert client.submit(interrupted, idempotency_key="k").id == first.id
        assert client.wait(first.id, timeout_s=20).state == "succeeded"
        assert client.wait(second.id, timeout_s=20).state == "succeeded"
        assert len(client.samples(first.id).samples_ms) >= 100
        assert client.served()[0].ready
        assert client.infer("triple", {"x": x})["y"].tolist() == [[3, -6, 9]]
        assert "queued again" in agent.log


def test_a_measurement_that_kills_the_agent_twice_is_given_up(tmp_path: Path) -> None:
    data_dir, artifact = tmp_path / "data", scaling_artifact()
    with agent_process(data_dir) as agent, AgentClient.connect(agent.url) as client:
        client.put_artifact(artifact)
        deadly = client.submit(long_request(artifact.sha256))
        harmless = client.submit(long_request(artifact.sha256, max_duration_ms=50, min_iterations=1))
        wait_until(lambda: client.job(deadly.id).state == "running")
        agent.kill()
    with agent_process(data_dir) as agent, AgentClient.connect(agent.url) as client:
        wait_until(lambda: client.job(deadly.id).state == "running")
        agent.kill()
    with agent_process(data_dir) as agent, AgentClient.connect(agent.url) as client:
        assert client.wait(harmless.id, timeout_s=20).state == "succeeded"
        job = client.job(deadly.id)
    assert (job.state, job.result) == ("failed", None)
    assert "died 2 times" in job.error


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_soon_whatever_runs(tmp_path: Path, signum: signal.Signals) -> None:
    artifact = scaling_artifact()
    with agent_process(tmp_path / "data") as agent, AgentClient.connect(agent.url) as client:
        client.put_artifact(artifact)
        client.serve("m", ServeRequest(artifact_sha256=artifact.sha256))
        job = client.submit(long_request(artifact.sha256))
        wait_until(lambda: client.job(job.id).state == "running")
        waiting = threading.Thread(target=_infer_in_vain, args=(agent.url,))
        waiting.start()
        time.sleep(0.3)
        with stalled_upload(int(agent.port)):
            began = time.monotonic()
            agent.process.send_signal(signum)
            code = agent.process.wait(10)
            seconds = time.monotonic() - began
        waiting.join(10)
        log = agent.log
    assert code == 0
    assert seconds < 5
    assert "Traceback" not in log
    assert f"{job.id}: queued again, since the agent stops" in log
    assert list((tmp_path / "data/artifacts").glob(".*")) == []
    rows = sqlite3.connect(tmp_path / "data/agent.sqlite").execute("SELECT state, attempts FROM jobs")
    assert rows.fetchall() == [("queued", 0)]


def test_a_run_that_never_ends_does_not_keep_the_agent(tmp_path: Path) -> None:
    """The runner is stuck in a library, SIGTERM still works."""
    artifact = scaling_artifact()
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    command = [sys.executable, str(script), str(tmp_path / "data")]
    log = open(tmp_path / "log", "wb")  # noqa: SIM115
    agent = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.PIPE, stderr=log
    )
    try:
        url = agent.stdout.readline().decode().strip()
        with AgentClient.connect(url) as client:
            client.put_artifact(artifact)
            client.serve("m", ServeRequest(artifact_sha256=artifact.sha256))
            (tmp_path / "data/stuck").touch()
            waiting = threading.Thread(target=_infer_in_vain, args=(url,))
            waiting.start()
            assert agent.stdout.readline() == b"stuck\n"
        agent.terminate()
        assert agent.wait(20) == 0
        waiting.join(10)
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()
        log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def _infer_in_vain(url: str) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    try:
        answer = httpx.post(f"{url}/v2/models/m/infer", json={"inputs": [tensor]}, trust_env=False)
    except httpx.TransportError:
        return
    assert answer.status_code in (200, 503)  # the device may become free in time


def stalled_upload(port: int) -> socket.socket:
    """A connection whose upload stops in the middle."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"PUT /v1/artifacts/{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    connection.sendall(head.encode() + bytes(1000))
    time.sleep(0.3)
    return connection


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data/artifacts"
    with agent_process(tmp_path / "data") as agent:
        with stalled_upload(int(agent.port)):
            wait_until(lambda: len(list(folder.iterdir())) == 1)
        wait_until(lambda: list(folder.iterdir()) == [])
        assert httpx.get(f"{agent.url}/v2/health/ready", trust_env=False).status_code == 200


def test_a_silent_upload_is_dropped(tmp_path: Path) -> None:
    with (
        agent_process(tmp_path / "data", env={"S4OP_AGENT_UPLOAD_IDLE_S": "0.2"}) as agent,
        stalled_upload(int(agent.port)) as connection,
    ):
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, "silent" in answer.read().decode()) == (408, True)
        assert list((tmp_path / "data/artifacts").iterdir()) == []


@pytest.mark.parametrize("path", [f"/v1/artifacts/{'0' * 64}", "/v2/models/m/infer"])
def test_a_large_refused_body_still_gets_its_answer(tmp_path: Path, path: str) -> None:
    """A client that sends everything before it reads must find 413, not a broken pipe."""
    artifact = scaling_artifact()
    env = {"S4OP_AGENT_MAX_ARTIFACT_BYTES": "10000", "S4OP_AGENT_MAX_BODY_BYTES": "10000"}
    with agent_process(tmp_path / "data", env=env) as agent:
        with AgentClient.connect(agent.url) as client:
            client.put_artifact(artifact)
            client.serve("m", ServeRequest(artifact_sha256=artifact.sha256))
        connection = http.client.HTTPConnection("127.0.0.1", int(agent.port))
        connection.request("POST" if path.startswith("/v2") else "PUT", path, body=bytes(30 << 20))
        answer = connection.getresponse()
        text = json.loads(answer.read())["error"]
        connection.close()
    assert answer.status == 413
    assert "10000 bytes" in text


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        text = failing_start("--port", port, "--data-dir", str(tmp_path / "data"))
    assert f"cannot listen on 127.0.0.1:{port}" in text
    assert "in use" in text
    assert "--port" in text


def test_a_data_folder_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with agent_process(tmp_path / "data"):
        text = failing_start("--port", "0", "--data-dir", str(tmp_path / "data"))
    assert "used by another agent" in text


def test_a_lock_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    text = failing_start("--port", "0", "--data-dir", str(tmp_path / "data"), "--device-lock", str(tmp_path))
    assert "cannot lock the device with" in text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--port", "99999"], "port: Input should be less than or equal to 65535"),
        (["--while-measuring", "never"], "while_measuring: Input should be 'refuse' or 'share'"),
    ],
)
def test_a_bad_option_exits_with_2(tmp_path: Path, options: list[str], reason: str) -> None:
    command = [sys.executable, "-m", "device_agent", *options, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_the_port_file_and_the_environment_are_honoured(tmp_path: Path) -> None:
    env = {"S4OP_AGENT_PORT_FILE": str(tmp_path / "port"), "S4OP_AGENT_HOST": "localhost"}
    with agent_process(tmp_path / "data", env=env) as agent:
        assert (tmp_path / "port").read_text() == f"{agent.port}\n"
        assert agent.url == f"http://127.0.0.1:{agent.port}"


def test_a_restart_takes_the_same_port_at_once(tmp_path: Path) -> None:
    with agent_process(tmp_path / "data") as agent, AgentClient.connect(agent.url) as client:
        client.device()
        port = agent.port
        agent.kill()
        with agent_process(tmp_path / "data", "--port", port) as again:
            assert again.port == port
            assert client.health()
