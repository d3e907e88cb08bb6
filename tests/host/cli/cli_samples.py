"""Command lines run in this process, tiny data, and agents that go away, for the tests of the commands."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import AgentError
from host.cli.main import run
from tests.device_agent.agent_helpers import REPOSITORY, AgentProcess
from tests.host.training.training_samples import sines

TINY = ("--d-model", "4", "--d-state", "4", "--depth", "2", "--epochs", "2", "--device", "cpu")
QUICK = ("--max-duration-ms", "30")
_COMMAND = (sys.executable, "-c", "from host.cli.main import main; main()")
NO_AGENT = "http://127.0.0.1:9"  # the discard port: nobody listens

Capture = pytest.CaptureFixture[str]


def arrays(samples: int = 40) -> dict[str, np.ndarray]:
    """What a small npz dataset holds: sines of two frequencies."""
    split = sines(samples, seed=1)
    return {"x": split.x[..., 0], "y": split.y}


def save_npz(path: Path, **changes: np.ndarray | None) -> str:
    """Write `arrays` with changes (None drops a key) and return the dataset's spec."""
    content = {key: value for key, value in (arrays() | changes).items() if value is not None}
    np.savez(path, **content)
    return f"npz:{path}"


def succeed(capsys: Capture, *arguments: object) -> str:
    """Run a command that must end with 0; returns its stdout."""
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def succeed_json(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """The same with --json: stdout is one line, one object."""
    out = succeed(capsys, *arguments, "--json")
    assert out.count("\n") == 1
    return json.loads(out)


def fail(capsys: Capture, *arguments: object, lines: int | None = 1) -> tuple[int, str]:
    """Run a command that must fail: its exit code and the one line (of `lines`) that says why."""
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    said = err.splitlines()
    assert out == ""
    assert lines is None or len(said) == lines, err
    assert said[-1].startswith("s4op")
    assert "Traceback" not in err
    return code, said[-1]


def stderr_on_a_terminal(arguments: list[str]) -> str:
    """Run a command whose stderr is a terminal: what it draws there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([*_COMMAND, *arguments], cwd=REPOSITORY, env=environment, stderr=theirs)
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 4096):
            pieces.append(piece)
    except OSError:  # EIO: the process has ended
        pass
    os.close(ours)
    assert process.wait(30) == 0
    return b"".join(pieces).decode()


@contextlib.contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond `size_bytes`: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def killed_at(agent: AgentProcess, measurement: int) -> Iterator[None]:
    """Kill `agent` while its measurement number `measurement` (from 1) runs."""

    def running() -> bool:
        with AgentClient.connect(agent.url, retry=RetryPolicy(retries=0)) as client:
            jobs = client.jobs()
            return len(jobs) >= measurement and jobs[0].state == "running"

    killer = threading.Thread(target=lambda: (wait_until(running), agent.kill()), daemon=True)
    killer.start()
    yield
    killer.join(10)
    assert agent.process.poll() is not None, "the agent was never seen measuring"


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(AgentError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError("waited too long")


@contextlib.contextmanager
def other_server(body: bytes, kind: str) -> Iterator[str]:
    """An HTTP server that is no agent and answers everything with `body`; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
