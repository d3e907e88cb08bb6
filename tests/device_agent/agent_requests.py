"""What tests send to an agent again and again."""

from __future__ import annotations

import httpx

from edge_s4op.artifact import Artifact
from edge_s4op.messages import Job, MeasurementRequest
from tests.device_agent.fakes import wait_until

QUICK = {
    "warmup_ms": 0,
    "max_warmup_ms": 0,
    "cooldown_max_ms": 0,
    "max_duration_ms": 30,
    "min_iterations": 20,
}


def quick(artifact: Artifact, **changes: object) -> dict:
    """A measurement that takes a few milliseconds."""
    return MeasurementRequest(artifact_sha256=artifact.sha256, **QUICK | changes).model_dump()


def upload(http: httpx.Client, artifact: Artifact) -> Artifact:
    answer = http.put(f"/v1/artifacts/{artifact.sha256}", content=artifact.content)
    assert answer.status_code in (200, 201)
    return artifact


def submitted(http: httpx.Client, artifact: Artifact, **changes: object) -> str:
    answer = http.post("/v1/measurements", json=quick(artifact, **changes))
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def job_of(http: httpx.Client, job_id: str) -> Job:
    return Job.model_validate(http.get(f"/v1/measurements/{job_id}").json())


def ended(http: httpx.Client, job_id: str) -> Job:
    wait_until(lambda: job_of(http, job_id).state not in ("queued", "running"))
    return job_of(http, job_id)


def serve(http: httpx.Client, name: str, artifact: Artifact, **options: object) -> httpx.Response:
    upload(http, artifact)
    headers = options.pop("headers", None)
    return http.put(
        f"/v1/models/{name}", json={"artifact_sha256": artifact.sha256, **options}, headers=headers
    )


def serve_family(http: httpx.Client, name: str, **variants: Artifact) -> httpx.Response:
    """Serve `variants`, the first being the preferred one, under an objective that is easily kept."""
    named = [
        {"name": variant, "artifact_sha256": upload(http, artifact).sha256}
        for variant, artifact in variants.items()
    ]
    request = {"variants": named, "objective": {"p99_ms": 60_000}}
    return http.put(f"/v1/families/{name}", json=request)


def infer(http: httpx.Client, name: str) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    return http.post(f"/v2/models/{name}/infer", json={"inputs": [tensor], "outputs": [{"name": "y"}]})


def first_output(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]
