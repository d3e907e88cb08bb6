"""The answer to an inference request: JSON, or JSON and the bytes of its binary tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from device_agent.v2.classification import bytes_tensor, top_classes
from device_agent.v2.request import InferRequest, WantedOutput
from edge_s4op.artifact import Manifest
from edge_s4op.errors import BadInferenceInputError, InferenceError
from edge_s4op.runtime import Array
from edge_s4op.tensors import json_from_array
from edge_s4op.tensors_binary import binary_from_array

__all__ = ["Body", "answer_to"]

_Tensor = tuple[dict[str, Any], "bytes | memoryview | None"]


@dataclass(frozen=True)
class Body:
    """An answer's body; `header_length` is that of its JSON, None when there is nothing behind it."""

    content: bytes
    header_length: int | None


def answer_to(
    request: InferRequest,
    name: str,
    manifest: Manifest,
    outputs: Mapping[str, Array],
    variant: str | None,
) -> Body:
    """The outputs of model `name`, as asked for. Raises InferenceError for what JSON cannot carry."""
    tensors = [_tensor(wanted, outputs, manifest) for wanted in request.outputs]
    answer: dict[str, Any] = {"model_name": name, "model_version": "1"}
    if request.identity is not None:
        answer["id"] = request.identity
    if variant is not None:
        answer["parameters"] = {"variant": variant}
    answer["outputs"] = [tensor for tensor, _ in tensors]
    header = _encoded(answer)
    data = [part for _, part in tensors if part is not None]
    return Body(b"".join([header, *data]), len(header)) if data else Body(header, None)


def _encoded(answer: dict[str, Any]) -> bytes:
    """As JSON; what pydantic cannot write (half a surrogate pair in an id) the slower encoder can."""
    try:
        return to_json(answer)
    except PydanticSerializationError:
        return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()


def _tensor(wanted: WantedOutput, outputs: Mapping[str, Array], manifest: Manifest) -> _Tensor:
    array = outputs.get(wanted.name)
    if array is None:
        raise InferenceError(f"the model gave no output {wanted.name!r}", found=", ".join(outputs))
    if wanted.classes:
        return _classified(wanted, array, manifest)
    try:
        if wanted.binary:
            return binary_from_array(wanted.name, array)
        return json_from_array(wanted.name, array), None
    except BadInferenceInputError as error:  # the model's doing, not the client's
        fix = None if wanted.binary else "ask for it in binary: parameters.binary_data of that output"
        raise InferenceError(f"the model's output cannot be sent: {error}", fix=fix) from error


def _classified(wanted: WantedOutput, array: Array, manifest: Manifest) -> _Tensor:
    shape, texts = top_classes(array, wanted.classes, manifest.class_labels)
    tensor: dict[str, Any] = {"name": wanted.name, "datatype": "BYTES", "shape": shape}
    if not wanted.binary:
        return tensor | {"data": texts}, None
    data = bytes_tensor(texts)
    return tensor | {"parameters": {"binary_data_size": len(data)}}, data
