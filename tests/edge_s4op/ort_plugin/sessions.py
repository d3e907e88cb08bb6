"""ONNX Runtime sessions with SSMConv's library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime


def open_session(model: onnx.ModelProto, library: Path | None, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors reach us as exceptions
    if library is not None:
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model: onnx.ModelProto, library: Path | None, threads: int = 1, **feeds: Any) -> Any:
    return open_session(model, library, threads).run(None, feeds)[0]
