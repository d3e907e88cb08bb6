"""The child's side of `child`: telling the parent how far it is, and ending when the parent has ended."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_s4op.errors import S4opError
from edge_s4op.runtime.tensorrt.child import REPORT_VARIABLE

__all__ = ["Report", "be_expendable"]


class Report:
    """Writes lines the parent understands; onto nothing where there is no parent. Any thread may."""

    def __init__(self) -> None:
        descriptor = os.environ.get(REPORT_VARIABLE)
        self._file = os.fdopen(int(descriptor), "w") if descriptor else None
        self._lock = threading.Lock()

    def stage(self, stage: str, share: float | None = None) -> None:
        self._write({"stage": stage, "share": share})

    def result(self, result: Mapping[str, Any]) -> None:
        self._write({"result": result})

    def error(self, error: S4opError) -> None:
        parts = {"what": error.what, "expected": error.expected, "found": error.found, "fix": error.fix}
        self._write({"error": {name: str(part) for name, part in parts.items() if part is not None}})

    def _write(self, value: Mapping[str, Any]) -> None:
        if self._file is not None:
            with self._lock:
                self._file.write(json.dumps(value) + "\n")
                self._file.flush()


def be_expendable() -> None:
    """End with the parent, and be the first whom the kernel kills when memory runs out, not the agent."""
    with contextlib.suppress(OSError):  # a sandbox may have no /proc to write to
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock, held here, would abort the interpreter's shutdown
        pass
    os._exit(1)  # the parent's end of the pipe is closed
