"""What a stream refuses before the backend sees it: samples and states that are not this model's."""

from __future__ import annotations

import numpy as np

from edge_s4op.artifact import Streaming, TensorInfo
from edge_s4op.errors import BadInferenceInputError
from edge_s4op.runtime.feeds import numpy_dtype
from edge_s4op.runtime.protocol import Array

__all__ = ["check_samples", "check_state"]


def check_samples(info: TensorInfo, samples: Array) -> None:
    """Raise BadInferenceInputError unless `samples` are a batch of one or more of the model's samples.

    A NaN or an infinity is refused: unlike in a sequence of its own, it would stay in the state for good.
    """
    _check_dtype(info, samples)
    _check_shape(info, samples)
    if info.datatype != "INT64" and not np.isfinite(samples).all():
        raise BadInferenceInputError(
            "samples are not finite",
            expected="finite numbers: what is not would stay in the stream's state",
            found=f"{int((~np.isfinite(samples)).sum())} of {samples.size} NaN or infinite",
            fix="leave the sample out, or replace it",
        )
    if info.vocab_size is not None and not (samples.min() >= 0 and samples.max() < info.vocab_size):
        raise BadInferenceInputError(
            "a token is out of range",
            expected=f"0 to {info.vocab_size - 1}",
            found=f"{samples.min()} to {samples.max()}",
        )


def check_state(streaming: Streaming, layout: Streaming, streams: int, rows: int) -> None:
    """Raise BadInferenceInputError unless a state of `layout`, of `streams` streams, takes `rows` rows here.

    That its arrays are what the layout says the backend checks, as it checks every input.
    """
    if layout is not streaming and layout != streaming:
        raise BadInferenceInputError(
            "this state is another model's",
            expected=_shown(streaming),
            found=_shown(layout),
            fix="push onto a state that this model made",
        )
    if streams != rows:
        raise BadInferenceInputError(
            "samples and state are not of the same number of streams",
            expected=f"samples of {streams} stream(s), as the state",
            found=rows,
        )


def _check_dtype(info: TensorInfo, samples: Array) -> None:
    if not isinstance(samples, np.ndarray) or samples.dtype != numpy_dtype(info.datatype):
        raise BadInferenceInputError(
            "samples have the wrong datatype",
            expected=f"{info.datatype} ({numpy_dtype(info.datatype)})",
            found=getattr(samples, "dtype", type(samples).__name__),
        )


def _check_shape(info: TensorInfo, samples: Array) -> None:
    fits = samples.ndim == len(info.shape) and samples.size > 0 and samples.shape[2:] == info.shape[2:]
    if not fits:
        channels = "".join(f", {size}" for size in info.shape[2:])
        raise BadInferenceInputError(
            "samples have the wrong shape",
            expected=f"(streams, samples{channels}), one or more of each",
            found=f"({', '.join(map(str, samples.shape))})",
        )


def _shown(streaming: Streaming) -> str:
    pooled = f"the last {streaming.window}" if streaming.window else "all samples"
    states = ", ".join(f"{state.name_in} {list(state.shape)}" for state in streaming.states)
    return f"states {states}, mean over {pooled}"
