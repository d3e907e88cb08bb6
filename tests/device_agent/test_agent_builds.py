"""Building engines: in a child, within limits, visible, stoppable; whatever it does, the agent lives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import httpx
import pytest

from edge_s4op.client import AgentClient
from edge_s4op.messages import ServedModel, ServeRequest
from edge_s4op.runtime import available_backends
from tests.device_agent import builder
from tests.device_agent.agent_helpers import REPOSITORY, scaling_artifact
from tests.device_agent.agent_requests import (
    ended,
    first_output,
    infer,
    job_of,
    serve,
    submitted,
    upload,
)
from tests.device_agent.builder import Builder
from tests.device_agent.fakes import wait_until

FAILURES = [
    pytest.param(builder.CRASHES, {}, "the process crashed: SIGSEGV", id="crash"),
    pytest.param(builder.TAKES_MEMORY, {"build_memory_mb": 200}, "at most 200 MiB; found", id="memory"),
    pytest.param(
        builder.NEVER_ENDS, {"build_timeout_s": 0.5}, "took too long; expected at most 0.5 s", id="time"
    ),
    pytest.param(
        builder.REFUSES, {}, "the parser refuses the node block0/ssm; export it again", id="refusal"
    ),
]


def test_a_job_shows_its_build_and_then_its_measurement(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.BUILDS_ONCE_ALLOWED)
    http = start(device=engines.device())
    artifact = upload(http, scaling_artifact())
    job_id = submitted(http, artifact, backend="builder", batch=4, max_duration_ms=300, precision=1e-9)
    wait_until(lambda: job_of(http, job_id).stage == "building engine")
    assert job_of(http, job_id).progress == 0.25
    engines.allow()
    wait_until(lambda: job_of(http, job_id).stage == "measuring")
    job = ended(http, job_id)
    assert (job.state, job.stage, job.progress) == ("succeeded", None, 1)
    assert job.result.request.backend == "builder"
    assert engines.options[0].batch == 4


@pytest.mark.parametrize(("work", "limits", "reason"), FAILURES)
def test_a_failed_build_is_a_failed_measurement_with_its_reason(
    start, tmp_path: Path, work: str, limits: dict, reason: str
) -> None:
    engines = Builder(tmp_path, work)
    http = start(device=engines.device(), **limits)
    artifact = upload(http, scaling_artifact(2.0))
    serve(http, "m", artifact)
    job = ended(http, submitted(http, artifact, backend="builder"))
    assert (job.state, job.result) == ("failed", None)
    assert reason in job.error
    assert engines.child_is_gone()
    assert ended(http, submitted(http, artifact)).state == "succeeded"
    assert first_output(infer(http, "m")) == [2, 4, 6]


@pytest.mark.parametrize(("work", "limits", "reason"), FAILURES)
def test_a_failed_build_leaves_what_was_served(
    start, tmp_path: Path, work: str, limits: dict, reason: str
) -> None:
    engines = Builder(tmp_path, work)
    http = start(device=engines.device(), **limits)
    serve(http, "m", scaling_artifact(2.0))
    answer = serve(http, "m", scaling_artifact(3.0), backend="builder")
    assert answer.status_code == (400 if work == builder.REFUSES else 500)
    assert reason in answer.json()["error"]
    assert serve(http, "new", scaling_artifact(3.0), backend="builder").status_code == answer.status_code
    assert [model["name"] for model in http.get("/v1/models").json()] == ["m"]
    assert first_output(infer(http, "m")) == [2, 4, 6]
    engines.work = builder.BUILDS
    assert serve(http, "m", scaling_artifact(3.0), backend="builder").status_code == 200
    assert first_output(infer(http, "m")) == [3, 6, 9]


def test_a_model_whose_engine_cannot_be_built_again_is_listed_with_the_reason(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path)
    http = start(device=engines.device())
    serve(http, "m", scaling_artifact(), backend="builder")
    http.__exit__(None, None, None)
    engines.work = builder.CRASHES
    http = start(device=engines.device())
    wait_until(lambda: http.get("/v1/models").json()[0]["error"] is not None)
    model = http.get("/v1/models").json()[0]
    assert not model["ready"]
    assert "SIGSEGV" in model["error"]
    assert "SIGSEGV" in infer(http, "m").json()["error"]
    assert http.get("/v2/health/ready").status_code == 200


def test_cancelling_a_measurement_stops_its_build(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.NEVER_ENDS)
    http = start(device=engines.device())
    job_id = submitted(http, upload(http, scaling_artifact()), backend="builder")
    wait_until(lambda: job_of(http, job_id).stage == "building engine")
    http.delete(f"/v1/measurements/{job_id}")
    assert ended(http, job_id).state == "cancelled"
    assert engines.child_is_gone()


def test_a_stopping_agent_ends_its_build_and_queues_the_measurement_again(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.NEVER_ENDS)
    http = start(device=engines.device())
    job_id = submitted(http, upload(http, scaling_artifact()), backend="builder")
    wait_until(lambda: job_of(http, job_id).stage == "building engine")
    http.__exit__(None, None, None)
    assert engines.child_is_gone()
    engines.work = builder.BUILDS
    assert ended(start(device=engines.device()), job_id).state == "succeeded"


def test_a_stopping_agent_ends_the_build_of_a_model(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.NEVER_ENDS)
    http = start(device=engines.device())
    assert _begun(http, scaling_artifact()).status_code == 202
    wait_until(lambda: (tmp_path / "pid").exists())
    http.__exit__(None, None, None)
    assert engines.child_is_gone()
    assert start(device=engines.device()).get("/v1/models").json() == []


AGENT = """
import sys
from pathlib import Path
from device_agent.agent import open_agent
from device_agent.server import listen, run, url_of
from device_agent.settings import Settings
from tests.device_agent.builder import NEVER_ENDS, Builder

