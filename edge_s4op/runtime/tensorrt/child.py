"""Work in a child process that may crash, hang or eat all memory; the parent gets a value or BuildError.

The child writes JSON objects, one a line, to the file descriptor that the environment variable
S4OP_REPORT_FD names; what it prints is kept as its log.

    {"stage": "building engine", "share": 0.25}      share may be null
    {"result": {...}}                                 once, at the end
    {"error": {"what": ..., "expected": ..., "found": ..., "fix": ...}}   instead, when it was refused

Its standard input is a pipe that closes when the parent ends, however that happens.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import edge_s4op
from edge_s4op.errors import BuildError
from edge_s4op.runtime.tensorrt.memory import MACHINE, Memory

__all__ = ["REPORT_VARIABLE", "Limits", "python_command", "run_child"]

REPORT_VARIABLE = "S4OP_REPORT_FD"

_POLL_S = 0.05
_LOG_LINES, _LINE_CHARACTERS = 30, 500
_MIB = 1 << 20

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Limits:
    """When a child is killed: too long, too large, or the whole machine nearly out of memory."""

    timeout_s: float
    memory_bytes: int | None = None
    spare_bytes: int = 256 * _MIB


def run_child(
    command: Sequence[str],
    limits: Limits,
    *,
    what: str,
    on_progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    memory: Memory = MACHINE,
) -> Mapping[str, Any]:
    """Run `command` to its end; its result. `what` names the work in errors.

    Callbacks run on the calling thread. Raises BuildError, whose reason tells what happened:
    "refused" (the child said so), "timeout", "memory", "crashed" or "cancelled". The child and whatever
    it started are gone in each case, also when a callback raises.
    """
    child = _Child(command, what, memory)
    try:
        while child.is_running:
            child.check(limits, should_stop)
            child.pass_on(on_progress, wait_s=_POLL_S)
    finally:
        child.end()
    child.pass_on(on_progress, wait_s=0)
    return child.result()


class _Child:
    def __init__(self, command: Sequence[str], what: str, memory: Memory) -> None:
        self._what, self._memory = what, memory
        self._began = time.monotonic()
        self._oom_kills = self._memory.kernel_kills()
        self._reports: queue.Queue[dict[str, Any]] = queue.Queue()
        self._log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
        self._result: Mapping[str, Any] | None = None
        self._error: Mapping[str, Any] | None = None
        self._process = self._start(command)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        receiving, sending = os.pipe()
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(sending),
                pass_fds=(sending,),
                start_new_session=True,  # its own group, so that what it starts ends with it
            )
        except OSError as error:
            os.close(receiving)
            raise BuildError(f"{self._what}: cannot start a process: {error}", reason="crashed") from error
        finally:
            os.close(sending)
        assert process.stdout is not None
        self._readers = [
            threading.Thread(target=self._read_log, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_reports, args=(os.fdopen(receiving, "rb"),), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        return process

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def check(self, limits: Limits, should_stop: Callable[[], bool] | None) -> None:
        """Raise BuildError if the child must not go on."""
        if should_stop is not None and should_stop():
            self._give_up("cancelled", "cancelled")
        if time.monotonic() - self._began > limits.timeout_s:
            self._give_up(
                "timeout",
                "took too long",
                expected=f"at most {limits.timeout_s:g} s",
                fix="allow more time, or use a smaller model",
            )
        used = self._memory.resident_bytes(self._process.pid)
        if limits.memory_bytes is not None and used > limits.memory_bytes:
            self._give_up(
                "memory",
                "took too much memory",
                expected=f"at most {limits.memory_bytes // _MIB} MiB",
                found=f"{used // _MIB} MiB",
                fix="allow more memory, or use a smaller model or batch",
            )
        spare = self._memory.available_bytes()
        if spare is not None and spare < limits.spare_bytes:
            self._give_up(
                "memory",
                "the device is nearly out of memory",
                expected=f"at least {limits.spare_bytes // _MIB} MiB to spare",
                found=f"{spare // _MIB} MiB, of which this work had taken {used // _MIB} MiB",
                fix="stop other programs, or use a smaller model or batch",
            )

    def pass_on(self, on_progress: Progress | None, wait_s: float) -> None:
        """Take the reports that have come, waiting for the first one up to `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                report = self._reports.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                return
            self._result = report.get("result", self._result)
            self._error = report.get("error", self._error)
            if on_progress is not None and "stage" in report:
                on_progress(report["stage"], report.get("share"))

    def end(self) -> None:
        """Kill what still runs, in the whole group, and read what it left."""
        with contextlib.suppress(ProcessLookupError):  # all of it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        for reader in self._readers:
            reader.join(timeout=5)

    def result(self) -> Mapping[str, Any]:
        """What the child reported. Raises BuildError for a refusal or a crash."""
        if self._error is not None:
            known = ("expected", "found", "fix")
            raise BuildError(
                f"{self._what}: {self._error.get('what')}",
                reason="refused",
                log=self._log,
                **{part: self._error[part] for part in known if part in self._error},
            )
        status = self._process.returncode
        if status == 0 and self._result is not None:
            return self._result
        if status == -signal.SIGKILL and self._memory.kernel_kills() > self._oom_kills:
            self._give_up("memory", "the kernel killed it, since the device ran out of memory")
        self._give_up("crashed", _how_it_ended(status))

    def _give_up(self, reason: str, text: str, **parts: Any) -> NoReturn:
        last = f" (last line: {self._log[-1]})" if reason == "crashed" and self._log else ""
        raise BuildError(f"{self._what}: {text}{last}", reason=reason, log=self._log, **parts)

    def _read_log(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                if text:
                    self._log.append(text[:_LINE_CHARACTERS])

    def _read_reports(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                try:
                    report = json.loads(line)
                except ValueError:  # torn, since the child died while it wrote
                    continue
                if isinstance(report, dict):
                    self._reports.put(report)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"the process ended with status {status} and no result"
    try:
        return f"the process crashed: {signal.Signals(-status).name}"
    except ValueError:
        return f"the process crashed: signal {-status}"


def _environment(report: int) -> dict[str, str]:
    """Ours, with this package importable even if we found it by other means than PYTHONPATH."""
    root = str(Path(edge_s4op.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        REPORT_VARIABLE: str(report),
    }


def python_command(module: str, *arguments: str) -> list[str]:
    """`python -m module arguments`, with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
