"""LitServe, as its documentation recommends, around the session of `serving_fastapi.py`.

`tuned`: what the docstrings of LitServer and its `run` recommend for processors and for more than 100
requests a second: as many inference workers as cores, as many HTTP servers (`num_api_servers` None) and
queues over ZeroMQ (`fast_queue`). Otherwise its defaults: one of each, and multiprocessing's queues.
`max_batch` above 1: requests that wait are run together, as ours are.
"""

from __future__ import annotations

import os
from typing import Any

import litserve as ls
import numpy as np

from benchmarks.serving_fastapi import open_session

__all__ = ["Classifier", "serve"]

BATCH_WAIT_S = 0.005  # with 0, its default, workers that wait keep all cores busy and it is slower


class Classifier(ls.LitAPI):
    """/predict as the endpoint of `serving_fastapi.py`; LitServe pickles it into its workers."""

    model = ""

    def setup(self, device):
        self.session = open_session(self.model)

    def decode_request(self, request):  # LitServe makes of an annotation how FastAPI reads the body
        return np.array(request["data"], np.float32).reshape(request["shape"])

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, x):
        return self.session.run(None, {"input": x})[0]

    def unbatch(self, output):
        return list(output[:, None])

    def encode_response(self, output):
        return {"logits": output.tolist()}


def serve(model: str, port: int, tuned: bool, max_batch: int = 1) -> None:
    """Serve the ONNX file until the process is ended."""
    api = Classifier(max_batch_size=max_batch, batch_timeout=BATCH_WAIT_S)
    api.model = model
    options: dict[str, Any] = {}
    if tuned:
        options = {"workers_per_device": len(os.sched_getaffinity(0)), "fast_queue": True}
    server = ls.LitServer(api, accelerator="cpu", **options)
    server.run(host="127.0.0.1", port=port, log_level="warning", access_log=False, generate_client_file=False)
