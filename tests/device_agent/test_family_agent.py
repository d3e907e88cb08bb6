"""Families over HTTP: put, asked, pinned, removed, remembered; and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from device_agent.device import Device, local_device
from device_agent.scheduler import Wanted
from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.messages import FamilyRequest, ServedFamily
from edge_s4op.runtime import Array, Runner, RunnerOptions
from host.export import export_model
from tests.device_agent.agent_helpers import scaling_artifact, sum_artifact
from tests.device_agent.agent_requests import first_output, infer, serve, upload
from tests.device_agent.fakes import wait_until
from tests.host.export_samples import KEPT, sample_model

FULL, FAST = scaling_artifact(2.0), scaling_artifact(3.0)


def body(*artifacts: Artifact, **more: object) -> dict:
    """A family of artifacts, "v0" the most accurate."""
    variants = [
        {"name": f"v{number}", "artifact_sha256": artifact.sha256, "accuracy": 0.9 - 0.1 * number}
        for number, artifact in enumerate(artifacts)
    ]
    return {"variants": variants, "objective": {"p99_ms": 60_000}, **more}


def put(http: httpx.Client, name: str, *artifacts: Artifact, **more: object) -> httpx.Response:
    for artifact in artifacts:
        upload(http, artifact)
    return http.put(f"/v1/families/{name}", json=body(*artifacts, **more))


def pin(http: httpx.Client, name: str, variant: str | None) -> httpx.Response:
    return http.post(f"/v1/families/{name}/pin", json={"variant": variant})


def test_a_family_is_served_pinned_and_removed(http: httpx.Client) -> None:
    answer = put(http, "f", FULL, FAST)
    assert answer.status_code == 200, answer.text
    served = ServedFamily.model_validate(answer.json())
    assert (served.ready, served.current, served.pinned) == (True, "v0", None)
    assert all(each.ready and each.run_ms > 0 and each.capacity_per_s > 0 for each in served.variants)

    answer = infer(http, "f")
    assert first_output(answer) == [2, 4, 6]
    assert answer.json()["model_name"] == "f"
    assert answer.json()["parameters"]["variant"] == answer.headers["s4op-variant"] == "v0"

    assert pin(http, "f", "v1").json()["current"] == "v1"
    answer = infer(http, "f")
    assert (first_output(answer), answer.headers["s4op-variant"]) == ([3, 6, 9], "v1")
    listed = http.get("/v1/families").json()
    assert [(each["name"], each["pinned"]) for each in listed] == [("f", "v1")]
    assert [switch["to_variant"] for switch in listed[0]["switches"]] == ["v1"]
    assert [each["answered"] for each in listed[0]["variants"]] == [1, 1]
    assert listed[0]["met_share"] == 1

    assert http.delete("/v1/families/f").status_code == 204
    assert http.get("/v1/families").json() == []
    for answer in (infer(http, "f"), http.get("/v1/families/f"), http.delete("/v1/families/f")):
        assert answer.status_code == 404


def test_clients_of_the_protocol_see_a_model(http: httpx.Client) -> None:
    put(http, "f", FULL, FAST)
    metadata = http.get("/v2/models/f").json()
    assert (metadata["name"], metadata["versions"]) == ("f", ["1"])
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert http.get("/v2/models/f/ready").status_code == 200
    assert http.get("/v2/models/f/config").json()["name"] == "f"
    assert http.post("/v2/repository/index", json={}).json() == [
        {"name": "f", "version": "1", "state": "READY", "reason": ""}
    ]
    infer(http, "f")
    pin(http, "f", "v1")
    infer(http, "f")
    statistics = http.get("/v2/models/f/stats").json()["model_stats"][0]
    assert (statistics["inference_count"], statistics["inference_stats"]["success"]["count"]) == (2, 2)


def test_a_restart_serves_the_same_with_the_same_pin(start) -> None:
    http = start()
    put(http, "f", FULL, FAST, max_batch=4)
    put(http, "gone", FULL, FAST)
    pin(http, "f", "v1")
    http.delete("/v1/families/gone")
    before = http.get("/v1/families/f").json()
    http.__exit__(None, None, None)

    http = start()
    wait_until(lambda: http.get("/v1/families/f").json()["ready"])
    after = http.get("/v1/families/f").json()
    assert (after["serving"], after["pinned"], after["current"]) == (before["serving"], "v1", "v1")
    assert first_output(infer(http, "f")) == [3, 6, 9]
    assert infer(http, "gone").status_code == 404


def test_a_restart_does_without_a_variant_that_is_damaged_and_says_so(start, tmp_path: Path) -> None:
    http = start()
    put(http, "f", FULL, FAST)
    put(http, "lost", FULL)
    http.__exit__(None, None, None)
    (tmp_path / "data/artifacts" / f"{FULL.sha256}.onnx").write_bytes(FULL.content[:100])

    http = start()
    wait_until(lambda: http.get("/v1/families/lost").json()["error"] is not None)
    family = http.get("/v1/families/f").json()
    assert [each["ready"] for each in family["variants"]] == [False, True]
    assert "damaged" in family["variants"][0]["error"]
    assert infer(http, "f").headers["s4op-variant"] == "v1"
    assert pin(http, "f", "v0").status_code == 404
    answer = infer(http, "lost")
    assert answer.status_code == 503
    assert "no variant can be loaded" in answer.json()["error"]
    assert http.get("/v2/health/ready").status_code == 200
    assert put(http, "f", FULL, FAST).json()["variants"][0]["ready"]


def test_models_and_families_share_their_names(http: httpx.Client) -> None:
    serve(http, "model", FULL)
    put(http, "family", FULL, FAST)
    answer = put(http, "model", FULL, FAST)
    assert (answer.status_code, "a model is served as 'model'" in answer.json()["error"]) == (409, True)
    assert serve(http, "family", FULL).status_code == 409
    assert first_output(infer(http, "model")) == [2, 4, 6]


def test_the_files_of_a_family_stay(http: httpx.Client) -> None:
    put(http, "f", FULL, FAST)
    answer = http.delete(f"/v1/artifacts/{FAST.sha256}")
    assert answer.status_code == 409
    assert "a variant of the family 'f'" in answer.json()["error"]
    http.delete("/v1/families/f")
    assert http.delete(f"/v1/artifacts/{FAST.sha256}").status_code == 204


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"variants": []}, 400, "variants"),
        ({"variants": [{"name": "a", "artifact_sha256": "0" * 64}] * 2}, 400, "two have the name 'a'"),
        (
            {"variants": [{"name": name, "artifact_sha256": "0" * 64} for name in "ab"]},
            400,
            "two have the artifact_sha256",
        ),
        ({"variants": [{"name": "a", "artifact_sha256": "0" * 64}]}, 404, "upload it first"),
        ({"variants": [{"name": "-", "artifact_sha256": "0" * 64}]}, 400, "variants.0.name"),
        ({"variants": [{"name": "a", "artifact_sha256": "0" * 64, "accuracy": 97}]}, 400, "accuracy"),
        ({"objective": {}}, 400, "either p99_ms or p50_ms"),
        ({"objective": {"p99_ms": 1, "p50_ms": 1}}, 400, "either p99_ms or p50_ms"),
        ({"objective": {"p99_ms": 0}}, 400, "objective.p99_ms"),
        ({"policy": {"recover_margin": 1.5}}, 400, "policy.recover_margin"),
        ({"policy": {"colour": 1}}, 400, "policy.colour"),
        ({"threads": 0}, 400, "threads"),
        ({"backend": "onnx-runtime"}, 400, "did you mean onnxruntime?"),
    ],
)
def test_a_wrong_request_names_the_field(http: httpx.Client, changes: dict, status: int, text: str) -> None:
    upload(http, FULL)
    answer = http.put("/v1/families/f", json=body(FULL) | changes)
    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text
    assert http.get("/v1/families").json() == []
    assert serve(http, "f", FULL).status_code == 200  # the name is free


def test_variants_that_differ_in_their_inputs_are_refused_with_what_differs(http: httpx.Client) -> None:
    answer = put(http, "f", FULL, sum_artifact())
    assert answer.status_code == 400
    assert "'v0' and 'v1' differ in their inputs" in answer.json()["error"]
    assert "name='x'" in answer.json()["error"]
    assert "name='a'" in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"variant": 3}', b'{"variant": "v0", "x": 1}'])
def test_a_wrong_pin_is_400(http: httpx.Client, content: bytes) -> None:
    put(http, "f", FULL, FAST)
    answer = http.post("/v1/families/f/pin", content=content)
    assert answer.status_code == 400
    assert pin(http, "none", "v0").status_code == 404
    assert pin(http, "f", "v7").status_code == 404


class Opening:
    """This machine, where files are opened when the test allows, and runs last as long as it says."""

    def __init__(self) -> None:
        self.may_open, self.may_run = threading.Event(), threading.Event()
        self.may_open.set()
        self.may_run.set()
        self.here, self.slow_sha256 = local_device(), FULL.sha256

    def device(self) -> Device:
        return Device(self.here.facts, self.here.backends, self._open, self.here.measure)

    def _open(self, artifact: Artifact, backend: str, options: RunnerOptions) -> Runner:
        assert self.may_open.wait(20)
        runner = self.here.open_runner(artifact, backend, options)
        return Slow(runner, self.may_run) if artifact.sha256 == self.slow_sha256 else runner


class Slow:
    def __init__(self, runner: Runner, may_run: threading.Event) -> None:
        self._runner, self._may_run = runner, may_run
        self.backend, self.backend_version = runner.backend, runner.backend_version
        self.manifest = runner.manifest

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        threading.Event().wait(0.01)
        assert self._may_run.wait(30)
        return self._runner.run(feeds)

    def close(self) -> None:
        self._runner.close()


def test_while_it_loads_it_is_202_then_503_for_requests_and_its_name_is_taken(start) -> None:
    opening = Opening()
    http = start(device=opening.device())
    for artifact in (FULL, FAST):
        upload(http, artifact)
    opening.may_open.clear()
    headers = {"Prefer": "respond-async"}
    answer = http.put("/v1/families/f", json=body(FULL, FAST), headers=headers)
    assert answer.status_code == 202
    wait_until(lambda: "variant 1 of 2" in http.get("/v1/families/f").json()["stage"])
    answer = infer(http, "f")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert http.post("/v2/repository/index").json()[0]["state"] == "LOADING"
    assert serve(http, "f", FULL).status_code == 409
    opening.may_open.set()
    assert http.put("/v1/families/f", json=body(FULL, FAST)).json()["ready"]
    assert first_output(infer(http, "f")) == [2, 4, 6]


def test_removed_while_it_loads_it_is_gone(start) -> None:
    opening = Opening()
    http = start(device=opening.device())
    upload(http, FULL)
    opening.may_open.clear()
    http.put("/v1/families/f", json=body(FULL), headers={"Prefer": "respond-async"})
    assert http.delete("/v1/families/f").status_code == 204
    opening.may_open.set()
    assert http.get("/v1/families").json() == []
    assert serve(http, "f", FULL).status_code == 200


@pytest.mark.parametrize(("asked", "found"), [(6, {6}), (None, {1, 2, 4, 8})])
def test_a_family_s_configuration_says_how_many_rows_are_joined(
    http: httpx.Client, asked: int | None, found: set[int]
) -> None:
    put(http, "f", FULL, FAST, max_batch=asked)
    scheduler = http.app.state.agent.families._slots["f"].family.members[0].scheduler
    size = http.get("/v2/models/f/config").json()["max_batch_size"]
    assert size == scheduler._policy.max_batch
    assert size in found


def test_a_refused_replacement_leaves_the_old_family(http: httpx.Client) -> None:
    put(http, "f", FULL, FAST)
    assert put(http, "f", FULL, sum_artifact()).status_code == 400
    assert first_output(infer(http, "f")) == [2, 4, 6]


def test_a_family_is_replaced_without_a_gap(http: httpx.Client) -> None:
    put(http, "f", FULL, FAST)
    third, stop = scaling_artifact(5.0), threading.Event()

    def ask() -> set[tuple[float, ...]]:
        found = set()
        while not stop.is_set():
            found.add(tuple(first_output(infer(http, "f"))))
        return found

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        for turn in range(4):
            assert put(http, "f", *((third, FAST) if turn % 2 == 0 else (FULL, FAST))).status_code == 200
        stop.set()
        found = set.union(*(each.result() for each in asking))
    assert found <= {(2, 4, 6), (5, 10, 15)}


def test_a_long_queue_moves_requests_to_the_faster_variant(start) -> None:
    """One request is stuck in the slow variant; those behind it are answered by the other meanwhile."""
    opening = Opening()
    http = start(device=opening.device())
    put(http, "f", FULL, FAST, policy={"queue_limit": 5, "recover_s": 600}, max_batch=1)
    opening.may_run.clear()
    with ThreadPoolExecutor(20) as threads:
        asking = [threads.submit(infer, http, "f") for _ in range(20)]
        wait_until(lambda: sum(each.done() for each in asking) == 19)
        opening.may_run.set()
        answers = [each.result() for each in asking]
    variants = [answer.headers["s4op-variant"] for answer in answers]
    assert (variants.count("v0"), variants.count("v1")) == (1, 19)
    assert all(
        first_output(answer) == ([2, 4, 6] if variant == "v0" else [3, 6, 9])
        for answer, variant in zip(answers, variants, strict=True)
    )
    family = http.get("/v1/families/f").json()
    assert [switch["to_variant"] for switch in family["switches"]] == ["v1"]
    assert "requests wait" in family["switches"][0]["reason"]


def test_an_agent_that_stops_answers_what_waits_for_a_family(start) -> None:
    opening = Opening()
    http = start(device=opening.device(), drain_s=20)
    put(http, "f", FULL, FAST)
    pin(http, "f", "v0")
    agent = http.app.state.agent
    opening.may_run.clear()
    wanted = Wanted({"x": np.array([[1, 2, 3]], np.float32)})
    futures = [agent.serving.model("f").submit(wanted) for _ in range(5)]
    threading.Timer(0.1, opening.may_run.set).start()
    agent.drain()
    assert [future.result(0).outputs["y"].tolist() for future in futures] == [[[2, 4, 6]]] * 5
    assert infer(http, "f").status_code == 503


def test_two_exported_variants_answer_as_themselves(http: httpx.Client) -> None:
    """Pruned differently, they give different numbers; each is what its own file gives."""
    whole, pruned = sample_model(), sample_model()
    whole.set_kept_operators(((0, 1, 2, 3, 4, 5, 6, 7),) * len(KEPT))
    artifacts = [export_model(model) for model in (whole, pruned)]
    client = AgentClient(http)
    for artifact in artifacts:
        client.put_artifact(artifact)
    client.serve_family("ssm", FamilyRequest.model_validate(body(*artifacts)))
    info = artifacts[0].manifest.inputs[0]
    x = np.random.default_rng(0).standard_normal((2, *info.shape[1:]), np.float32)
    for variant, model in (("v0", whole), ("v1", pruned)):
        assert client.pin("ssm", variant).current == variant
        found = next(iter(client.infer("ssm", {info.name: x}).values()))
        with torch.no_grad():
            np.testing.assert_allclose(found, model(torch.from_numpy(x)).numpy(), atol=1e-4)
    client.unserve_family("ssm")
