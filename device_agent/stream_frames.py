"""What goes over a stream's WebSocket: frames of samples in, answers out, each as JSON or as bytes.

A frame is text, {"samples": [[..], ..], "reset": true, "end": true} with one or more of these keys, or
bytes: T x d_input numbers, little-endian, float32 or (tokens) int64. An answer is text, {"samples": so far,
"outputs": {"logits": [..]}, "prediction": label or number of the class}, or, with `?format=binary`, bytes:
samples so far (uint64), logits (float32), little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from device_agent.errors import RequestError
from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import BadInferenceInputError, InferenceError, S4opError
from edge_s4op.runtime import Array
from edge_s4op.runtime.feeds import numpy_dtype
from edge_s4op.tensors import array_from_json

__all__ = ["MAX_FRAME_BYTES", "Frame", "FrameError", "Options", "answer_of", "frame_of", "options_of"]

MAX_FRAME_BYTES = 1 << 20  # 4096 samples of 64 channels

_KEYS = ("samples", "reset", "end")
_OPTIONS = ("every", "normalise", "format", "priority")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class FrameError(S4opError):
    """A frame that is none of this protocol, with the close code that says how."""

    def __init__(
        self, what: str, *, code: int, expected: object | None = None, found: object | None = None
    ) -> None:
        self.code = code
        super().__init__(what, expected=expected, found=found)


@dataclass(frozen=True)
class Options:
    """What the address asks for: an answer every so many samples (None: to every frame), raw samples
    normalised first, binary answers, how urgent its pushes are (1 most; 0: the model's default)."""

    every: int | None = None
    normalise: bool = False
    binary: bool = False
    priority: int = 0


@dataclass(frozen=True)
class Frame:
    """One message: forget what was, then take these samples (T, ...), then end."""

    samples: Array | None
    reset: bool = False
    end: bool = False


def options_of(query: Iterable[tuple[str, str]]) -> Options:
    """The options of an address. Raises RequestError 400."""
    given: dict[str, str] = {}
    for key, value in query:
        if key not in _OPTIONS or key in given:
            raise _bad("unknown or repeated option", f"{', '.join(_OPTIONS)}, once each", key)
        given[key] = value
    every, normalise, form, priority = (given.get(key) for key in _OPTIONS)
    if every is not None and not (_is_small(every) and int(every) > 0):
        raise _bad("bad option every", "a number of samples", every)
    if priority is not None and not _is_small(priority):
        raise _bad("bad option priority", "a level, 1 the most urgent, 0 for the model's default", priority)
    if normalise not in (None, "0", "1"):
        raise _bad("bad option normalise", "0 or 1", normalise)
    if form not in (None, "json", "binary"):
        raise _bad("bad option format", "json or binary", form)
    return Options(
        every=None if every is None else int(every),
        normalise=normalise == "1",
        binary=form == "binary",
        priority=int(priority or 0),
    )


def _is_small(value: str) -> bool:
    """Whether it is a whole number below 2**31."""
    return value.isascii() and value.isdecimal() and int(value[:11]) < 2**31


def frame_of(message: str | bytes, info: TensorInfo) -> Frame:
    """The frame in a message; `info` is the model's input. Raises FrameError, BadInferenceInputError."""
    if len(message) > MAX_FRAME_BYTES:
        raise FrameError(
            "the frame is too large",
            code=1009,
            expected=f"at most {MAX_FRAME_BYTES} bytes",
            found=len(message),
        )
    if isinstance(message, bytes):
        return Frame(_samples_from_bytes(message, info))
    content = _parsed(message)
    if unknown := next((key for key in content if key not in _KEYS), None):
        raise FrameError("unknown key", code=1008, expected=", ".join(_KEYS), found=f"{unknown!r:.40}")
    reset, end = (_flag(content, key) for key in ("reset", "end"))
    samples = _samples_from_json(content["samples"], info) if "samples" in content else None
    if samples is None and not (reset or end):
        raise FrameError("an empty frame", code=1003, expected="samples, reset or end")
    return Frame(samples, reset, end)


def answer_of(
    samples: int, logits: Array | None, labels: tuple[str, ...], *, binary: bool, end: bool = False
) -> str | bytes:
    """The answer after `samples` samples; `logits` (classes,), None where there are no samples yet.

    Raises InferenceError for logits that JSON cannot carry.
    """
    if binary:
        head = np.array([samples], "<u8").tobytes()
        return head if logits is None else head + np.ascontiguousarray(logits, "<f4").tobytes()
    answer: dict[str, Any] = {"samples": samples, "outputs": {}, "prediction": None}
    if logits is not None:
        answer["outputs"] = {"logits": logits.tolist()}
        index = int(logits.argmax())
        answer["prediction"] = labels[index] if index < len(labels) else index
    if end:
        answer["end"] = True
    try:
        return _encode(answer)
    except ValueError as error:
        raise InferenceError("the model's logits are NaN or infinite", fix="ask for format=binary") from error


def _parsed(message: str) -> dict[str, Any]:
    try:
        content = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no JSON: {str(error) or type(error).__name__}", code=1007) from error
    if not isinstance(content, dict):
        raise FrameError("no frame", code=1003, expected='{"samples": ...}', found=type(content).__name__)
    return content


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _flag(content: dict[str, Any], key: str) -> bool:
    value = content.get(key, False)
    if not isinstance(value, bool):
        what = f"{key} has the wrong type"
        raise FrameError(what, code=1007, expected="true or false", found=f"{value!r:.40}")
    return value


def _samples_from_json(data: object, info: TensorInfo) -> Array:
    """(T, ...): a flat list where a sample is one number, else a list of lists."""
    if not isinstance(data, list) or not data:
        raise BadInferenceInputError("no samples", expected="a list of one or more samples")
    channels = info.shape[2:]
    is_flat = not isinstance(data[0], list)
    if is_flat and channels not in ((), (1,)):
        raise BadInferenceInputError("wrong shape of samples", expected=f"lists of {channels[0]} numbers")
    tensor = {"name": "samples", "datatype": info.datatype, "shape": [len(data), *channels], "data": data}
    return array_from_json(tensor)[1]


def _samples_from_bytes(content: bytes, info: TensorInfo) -> Array:
    dtype = np.dtype(numpy_dtype(info.datatype)).newbyteorder("<")
    channels = info.shape[2:]
    size_bytes = dtype.itemsize * int(np.prod(channels, dtype=np.int64))
    if not content or len(content) % size_bytes:
        raise BadInferenceInputError(
            "no whole samples",
            expected=f"{size_bytes} bytes a sample: {dtype.name}{list(channels) or ''}",
            found=f"{len(content)} bytes",
        )
    flat = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
    return flat.reshape(-1, *channels)


def _bad(what: str, expected: str, found: str) -> RequestError:
    return RequestError(what, status_code=400, expected=expected, found=f"{found!r:.40}")
