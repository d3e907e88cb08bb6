"""A backend that builds in a child process, as TensorRT's does; the test says what happens in there."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from device_agent.device import Device, local_device
from edge_s4op.artifact import Artifact
from edge_s4op.runtime import Array, Runner, RunnerOptions
from edge_s4op.runtime.tensorrt.child import REPORT_VARIABLE, Limits, run_child

_PRELUDE = f"""
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])

def report(**message):
    os.write(int(os.environ["{REPORT_VARIABLE}"]), (json.dumps(message) + "\\n").encode())

(folder / "pid").write_text(str(os.getpid()))
report(stage="building engine", share=0.25)
"""
BUILDS = 'report(result={"built": True})'
BUILDS_ONCE_ALLOWED = 'while not (folder / "go").exists(): time.sleep(0.01)\n' + BUILDS
CRASHES = "os.kill(os.getpid(), signal.SIGSEGV)"
TAKES_MEMORY = "taken = bytearray(os.urandom(1 << 20) * 400)\ntime.sleep(60)"
NEVER_ENDS = "time.sleep(600)"
REFUSES = 'report(error={"what": "the parser refuses the node block0/ssm", "fix": "export it again"})'


class Builder:
    """The machine the tests run on, with the backend "builder" beside its own."""

    def __init__(self, folder: Path, work: str = BUILDS) -> None:
        self.folder, self.work = folder, work
        self.options: list[RunnerOptions] = []
        self.together = self.most_together = 0
        self._here, self._lock = local_device(), threading.Lock()

    def device(self) -> Device:
        backends = {**self._here.backends(), "builder": "1"}
        return Device(self._here.facts, lambda: backends, self._open, self._here.measure)

    def allow(self) -> None:
        """Let BUILDS_ONCE_ALLOWED end."""
        (self.folder / "go").touch()

    def child_is_gone(self) -> bool:
        pid = (self.folder / "pid").read_text()
        return bool(pid) and not Path(f"/proc/{pid}").exists()

    def _open(self, artifact: Artifact, backend: str, options: RunnerOptions) -> Runner:
        self.options.append(options)
        if backend == "builder":
            self._build(options)
        runner = self._here.open_runner(artifact, "onnxruntime", options)
        return _Named(runner, backend)

    def _build(self, options: RunnerOptions) -> None:
        with self._lock:
            self.together += 1
            self.most_together = max(self.together, self.most_together)
        try:
            run_child(
                [sys.executable, "-c", _PRELUDE + self.work, str(self.folder)],
                Limits(options.build_timeout_s, options.build_memory_bytes),
                what="building an engine",
                on_progress=options.on_progress,
                should_stop=options.should_stop,
            )
        finally:
            with self._lock:
                self.together -= 1


class _Named:
    def __init__(self, runner: Runner, backend: str) -> None:
        self._runner, self.backend = runner, backend
        self.backend_version, self.manifest = runner.backend_version, runner.manifest

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        return self._runner.run(feeds)

    def close(self) -> None:
        self._runner.close()
