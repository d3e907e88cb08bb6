"""An inference request and its answer as a client of the Open Inference Protocol writes and reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_s4op.errors import BadInferenceInputError
from edge_s4op.tensors import check_finite, json_from_array
from edge_s4op.tensors_binary import HEADER_LENGTH, arrays_from_message, binary_from_array, header_length_of

__all__ = ["infer_request", "outputs_from"]

Array = npt.NDArray[Any]


def infer_request(feeds: Mapping[str, np.ndarray], binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers that ask for all outputs, in binary where the server can.

    A server without the binary extension ignores that wish; with `binary` the inputs are so, too, which it
    must understand. Raises BadInferenceInputError for another dtype, NaN or infinity.
    """
    # identity: packing tensors costs more than sending them on a local network
    headers = {"Accept-Encoding": "identity"}
    parameters = {"binary_data_output": True}
    if not binary:
        tensors = [json_from_array(name, array) for name, array in feeds.items()]
        return json.dumps({"inputs": tensors, "parameters": parameters}).encode(), headers
    for name, array in feeds.items():
        check_finite(name, array)
    parts = [binary_from_array(name, array) for name, array in feeds.items()]
    header = json.dumps({"inputs": [tensor for tensor, _ in parts], "parameters": parameters}).encode()
    headers[HEADER_LENGTH] = str(len(header))
    return b"".join([header, *(data for _, data in parts)]), headers


def outputs_from(content: bytes, header_lengths: Sequence[str]) -> dict[str, Array]:
    """The outputs in an answer's body, given its headers `Inference-Header-Content-Length` (none: all JSON).

    Raises BadInferenceInputError, ValueError, AttributeError, KeyError or TypeError for what is no answer.
    """
    length = header_length_of(header_lengths, len(content))
    length = len(content) if length is None else length
    tensors = json.loads(content[:length])["outputs"]
    if not all(isinstance(tensor, dict) for tensor in tensors):
        raise BadInferenceInputError("an output is no object")
    return dict(arrays_from_message(tensors, memoryview(content)[length:]))
