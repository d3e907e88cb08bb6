"""The page's files and the API's description, as HTTP gives them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_s4op.messages import Job, MeasurementRequest
from tests.device_agent.agent_helpers import REPOSITORY, scaling_artifact
from tests.device_agent.agent_requests import ended, serve, submitted, upload
from tests.device_agent.conftest import Start, TestClient
from tests.device_agent.fakes import Gate, gated_device

FOLDER = REPOSITORY / "device_agent" / "page"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.is_file())
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@pytest.mark.parametrize("path", ["/", "/docs", *(f"/page/{name}" for name in FILES)])
def test_a_file_has_its_type_and_may_load_nothing_from_elsewhere(http: TestClient, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(
        TYPES[path.rpartition(".")[2] if "." in path else "html"]
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_an_address_elsewhere(name: str) -> None:
    addresses = re.findall(r"https?://[^\s\"'`<>)]+", (FOLDER / name).read_text())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a namespace, not loaded


@pytest.mark.parametrize("name", FILES)
def test_no_file_needs_what_the_policy_forbids(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=\"|innerHTML|eval\(", text)


def test_an_unchanged_file_is_not_sent_again(http: TestClient) -> None:
    first = http.get("/page/page.js")
    assert first.headers["cache-control"] == "no-cache"
    again = http.get("/page/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert http.get("/page/page.js", headers={"If-None-Match": '"another"'}).status_code == 200
    assert http.head("/").status_code == 200


@pytest.mark.parametrize("name", ["../settings.py", "..%2fsettings.py", "%2e%2e/agent.py", "__init__.py", ""])
def test_nothing_but_the_pages_files_is_served(http: TestClient, name: str) -> None:
    assert http.get(f"/page/{name}").status_code == 404


def test_the_pages_files_are_installed() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert '[tool.setuptools.package-data]\ndevice_agent = ["page/*"]\n' in text


def test_openapi_tells_of_every_v1_route_and_its_body(http: TestClient) -> None:
    described = http.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    assert all(path.startswith("/v1/") for path in described["paths"])
    assert {"/v1/device", "/v1/overview", "/v1/measurements/{job_id}/events"} <= described["paths"].keys()
    asked = described["paths"]["/v1/measurements"]["post"]
    assert asked["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/MeasurementRequest"
    )
    assert asked["summary"].startswith("Queue a measurement")
    fields = described["components"]["schemas"]["MeasurementRequest"]["properties"]
    assert fields.keys() == MeasurementRequest.model_fields.keys()
    assert "422" not in asked["responses"]


def test_every_reference_in_openapi_leads_somewhere(http: TestClient) -> None:
    text = http.get("/openapi.json").text
    described = json.loads(text)
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert wanted
    assert wanted <= described["components"]["schemas"].keys()


def test_an_overview_has_device_models_and_measurements(http: TestClient) -> None:
    artifact = scaling_artifact()
    serve(http, "m", artifact)
    job = ended(http, submitted(http, artifact))
    seen = http.get("/v1/overview").json()
    assert seen["device"]["cores"] >= 1
    assert [model["model"]["name"] for model in seen["models"]] == ["m"]
    assert seen["jobs"][0]["id"] == job.id
    assert seen["jobs"][0]["state"] == "succeeded"
    assert seen["jobs"][0]["median_ms"] == job.result.latency_ms.median
    assert (seen["artifacts"], seen["artifacts_bytes"]) == (1, len(artifact.content))


def test_an_overview_follows_a_measurement_that_newer_ones_hide(start: Start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    artifact = upload(http, scaling_artifact())
    running = submitted(http, artifact)
    assert gate.entered.acquire(timeout=20)
    for _ in range(55):
        submitted(http, artifact)
    jobs = {job["id"]: job for job in http.get("/v1/overview").json()["jobs"]}
    assert (jobs[running]["state"], jobs[running]["progress"]) == ("running", 0.5)
    for job in jobs:
        http.delete(f"/v1/measurements/{job}")
    jobs = {job["id"]: job for job in http.get("/v1/overview").json()["jobs"]}
    assert "queued" not in {job["state"] for job in jobs.values()}


def test_a_file_sent_without_its_hash_gets_it(http: TestClient) -> None:
    artifact = scaling_artifact()
    answer = http.post("/v1/artifacts", content=artifact.content)
    assert (answer.status_code, answer.json()["sha256"]) == (201, artifact.sha256)
    assert answer.headers["location"] == f"/v1/artifacts/{artifact.sha256}"
    assert http.post("/v1/artifacts", content=artifact.content).status_code == 200
    assert Job.model_validate(http.get(f"/v1/measurements/{submitted(http, artifact)}").json())


def test_a_file_sent_without_its_hash_leaves_nothing_when_it_is_bad(start: Start, tmp_path: Path) -> None:
    http = start(max_artifact_bytes=1000)
    assert http.post("/v1/artifacts", content=b"garbage").status_code == 400
    assert http.post("/v1/artifacts", content=b"x" * 1001).status_code == 413
    assert list((tmp_path / "data" / "artifacts").iterdir()) == []
