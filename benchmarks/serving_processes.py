"""Servers as processes of their own on this machine, for as long as a benchmark runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.messages import ServeRequest
from host.agent_process import local_agent

__all__ = ["PEERS", "Peer", "agent", "agent_pid", "peer", "resident_bytes"]

PEERS: dict[str, tuple[str, dict[str, int | bool]]] = {
    "fastapi": ("serving_fastapi", {}),
    "litserve": ("serving_litserve", {"tuned": True}),
    "litserve, batches": ("serving_litserve", {"tuned": True, "max_batch": 8}),
    "litserve, defaults": ("serving_litserve", {"tuned": False}),
}

_START_S = 60.0
_STOP_S = 5.0


@contextlib.contextmanager
def agent(folder: Path, artifact: Artifact, served: Mapping[str, Mapping[str, int]]) -> Iterator[int]:
    """Our agent with its default settings; yields its port.

    `served`: names to serve the artifact under, and what of ServeRequest differs there from its defaults.
    """
    with local_agent(folder) as url:
        with AgentClient.connect(url) as client:
            client.put_artifact(artifact)
            for name, options in served.items():
                client.serve(name, ServeRequest(artifact_sha256=artifact.sha256, **options))
        port = urlsplit(url).port
        assert port is not None
        yield port


@dataclass(frozen=True)
class Peer:
    """A server that stands still but in its turns: LitServe's workers keep a core busy while they wait."""

    port: int
    group: int

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let it run."""
        os.killpg(self.group, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.group, signal.SIGSTOP)


@contextlib.contextmanager
def peer(name: str, model: Path) -> Iterator[Peer]:
    """A server of `PEERS` with the ONNX file `model`.

    Raises RuntimeError, with what it said last, when it does not start.
    """
    port, log_path = _free_port(), model.with_suffix(f".{name}.log")
    module, arguments = PEERS[name]
    code = f"from benchmarks.{module} import serve; serve({str(model)!r}, {port}, **{arguments!r})"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(name, process, port, log_path)
        os.killpg(process.pid, signal.SIGSTOP)
        yield Peer(port, process.pid)
    finally:
        _end_group(process)


def agent_pid(folder: Path) -> int:
    """The process of the agent whose data is in `folder`. Raises RuntimeError when there is none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"device_agent" in words and str(folder).encode() in words:
                    return int(entry.name)
    raise RuntimeError(f"no agent runs on {folder}")


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def _wait_until_healthy(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{name} does not start: {log.read_text()[-2000:]}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server and to the processes it started, then SIGKILL to those that are left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            os.killpg(process.pid, signal.SIGCONT)  # what stands still ends only once it goes on
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