folder = Path(sys.argv[1])
agent = open_agent(Settings(data_dir=folder / "data"), Builder(folder, NEVER_ENDS).device())
with listen("127.0.0.1", 0) as listener:
    url = url_of(listener)
    run(agent, listener, lambda: print(url, flush=True))
"""


def test_a_signal_ends_the_agent_and_its_build_while_a_client_waits(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "agent.py"), str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as agent:
        try:
            with httpx.Client(base_url=agent.stdout.readline().strip(), trust_env=False) as http:
                answers: list[httpx.Response] = []
                target = partial(serve, http, "m", scaling_artifact(), backend="builder")
                waiting = threading.Thread(target=lambda: answers.append(target()))
                waiting.start()
                wait_until(lambda: (tmp_path / "pid").exists())
                agent.terminate()
                assert agent.wait(5) == 0
                waiting.join(5)
        finally:
            agent.kill()
        said = agent.stderr.read()
    assert answers[0].status_code == 503
    assert "the agent is stopping" in answers[0].json()["error"]
    assert "Traceback" not in said
    assert Builder(tmp_path).child_is_gone()


def test_inference_goes_on_while_an_engine_is_built(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.BUILDS_ONCE_ALLOWED)
    http = start(device=engines.device(), lease_wait_s=0.2)
    serve(http, "m", scaling_artifact(2.0))
    job_id = submitted(http, scaling_artifact(2.0), backend="builder")
    wait_until(lambda: job_of(http, job_id).stage == "building engine")
    assert first_output(infer(http, "m")) == [2, 4, 6]
    answer = serve(http, "other", scaling_artifact(2.0))
    assert answer.status_code == 503
    assert f"measurement {job_id}" in answer.json()["error"]
    engines.allow()
    assert ended(http, job_id).state == "succeeded"


def test_one_engine_is_built_at_a_time(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, "time.sleep(0.1)\n" + builder.BUILDS)
    http = start(device=engines.device())
    artifacts = [upload(http, scaling_artifact(factor)) for factor in (1.0, 2.0, 3.0)]
    jobs = [submitted(http, artifact, backend="builder") for artifact in artifacts]
    served = [
        threading.Thread(target=serve, args=(http, name, artifacts[0]), kwargs={"backend": "builder"})
        for name in ("a", "b")
    ]
    for thread in served:
        thread.start()
    for thread in served:
        thread.join()
    assert {ended(http, job_id).state for job_id in jobs} == {"succeeded"}
    assert [model["ready"] for model in http.get("/v1/models").json()] == [True, True]
    assert (len(engines.options), engines.most_together) == (5, 1)


def _begun(http: httpx.Client, artifact, name: str = "m") -> httpx.Response:
    """Ask to serve without waiting for the end."""
    return serve(http, name, artifact, backend="builder", headers={"Prefer": "respond-async, wait=0"})


def test_who_does_not_want_to_wait_is_told_how_far_it_is(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.BUILDS_ONCE_ALLOWED)
    http = start(device=engines.device())
    artifact = scaling_artifact(2.0)
    assert _begun(http, artifact).status_code == 202
    wait_until(lambda: _begun(http, artifact).json()["stage"] == "building engine")
    answer = _begun(http, artifact)
    assert (answer.json()["ready"], answer.json()["progress"]) == (False, 0.25)
    assert http.get("/v1/models").json() == [answer.json()]
    assert "being loaded" in infer(http, "m").json()["error"]
    engines.allow()
    assert serve(http, "m", artifact, backend="builder").json()["ready"]  # joins, and waits
    assert first_output(infer(http, "m")) == [2, 4, 6]
    assert len(engines.options) == 1


def test_who_polls_is_told_of_the_failure_once_and_then_may_try_again(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.CRASHES)
    http = start(device=engines.device())
    artifact = scaling_artifact(2.0)
    assert _begun(http, artifact).status_code == 202
    wait_until(lambda: http.get("/v1/models").json()[0]["error"] is not None)
    assert "SIGSEGV" in _begun(http, artifact).json()["error"]
    assert http.get("/v1/models").json() == []
    engines.work = builder.BUILDS
    assert serve(http, "m", artifact, backend="builder").status_code == 200


def test_removing_a_model_stops_its_build(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.NEVER_ENDS)
    http = start(device=engines.device())
    answers: list[httpx.Response] = []
    arguments = {"target": lambda: answers.append(serve(http, "m", scaling_artifact(), backend="builder"))}
    waiting = threading.Thread(**arguments)
    waiting.start()
    wait_until(lambda: (tmp_path / "pid").exists())
    assert http.delete("/v1/models/m").status_code == 204
    waiting.join(10)
    assert answers[0].status_code == 409
    assert "removed or replaced" in answers[0].json()["error"]
    assert http.get("/v1/models").json() == []
    assert engines.child_is_gone()


def test_another_artifact_takes_the_place_of_the_one_being_loaded(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.NEVER_ENDS)
    http = start(device=engines.device())
    assert _begun(http, scaling_artifact(2.0)).status_code == 202
    wait_until(lambda: (tmp_path / "pid").exists())
    assert serve(http, "m", scaling_artifact(3.0)).status_code == 200
    assert first_output(infer(http, "m")) == [3, 6, 9]
    assert engines.child_is_gone()


def test_the_client_follows_a_build_to_its_end(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path, builder.BUILDS_ONCE_ALLOWED)
    artifact = scaling_artifact(2.0)
    client = AgentClient(start(device=engines.device()))
    client.put_artifact(artifact)
    stages: list[str | None] = []

    def follow(served: ServedModel) -> None:
        stages.append(served.stage)
        engines.allow()

    request = ServeRequest(artifact_sha256=artifact.sha256, backend="builder", max_batch=8)
    assert client.serve("m", request, on_progress=follow).ready
    assert stages == ["building engine", None]
    assert engines.options[0].batch == 8


def test_engines_are_kept_in_the_data_folder_or_where_the_settings_say(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path)
    http = start(device=engines.device())
    serve(http, "m", scaling_artifact(), threads=2)
    assert engines.options[-1].engine_dir == tmp_path / "data/engines"
    assert (engines.options[-1].threads, engines.options[-1].build_memory_bytes) == (2, None)
    http.__exit__(None, None, None)
    limits = {"build_memory_mb": 3, "build_timeout_s": 7}
    start(device=engines.device(), engine_dir=tmp_path / "mine", **limits)
    wait_until(lambda: len(engines.options) == 2)
    options = engines.options[-1]
    assert (options.engine_dir, options.build_memory_bytes) == (tmp_path / "mine", 3 << 20)
    assert options.build_timeout_s == 7


@pytest.mark.skipif(
    "tensorrt" not in available_backends(),
    reason="neither tensorrt nor tensorrt_rtx can be imported: install one (tensorrt-rtx needs no GPU)",
)
def test_tensorrt_without_a_gpu_is_a_reason_and_no_harm(start) -> None:
    http = start(backend="tensorrt")
    artifact = upload(http, scaling_artifact())
    job = ended(http, submitted(http, artifact))
    if job.state == "succeeded":
        pytest.skip("this machine has a GPU: run on one without")
    assert job.request.backend == "tensorrt"
    assert "CUDA" in job.error
    assert "CUDA" in serve(http, "m", artifact).json()["error"]
    assert ended(http, submitted(http, artifact, backend="onnxruntime")).state == "succeeded"
