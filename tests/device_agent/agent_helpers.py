"""Small model files, and an agent as a real process."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_s4op.artifact import Artifact, Manifest, TensorInfo, artifact_from_model

REPOSITORY = Path(__file__).resolve().parents[2]
_TYPES = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "INT64": TensorProto.INT64}


def scaling_artifact(factor: float = 2.0, *, datatype: str = "FP32", padding: int = 0) -> Artifact:
    """y = factor * x and z = -y, x of shape (batch, 3); `padding` more bytes make the file larger."""
    dtype = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64}[datatype]
    weights = [onnx.numpy_helper.from_array(np.array([factor], dtype=dtype), "factor")]
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    if padding:
        zeros = np.zeros(padding // 4, dtype=np.float32)
        weights.append(onnx.numpy_helper.from_array(zeros, "padding"))
    return _artifact(nodes, weights, ["x"], ["y", "z"], datatype)


def sum_artifact() -> Artifact:
    """y = a + b."""
    return _artifact([helper.make_node("Add", ["a", "b"], ["y"])], [], ["a", "b"], ["y"], "FP32")


def logarithm_artifact() -> Artifact:
    """y = log x: NaN below zero."""
    return _artifact([helper.make_node("Log", ["x"], ["y"])], [], ["x"], ["y"], "FP32")


def model_of(
    nodes: list, weights: list, inputs: list[str], outputs: list[str], datatype: str
) -> onnx.ModelProto:
    def values(names: list[str]) -> list:
        return [helper.make_tensor_value_info(name, _TYPES[datatype], ["batch", 3]) for name in names]

    graph = helper.make_graph(nodes, "test", values(inputs), values(outputs), weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def manifest_of(inputs: list[str], outputs: list[str], datatype: str) -> Manifest:
    def infos(names: list[str]) -> tuple[TensorInfo, ...]:
        vocab_size = 100 if datatype == "INT64" else None
        return tuple(
            TensorInfo(name=name, datatype=datatype, shape=(-1, 3), vocab_size=vocab_size) for name in names
        )

    return Manifest(
        model_kind="test",
        precision="fp16" if datatype == "FP16" else "fp32",
        inputs=infos(inputs),
        outputs=infos(outputs),
        d_model=1,
        d_state=1,
        seq_len=3,
        kept_operators=(),
        parameters=1,
        macs=3,
    )


def _artifact(nodes: list, weights: list, inputs: list[str], outputs: list[str], datatype: str) -> Artifact:
    model = model_of(nodes, weights, inputs, outputs, datatype)
    return artifact_from_model(model, manifest_of(inputs, outputs, datatype))


class AgentProcess:
    """`python -m device_agent` on a free port."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        prefix: str = "",
        log_path: Path | None = None,
    ) -> None:
        command = [sys.executable, "-m", "device_agent", "--data-dir", str(data_dir)]
        if "--port" not in options:
            command += ["--port", "0"]
        if prefix:
            command = ["bash", "-c", f'{prefix}; exec "$@"', "bash", *command]
        self.log_path = log_path or data_dir.parent / f"{data_dir.name}.log"
        self._log = open(self.log_path, "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=REPOSITORY,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.url = self._announced()

    def _announced(self) -> str:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        line = lines.get(timeout=30)
        assert line.startswith("s4op-agent ready on http://"), (line, self.log)
        return line.split()[-1]

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def port(self) -> str:
        return self.url.rsplit(":", 1)[1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()
        self._log.close()


@contextlib.contextmanager
def agent_process(data_dir: Path, *options: str, **more: object) -> Iterator[AgentProcess]:
    process = AgentProcess(data_dir, *options, **more)
    try:
        yield process
    finally:
        process.close()
