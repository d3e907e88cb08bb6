"""A model's first runs, before anybody waits for them: they allocate, capture graphs, choose kernels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from device_agent.errors import RequestError
from device_agent.joining import best_batch
from edge_s4op.errors import BadInferenceInputError
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Runner
from edge_s4op.runtime.feeds import random_feeds

__all__ = ["warm", "warm_batches"]

_log = logging.getLogger("device_agent.serving")

_JOINED_UNASKED = ("onnxruntime",)  # others build for one batch size, and are measured with 1
_RUNS = 3  # of each batch size: TensorRT captures a graph after the second and replays it in the third
_LONG_S = 1.0  # a batch size that takes so long is warm after one run


def warm(runner: Runner, request: ServeRequest, should_stop: Callable[[], bool]) -> ServeRequest:
    """Run a few random batches of the sizes that requests will have.

    Returns the request with `max_batch` found where it is None.

    Raises InferenceError: it cannot run; RequestError soon after `should_stop()` turns true.
    """
    _run(runner, warm_batches(runner.backend, request.max_batch or 1), should_stop)
    if request.max_batch is not None:
        return request
    best = 1
    if runner.backend in _JOINED_UNASKED:
        try:
            best = best_batch(runner)
        except BadInferenceInputError as error:
            _log.info("no batches timed: %s", error)
    return request.model_copy(update={"max_batch": best})


def _run(runner: Runner, batches: Sequence[int], should_stop: Callable[[], bool]) -> None:
    for batch in batches:
        began = time.monotonic()
        for _ in range(_RUNS):
            if should_stop():
                raise RequestError("nobody wants the model any more", status_code=503)
            try:
                runner.run(random_feeds(runner.manifest, batch))
            except BadInferenceInputError as error:  # what we drew, not what clients will send
                _log.info("not warmed with %d row(s): %s", batch, error)
                break
            if time.monotonic() - began > _LONG_S:
                break


def warm_batches(backend: str, max_batch: int) -> list[int]:
    """Batch sizes to run: the ends; all powers of two where each size is a graph of its own."""
    if backend != "tensorrt":
        return sorted({1, max_batch})
    return sorted({max_batch, *(1 << power for power in range(max_batch.bit_length()))})
