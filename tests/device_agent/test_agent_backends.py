"""Which backend runs: the one asked for, else the agent's own; one that cannot run here is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.runtime import available_backends
from tests.device_agent.agent_helpers import REPOSITORY, scaling_artifact
from tests.device_agent.agent_requests import ended, infer, quick, serve, submitted, upload
from tests.device_agent.builder import Builder


def test_a_request_that_names_no_backend_gets_the_agents(start, tmp_path: Path) -> None:
    http = start(device=Builder(tmp_path).device(), backend="builder")
    assert http.get("/v1/device").json()["default_backend"] == "builder"
    artifact = upload(http, scaling_artifact())
    job = ended(http, submitted(http, artifact))
    assert job.request.backend == job.result.request.backend == "builder"
    assert serve(http, "m", artifact).json()["serving"]["backend"] == "builder"
    named = ended(http, submitted(http, artifact, backend="onnxruntime"))
    assert named.result.request.backend == "onnxruntime"


def test_a_request_without_the_field_means_the_same(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    body = {"artifact_sha256": artifact.sha256, "warmup_ms": 0, "max_duration_ms": 10}
    job = http.post("/v1/measurements", json=body).json()
    assert job["request"]["backend"] == "onnxruntime"
    assert http.put("/v1/models/m", json={"artifact_sha256": artifact.sha256}).status_code == 200


def test_a_model_keeps_its_backend_when_the_agents_changes(start, tmp_path: Path) -> None:
    http = start()
    serve(http, "m", scaling_artifact())
    http.__exit__(None, None, None)
    http = start(device=Builder(tmp_path).device(), backend="builder")
    assert http.get("/v1/models").json()[0]["serving"]["backend"] == "onnxruntime"


def test_a_repeated_submission_is_the_same_though_the_agents_backend_has_changed(
    start, tmp_path: Path
) -> None:
    device, headers = Builder(tmp_path).device(), {"Idempotency-Key": "once"}
    http = start(device=device)
    body = quick(upload(http, scaling_artifact()))
    first = http.post("/v1/measurements", json=body, headers=headers).json()
    http.__exit__(None, None, None)
    http = start(device=device, backend="builder")
    assert http.post("/v1/measurements", json=body, headers=headers).json()["id"] == first["id"]
    named = http.post("/v1/measurements", json=body | {"backend": "builder"}, headers=headers)
    assert named.status_code == 409


@pytest.mark.parametrize("what", ["a measurement", "a model"])
def test_more_threads_than_the_device_has_use_for_are_refused(http: httpx.Client, what: str) -> None:
    artifact = upload(http, scaling_artifact())
    limit = 4 * http.get("/v1/device").json()["cores"]

    def answer(threads: int) -> httpx.Response:
        if what == "a model":
            return serve(http, "m", artifact, threads=threads)
        return http.post("/v1/measurements", json=quick(artifact, threads=threads))

    assert answer(limit).status_code in (200, 202)
    refused = answer(limit + 1)
    assert refused.status_code == 400
    assert f"at most {limit}" in refused.json()["error"]


def test_an_agent_whose_backend_is_unknown_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean tensorrt"):
        open_agent(Settings(data_dir=tmp_path / "data", backend="tensort"))
    assert not (tmp_path / "data").exists()


def test_an_agent_whose_backend_is_not_installed_says_so_in_one_line(tmp_path: Path) -> None:
    for module in ("tensorrt", "tensorrt_rtx"):  # hide those that may be installed
        (tmp_path / f"{module}.py").write_text("raise ImportError\n")
    command = [sys.executable, "-m", "device_agent", "--backend", "tensorrt", "--port", "0"]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "the backend 'tensorrt' cannot run here" in done.stderr
    assert "expected one of onnxruntime" in done.stderr


@pytest.mark.skipif(
    "tensorrt" in available_backends(), reason="TensorRT is installed: run it where it is not"
)
def test_a_backend_that_is_not_installed_is_refused_in_a_request(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    answer = http.post("/v1/measurements", json=quick(artifact, backend="tensorrt"))
    assert answer.status_code == 400
    assert "install tensorrt on this device" in answer.json()["error"]
    assert serve(http, "m", artifact, backend="tensorrt").status_code == 400
    assert infer(http, "m").status_code == 404


def test_a_default_backend_this_device_lacks_is_an_error_before_the_folder_is_made(tmp_path: Path) -> None:
    here = Builder(tmp_path).device()
    bare = type(here)(here.facts, lambda: {"builder": "1"}, here.open_runner, here.measure)
    with pytest.raises(UsageError, match=r"'onnxruntime' cannot run here.*one of builder"):
        open_agent(Settings(data_dir=tmp_path / "data"), bare)
    assert not (tmp_path / "data").exists()
