"""A device agent of one's own, as a process on this machine, for as long as it is needed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import AgentError, AgentUnreachableError

__all__ = ["local_agent", "terminate_as_interrupt"]

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0


@contextlib.contextmanager
def local_agent(folder: Path) -> Iterator[str]:
    """Start `s4op-agent` on a free port with its data in `folder`; yields its URL, ends with the block.

    The agent's own output goes to `folder`/agent.log. It runs in a session of its own, so that Ctrl-C
    reaches this process first and the agent is stopped in order. Raises AgentUnreachableError when it does
    not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port_file, log_file = folder / "port", folder / "agent.log"
    port_file.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "device_agent",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--port-file",
        str(port_file),
    ]
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield _url_when_ready(process, port_file, log_file)
        finally:
            _stop(process)
            port_file.unlink(missing_ok=True)


def _url_when_ready(process: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists():
            url = f"http://127.0.0.1:{port_file.read_text().strip()}"
            if _ready(url):
                return url
        time.sleep(0.05)
    lines = log_file.read_text(errors="replace").strip().splitlines()
    ended = "did not get ready" if process.poll() is None else f"exited with {process.returncode}"
    raise AgentUnreachableError(
        f"the local agent {ended}: {lines[-1] if lines else 'it said nothing'}", fix=f"see {log_file}"
    )


def _ready(url: str) -> bool:
    with AgentClient.connect(url, timeout_s=5, retry=RetryPolicy(retries=0)) as client:
        try:
            return client.health()
        except AgentError:
            return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL; returns when the process is gone."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C while inside, so that `finally` blocks run."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
