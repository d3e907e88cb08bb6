"""An agent with small models, and requests to its /v2 that are right but for what a test changes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from device_agent.agent import open_agent
from device_agent.settings import Settings
from tests.device_agent.agent_helpers import scaling_artifact, sum_artifact
from tests.device_agent.agent_requests import serve
from tests.device_agent.live import live

HEADER = "Inference-Header-Content-Length"
LIMIT_BYTES = 100_000
DATA = np.array([[1, 2, 3]], dtype="<f4").tobytes()
JSON_X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
BINARY_X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
INFER = "/v2/models/m/infer"


@contextlib.contextmanager
def strict_agent(folder: Path) -> Iterator[httpx.Client]:
    """An agent that takes LIMIT_BYTES at most and serves "m" (y = 2 x) and "two" (y = a + b)."""
    settings = Settings(
        data_dir=folder / "data", device_lock=folder / "device.lock", max_body_bytes=LIMIT_BYTES
    )
    with live(open_agent(settings)) as http:
        assert serve(http, "m", scaling_artifact(2.0)).status_code == 200
        assert serve(http, "two", sum_artifact()).status_code == 200
        yield http


def message(tensor: dict[str, Any], data: bytes = DATA, **more: object) -> tuple[bytes, int]:
    """A body and the length of its JSON."""
    header = json.dumps({"inputs": [tensor], **more}).encode()
    return header + data, len(header)


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert list(answer.json()) == ["error"]
    return answer.status_code, answer.json()["error"]


def check_it_still_answers(agent: httpx.Client) -> None:
    body, length = message(BINARY_X)
    answer = agent.post(INFER, content=body, headers={HEADER: str(length)})
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
