"""A served streaming file: what is pushed to it waits in line, and is joined, like any other request."""

from __future__ import annotations

import asyncio

import numpy as np

from device_agent.errors import RequestError
from device_agent.scheduler import Answered, Wanted
from device_agent.served import Served
from device_agent.serving import Serving
from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import UsageError
from edge_s4op.runtime import Array
from edge_s4op.runtime.streaming import LOGITS, SAMPLES, StreamModel, StreamState, open_stream_model
from edge_s4op.runtime.streaming_checks import check_samples, check_state

__all__ = ["ServedStream", "logits_of"]


class ServedStream:
    """The streaming file served as `name` when this was made; each push is a request to its scheduler.

    So streams share queue, batches (pushes of equal length, as far as `max_batch` allows), device and
    statistics with other requests. Raises UnknownModelError, RequestError 503 (not ready), UsageError: the
    model keeps no state, or several answer under that name.
    """

    def __init__(self, serving: Serving, name: str) -> None:
        self._serving, self.name = serving, name
        self._served, self._model = _opened(serving, name)

    @property
    def model(self) -> StreamModel:
        """The model's states, normalisation and manifest."""
        return self._model

    @property
    def artifact_sha256(self) -> str:
        """The file whose states it takes."""
        return self._served.request.artifact_sha256

    @property
    def samples_info(self) -> TensorInfo:
        """The input that takes samples."""
        return next(info for info in self._model.manifest.inputs if info.name == SAMPLES)

    def check(self, samples: Array) -> None:
        """Raise BadInferenceInputError unless `samples` (B, T, ...) are the model's."""
        check_samples(self.samples_info, samples)

    async def push(
        self, state: StreamState, samples: Array, priority: int = 0, timeout_s: float | None = None
    ) -> tuple[Answered, StreamState]:
        """As StreamModel.push, with all outputs. `state` stays valid whatever happens.

        `priority` and `timeout_s` are those of Wanted.

        Raises also what Scheduler.submit does, and RequestError 409: another file took this one's place.
        """
        self.check(samples)
        check_state(self._model.streaming, state.layout, state.batch, samples.shape[0])
        self._follow()
        states = self._model.streaming.states
        feeds = {SAMPLES: samples} | {
            info.name_in: array for info, array in zip(states, state.arrays, strict=True)
        }
        answered = await asyncio.wrap_future(self._served.submit(Wanted(feeds, priority, timeout_s)))
        self._follow()  # a model that was replaced meanwhile hands its requests to the new one
        arrays = tuple(_own(answered.outputs[info.name_out]) for info in states)
        return answered, StreamState(arrays, state.samples + samples.shape[1], state.layout)

    def _follow(self) -> None:
        """The same file loaded once more (another batch size, say) goes on with the states it has."""
        served = self._serving.model(self.name)
        if served is self._served:
            return
        if served.request.artifact_sha256 != self.artifact_sha256:
            what = f"another model file is served as {self.name!r} now: the stream's state is not its"
            raise RequestError(what, status_code=409, fix="start the stream again")
        self._served, self._model = _opened(self._serving, self.name)


def logits_of(answered: Answered) -> Array:
    """The logits (B, classes) of an answered push."""
    return answered.outputs[LOGITS]


def _opened(serving: Serving, name: str) -> tuple[Served, StreamModel]:
    served = serving.model(name)
    if served.runner is None:
        raise UsageError(
            f"several models answer as {name!r}, each with states of its own",
            fix="serve the one to stream to under a name of its own",
        )
    return served, open_stream_model(served.runner)


def _own(array: Array) -> Array:
    """A state to keep: a row of a batch is copied, or it would keep the whole batch in memory."""
    own = np.array(array) if array.base is not None else array
    own.flags.writeable = False
    return own
