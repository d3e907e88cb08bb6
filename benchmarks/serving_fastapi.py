"""What one writes without a serving framework: a FastAPI endpoint around an ONNX Runtime session.

It gets {"shape": [...], "data": [...]} at /predict and answers {"logits": [...]}. The session runs in
Starlette's thread pool, on one thread for each request as in our agent; uvicorn has one worker.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from edge_s4op.runtime.onnxruntime_plugin import find_plugin

__all__ = ["open_session", "serve"]


class Tensor(BaseModel):
    """A request's body: an array, flat."""

    shape: list[int]
    data: list[float]


class Logits(BaseModel):
    """The answer's body."""

    logits: list[list[float]]


def serve(model: str, port: int) -> None:
    """Serve the ONNX file until the process is ended."""
    session, app = open_session(model), FastAPI()

    def run(tensor: Tensor) -> Logits:
        x = np.array(tensor.data, np.float32).reshape(tensor.shape)
        return Logits(logits=session.run(None, {"input": x})[0].tolist())

    @app.post("/predict")
    async def predict(tensor: Tensor) -> Logits:
        return await run_in_threadpool(run, tensor)

    @app.get("/health")
    def health() -> str:
        return "ok"

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def open_session(model: str) -> Any:
    """The file in ONNX Runtime on the CPU, on one thread; with SSMConv's library, as the agent runs it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if library := find_plugin():
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
