"""Whatever goes wrong leaves the agent as {"error": "one line"}."""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from device_agent.agent import open_agent
from device_agent.device import Device, local_device
from device_agent.settings import Settings
from device_agent.v2 import inference
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import infer, serve


def error_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert "\n" not in answer.json()["error"]
    return answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/nothing", "/v2/models", "/docs/nothing", "/page/nothing"]
)
def test_an_unknown_path_is_404(http: httpx.Client, path: str) -> None:
    assert path in error_of(http.get(path), 404)


def test_a_wrong_method_is_405_and_names_the_right_ones(http: httpx.Client) -> None:
    answer = http.post("/v1/device")
    assert "POST /v1/device" in error_of(answer, 405)
    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "MeasurementRequest"),
        ({}, "artifact_sha256: Field required"),
        ({"artifact_sha256": "0" * 63}, "artifact_sha256"),
        ({"artifact_sha256": "0" * 64, "precision": 0}, "precision"),
        ({"artifact_sha256": "0" * 64, "threads": "many"}, "threads"),
        ({"artifact_sha256": "0" * 64, "thread": 2}, "thread: Extra inputs"),
    ],
)
def test_a_wrong_body_is_400_and_names_the_field(http: httpx.Client, body: object, reason: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert reason in error_of(http.post("/v1/measurements", content=content), 400)


def test_a_wrong_parameter_is_400_and_names_it(http: httpx.Client) -> None:
    assert "limit" in error_of(http.get("/v1/measurements", params={"limit": "0"}), 400)
    headers = {"Idempotency-Key": "k" * 201}
    answer = http.post("/v1/measurements", json={"artifact_sha256": "0" * 64}, headers=headers)
    assert "Idempotency-Key" in error_of(answer, 400)


def test_a_message_beyond_1_mib_is_413(http: httpx.Client) -> None:
    error_of(http.post("/v1/measurements", content=b" " * ((1 << 20) + 1)), 413)


def test_an_unexpected_failure_is_500_and_logged(start, caplog: pytest.LogCaptureFixture) -> None:
    here = local_device()

    def broken() -> object:
        raise ZeroDivisionError("a secret detail")

    http = start(device=Device(broken, here.backends, here.open_runner, here.measure))
    with caplog.at_level(logging.ERROR):
        text = error_of(http.get("/v1/device"), 500)
    assert "internal error (ZeroDivisionError)" in text
    assert "secret" not in text
    assert "a secret detail" in caplog.text
    assert http.get("/v2/health/live").status_code == 200


def test_an_unexpected_failure_of_inference_is_500_and_logged(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError("a secret detail")

    serve(http, "m", scaling_artifact())
    monkeypatch.setattr(inference, "read_request", broken)
    with caplog.at_level(logging.ERROR):
        answer = infer(http, "m")
    assert "internal error (ZeroDivisionError)" in error_of(answer, 500)
    assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
    assert "secret" not in answer.text
    assert "POST /v2/models/m/infer -> 500: unexpected ZeroDivisionError('a secret detail')" in caplog.text
    monkeypatch.undo()
    assert infer(http, "m").status_code == 200


def test_ready_is_503_without_database_or_folder_or_worker(start, tmp_path) -> None:
    http = start()
    assert http.get("/v2/health/ready").status_code == 200
    folder = tmp_path / "data/artifacts"
    folder.rename(tmp_path / "elsewhere")
    assert http.get("/v2/health/ready").status_code == 503
    (tmp_path / "elsewhere").rename(folder)
    assert http.get("/v2/health/ready").status_code == 200
    http.app.state.agent.database.close()
    assert http.get("/v2/health/ready").status_code == 503
    assert "database" in error_of(http.get("/v1/artifacts"), 500)


def test_an_agent_that_was_not_started_is_not_ready(tmp_path) -> None:
    agent = open_agent(Settings(data_dir=tmp_path))
    assert not agent.is_ready
    agent.close()
    agent.close()
