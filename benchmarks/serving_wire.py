"""Inference requests and answers on the wire, in the three ways the servers of the benchmark speak."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving_load import Answer
from edge_s4op.tensors import array_from_json, json_from_array
from edge_s4op.tensors_binary import HEADER_LENGTH, binary_from_array

__all__ = ["PLAIN_JSON", "V2_BINARY", "V2_JSON", "Wire", "requests_of", "wrong_answers"]

TOLERANCE = 1e-3  # of the largest logit; single precision agrees to about 1e-6


@dataclass(frozen=True)
class Wire:
    """`encode`: an input (B, L, C) to headers and body; `decode`: an answer's head and body to its logits."""

    encode: Callable[[np.ndarray], tuple[dict[str, str], bytes]]
    decode: Callable[[bytes, bytes], np.ndarray]


def requests_of(wire: Wire, path: str, inputs: Sequence[np.ndarray]) -> tuple[bytes, ...]:
    """One whole HTTP request for every input."""
    return tuple(_request(path, *wire.encode(x)) for x in inputs)


def wrong_answers(wire: Wire, answers: Sequence[Answer], expected: Sequence[np.ndarray]) -> int:
    """How many do not hold their own input's logits: others, of another shape, or none at all."""
    return sum(not _is_right(wire, answer.content, expected[answer.request]) for answer in answers)


def _is_right(wire: Wire, content: bytes, expected: np.ndarray) -> bool:
    head, _, body = content.partition(b"\r\n\r\n")
    try:
        logits = np.asarray(wire.decode(head, body), np.float64)
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return logits.shape == expected.shape and bool(
        np.abs(logits - expected).max() <= TOLERANCE * np.abs(expected).max()
    )


def _request(path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _plain_encode(x: np.ndarray) -> tuple[dict[str, str], bytes]:
    body = json.dumps({"shape": list(x.shape), "data": x.ravel().tolist()}).encode()
    return {"Content-Type": "application/json"}, body


def _plain_decode(head: bytes, body: bytes) -> np.ndarray:
    return np.asarray(json.loads(body)["logits"])


def _v2_encode(x: np.ndarray) -> tuple[dict[str, str], bytes]:
    body = json.dumps({"inputs": [json_from_array("input", x)]}).encode()
    return {"Content-Type": "application/json"}, body


def _v2_decode(head: bytes, body: bytes) -> np.ndarray:
    return array_from_json(json.loads(body)["outputs"][0])[1]


def _v2_binary_encode(x: np.ndarray) -> tuple[dict[str, str], bytes]:
    """As tritonclient by default: the input in binary, and all outputs wanted in binary."""
    tensor, data = binary_from_array("input", x)
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return headers, header + bytes(data)


def _v2_binary_decode(head: bytes, body: bytes) -> np.ndarray:
    name = f"\r\n{HEADER_LENGTH.lower()}:".encode()
    length = int(head.lower().partition(name)[2].partition(b"\r\n")[0])
    output = json.loads(body[:length])["outputs"][0]
    return np.frombuffer(body[length:], "<f4").reshape(output["shape"])


PLAIN_JSON = Wire(_plain_encode, _plain_decode)
V2_JSON = Wire(_v2_encode, _v2_decode)
V2_BINARY = Wire(_v2_binary_encode, _v2_binary_decode)
