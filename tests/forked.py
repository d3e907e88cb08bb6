"""Processes to be killed, forked from one that has imported what takes seconds: torch, above all.

    with copies_of("tests.host.training.killed_run") as copies:
        assert copies.run(folder, "mid-epoch") == (-9, "")
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from tests.project import ROOT

__all__ = ["Copies", "copies_of"]

_AT_MOST_S = 120  # a copy that hangs ends by SIGALRM


@dataclass(frozen=True)
class Copies:
    """A process that waits, and forks one copy of itself for each call."""

    process: subprocess.Popen[str]
    errors: IO[str]

    def run(self, *arguments: object) -> tuple[int, str]:
        """The module's `main(*arguments)` in a copy: its exit status as subprocess has it, its stderr.

        `arguments` are what JSON has, or paths.
        """
        begin = self.errors.seek(0, os.SEEK_END)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(arguments, default=str) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        self.errors.seek(begin)
        errors = self.errors.read()
        assert answer, f"the process to be copied ended: {errors}"
        return int(answer), errors


@contextlib.contextmanager
def copies_of(module: str) -> Iterator[Copies]:
    """Imports `module` in a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "tests.forked", module]
    with tempfile.TemporaryFile("w+") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
            yield Copies(process, errors)


def _serve(module: str) -> None:
    main = importlib.import_module(module).main
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.stdout = sys.stderr  # the answers' pipe is the parent's
            signal.alarm(_AT_MOST_S)
            main(*json.loads(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
