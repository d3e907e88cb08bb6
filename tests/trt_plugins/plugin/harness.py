"""Drives harness.cpp: one process a library, one line a call, so that a crash fails one test."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FIELDS", "Harness", "Layer", "Reply"]

# What the parser hands over for a layer that keeps channels 0, 2 and 3 of 4.
FIELDS = {
    "plugin_version": "char=1",
    "plugin_namespace": "char=",
    "channels": "int32=0,2,3",
    "num_channels": "int32=4",
    "gelu": "int32=1",
}


@dataclass(frozen=True)
class Reply:
    """What a call returned, and what the plugin logged and recorded meanwhile."""

    result: Any
    log: tuple[str, ...]
    recorded: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """Shapes of one SSMConv node, written as the harness reads them."""

    kind: str = "s4d"
    dtype: str = "float32"
    batch: str = "2"  # or "1/4/8": smallest, best and largest of a profile
    channels: int = 4
    kept: int = 3
    length: int = 256
    taps: int = 256
    size: int = 8  # M
    wrong: tuple[tuple[str, str], ...] = ()  # tensors in place of the right ones

    def shapes(self) -> dict[str, str]:
        """Dimensions by input; the batch stays out where it is a range."""
        k, m = self.kept, self.size
        state = (
            {"poles": f"{k}x{m}x2", "residues": f"{k}x{m}x2"}
            if self.kind == "s4d"
            else {"a": f"{k}x{m}x{m}", "b": f"{k}x{m}", "c": f"{k}x{m}"}
        )
        x = "/".join(f"{b}x{self.channels}x{self.length}" for b in self.batch.split("/"))
        return {"x": x, "k": f"{k}x{self.taps}", "d": f"{k}", **state}

    def tensors(self) -> list[str]:
        """x, k, d, the state form, y."""
        words = {name: f"float32:{shape}" for name, shape in self.shapes().items()}
        words["x"] = words["y"] = f"{self.dtype}:{self.shapes()['x']}"
        return list((words | dict(self.wrong)).values())


class Harness:
    """A process that has loaded `library`; commands are in harness.cpp."""

    def __init__(
        self, program: Path, library: Path, *, logger: bool = True, env: Mapping[str, str] | None = None
    ) -> None:
        # Leaks are not looked for: CUDA's runtime keeps what it has until the process ends.
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:protect_shadow_gap=0", **(env or {})}
        words = [str(program), str(library), *([] if logger else ["--no-logger"])]
        self._process = subprocess.Popen(
            words, stdin=-1, stdout=-1, stderr=-1, text=True, env=environment, bufsize=1
        )

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.close()

    def close(self) -> str:
        """End the process as TensorRT ends, plugins destroyed; returns what it wrote to stderr."""
        _, errors = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, errors
        return errors

    def call(self, *words: object) -> Reply:
        """One command and its answer; AssertionError with the process's last words if it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the harness died on {words}:\n{self._process.communicate()[1][-6000:]}")
        answer = json.loads(line)
        return Reply(answer["result"], tuple(answer["log"]), tuple(answer["recorded"]))

    def value(self, *words: object) -> Any:
        """The answer of a call that has nothing to complain about."""
        reply = self.call(*words)
        assert reply.log == (), reply.log
        return reply.result

    def create(self, name: str, fields: Mapping[str, str] = FIELDS, phase: str = "build") -> Reply:
        """A plugin for the layer "block0/ssm"; `fields` are NAME -> TYPE=VALUES."""
        words = [f"{field}:{value}" for field, value in fields.items()]
        return self.call("create", name, phase, "block0/ssm", *words)

    def made(self, name: str, fields: Mapping[str, str] = FIELDS) -> str:
        """The name of a plugin that exists now."""
        reply = self.create(name, fields)
        assert (reply.result, reply.log) == (True, ()), reply
        return name

    def enqueue(
        self, name: str, layer: Layer, files: Sequence[Path], output: Path, y_bytes: int, workspace: int
    ) -> Reply:
        """Run the plugin on the inputs in `files`; y goes to `output`."""
        return self.call("enqueue", name, workspace, y_bytes, output, *layer.tensors(), "--", *files)
