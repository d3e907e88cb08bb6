"""One inference request: JSON in, JSON out, the model in between."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from device_agent.errors import RequestError
from device_agent.serving import Serving
from edge_s4op.errors import BadInferenceInputError, InferenceError
from edge_s4op.runtime import Array
from edge_s4op.tensors import array_from_json, json_from_array

__all__ = ["answer_to"]


def answer_to(serving: Serving, name: str, content: bytes) -> bytes:
    """The Open Inference Protocol's answer to the request `content` on model `name`.

    The device is held from parsing to the last byte, so that nothing of it disturbs a measurement.
    Raises RequestError 400, BadInferenceInputError, UnknownModelError, RequestError 503 when busy.
    """
    with serving.borrow(name) as runner:
        request = _parsed(content)
        wanted = _wanted_outputs(request, [info.name for info in runner.manifest.outputs])
        outputs = runner.run(_feeds(request))
        answer = {"model_name": name, "model_version": "1", **_echoed_id(request)}
        answer["outputs"] = [_output(name, outputs[name]) for name in wanted]
        return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        request = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body is not JSON: {str(error) or type(error).__name__}") from error
    if not isinstance(request, dict):
        raise _bad("the body is no inference request", expected='an object with "inputs"')
    return request


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _feeds(request: dict[str, Any]) -> dict[str, Array]:
    tensors = request.get("inputs")
    if not _are_objects(tensors):
        raise _bad("the request has no inputs", expected='a list "inputs" of tensors')
    feeds: dict[str, Array] = {}
    for tensor in tensors or ():
        name, array = array_from_json(tensor)
        if name in feeds:
            raise BadInferenceInputError(f"input {name!r} is given twice")
        feeds[name] = array
    return feeds


def _wanted_outputs(request: dict[str, Any], known: list[str]) -> list[str]:
    """Names of the outputs asked for, in that order; all of them when none is named."""
    outputs = request.get("outputs") or []
    if not _are_objects(outputs):
        raise _bad("the request's outputs cannot be read", expected='a list "outputs" of objects')
    names = [output.get("name") for output in outputs]
    for name in names:
        if name not in known:
            expected = f"one of {', '.join(known)}"
            raise _bad("the request names an unknown output", expected, repr(name)[:80])
    if len(set(names)) != len(names):
        raise _bad("the request names an output twice", found=", ".join(names))
    return names or known


def _echoed_id(request: dict[str, Any]) -> dict[str, Any]:
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise _bad("the request's id cannot be echoed", expected="a string", found=repr(identity)[:80])
    return {} if identity is None else {"id": identity}


def _output(name: str, array: Array) -> dict[str, Any]:
    try:
        return json_from_array(name, array)
    except BadInferenceInputError as error:  # the model's doing, not the client's
        raise InferenceError(f"the model's output cannot be sent: {error}") from error


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _bad(what: str, expected: str | None = None, found: str | None = None) -> RequestError:
    return RequestError(what, status_code=400, expected=expected, found=found)
