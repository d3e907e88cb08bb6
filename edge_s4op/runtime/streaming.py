"""A model that takes samples as they come, on any backend: push samples, get logits and the next state.

The file (`s4op export --streaming`) is a function without memory: samples and state in, logits and next state
out. So is this: a state is a value, `push` returns a new one and leaves the old one as it was, valid to push
other samples onto. Nothing is locked and nothing shared: streams of one model differ by their states alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_s4op.artifact import Manifest, Streaming, TensorInfo
from edge_s4op.errors import BadInferenceInputError, UsageError
from edge_s4op.runtime.feeds import numpy_dtype
from edge_s4op.runtime.protocol import Array, Runner
from edge_s4op.runtime.streaming_checks import check_samples, check_state

__all__ = ["StreamModel", "StreamState", "open_stream_model", "state_bytes"]

SAMPLES = "input"
LOGITS = "logits"


@dataclass(frozen=True)
class StreamState:
    """Where a stream (or `batch` of them) stands: arrays in the manifest's order, and the samples so far.

    Opaque: made by `StreamModel.new_state` and `push`, of use to the same model file only (`layout` is its
    manifest's). The arrays are read-only.
    """

    arrays: tuple[Array, ...]
    samples: int
    layout: Streaming = field(repr=False)

    @property
    def batch(self) -> int:
        """Streams in it."""
        return int(self.arrays[0].shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes it holds."""
        return sum(array.nbytes for array in self.arrays)


def open_stream_model(runner: Runner) -> StreamModel:
    """`runner`'s model as a stream. Raises UsageError when its file takes whole sequences."""
    streaming = runner.manifest.streaming
    if streaming is None:
        raise UsageError(
            "this model file takes whole sequences, not samples as they come",
            expected="a file with states among its inputs and outputs",
            found=f"input {list(runner.manifest.inputs[0].shape)} and no states",
            fix="export the checkpoint with `s4op export --streaming` and deploy that file",
        )
    return StreamModel(runner, streaming)


def state_bytes(streaming: Streaming) -> int:
    """Bytes that the state of one stream takes."""
    return sum(math.prod(info.shape[1:]) * numpy_dtype(info.datatype).itemsize for info in streaming.states)


class StreamModel:
    """A streaming file on a runner. As safe for concurrent use as the runner is; it owns nothing."""

    def __init__(self, runner: Runner, streaming: Streaming) -> None:
        self._runner, self._streaming = runner, streaming
        self._names_in = tuple(info.name_in for info in streaming.states)
        self._names_out = tuple(info.name_out for info in streaming.states)
        self._samples: TensorInfo = next(info for info in runner.manifest.inputs if info.name == SAMPLES)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the file."""
        return self._runner.manifest

    @property
    def streaming(self) -> Streaming:
        """States, pooling and window of the file."""
        return self._streaming

    def state_bytes(self, batch: int = 1) -> int:
        """Bytes that the state of `batch` streams takes."""
        return batch * state_bytes(self._streaming)

    def new_state(self, batch: int = 1) -> StreamState:
        """The state of `batch` streams that have seen nothing. Raises UsageError for batch < 1."""
        if batch < 1:
            raise UsageError("a state is of one or more streams", expected="batch >= 1", found=batch)
        infos = self._streaming.states
        arrays = (np.zeros((batch, *info.shape[1:]), numpy_dtype(info.datatype)) for info in infos)
        return StreamState(tuple(_frozen(array) for array in arrays), 0, self._streaming)

    def normalised(self, samples: Array) -> Array:
        """Raw samples (..., d_input) as the model wants them: (x - mean) / std per channel, float32.

        The statistics are the training split's, so that one sample is enough; tokens come back unchanged.
        """
        preprocessing = self.manifest.preprocessing
        if not preprocessing.mean:
            return samples
        mean, std = np.asarray(preprocessing.mean, np.float32), np.asarray(preprocessing.std, np.float32)
        normal: Array = ((np.asarray(samples, np.float32) - mean) / std).astype(np.float32)
        return normal

    def push(self, state: StreamState, samples: Array) -> tuple[Array, StreamState]:
        """Samples (B, T, d_input) float32, or tokens (B, T) int64 -> logits (B, classes), next state.

        T >= 1; the logits are those after the last. Raises BadInferenceInputError for samples of another
        shape, datatype or range, not finite or none, and for a state of another batch or model,
        InferenceError when the backend fails. `state` stays valid whatever happens.
        """
        check_samples(self._samples, samples)
        check_state(self._streaming, state.layout, state.batch, samples.shape[0])
        outputs = self._runner.run({SAMPLES: samples, **dict(zip(self._names_in, state.arrays, strict=True))})
        arrays = tuple(_frozen(outputs[name]) for name in self._names_out)
        return outputs[LOGITS], StreamState(arrays, state.samples + samples.shape[1], self._streaming)

    def push_many(
        self, states: Sequence[StreamState], samples: Array
    ) -> tuple[Array, tuple[StreamState, ...]]:
        """`push` to several streams in one run: row i of `samples` (n, T, ...) goes to `states[i]`.

        Each state is of one stream; the streams may have seen different numbers of samples. Returns logits
        (n, classes) and the next states. Raises as `push` does, for all of them: no stream has then moved.
        """
        if len(states) == 0 or any(state.batch != 1 for state in states):
            raise BadInferenceInputError(
                "push_many takes the states of single streams",
                expected="one or more states of one stream each",
                found=f"states of {[state.batch for state in states]} streams",
            )
        for state in states:
            check_state(self._streaming, state.layout, 1, 1)
        joined = tuple(np.concatenate(arrays) for arrays in zip(*(s.arrays for s in states), strict=True))
        logits, after = self.push(StreamState(joined, 0, self._streaming), samples)
        return logits, tuple(
            StreamState(_row(after.arrays, index), state.samples + samples.shape[1], self._streaming)
            for index, state in enumerate(states)
        )


def _row(arrays: tuple[Array, ...], index: int) -> tuple[Array, ...]:
    """Stream `index` of a batch, copied: a view would keep the whole batch in memory."""
    return tuple(_frozen(array[index : index + 1].copy()) for array in arrays)


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array
