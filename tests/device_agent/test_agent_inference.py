"""Open Inference Protocol: what is right is answered exactly, what is wrong is a 400 that says why."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from edge_s4op.artifact import Artifact
from tests.device_agent.agent_helpers import logarithm_artifact, scaling_artifact, sum_artifact

X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}


def serve(http: httpx.Client, artifact: Artifact, name: str = "m") -> None:
    http.put(f"/v1/artifacts/{artifact.sha256}", content=artifact.content)
    assert http.put(f"/v1/models/{name}", json={"artifact_sha256": artifact.sha256}).status_code == 200


@pytest.fixture
def served(http: httpx.Client) -> httpx.Client:
    serve(http, scaling_artifact(2.0))
    return http


def ask(http: httpx.Client, body: object, path: str = "/v2/models/m/infer") -> httpx.Response:
    # as bytes: no Content-Type header, which tritonclient does not send either
    return http.post(path, content=body if isinstance(body, bytes) else json.dumps(body).encode())


def test_the_answer_is_the_protocols(served: httpx.Client) -> None:
    answer = ask(served, {"id": "abc", "inputs": [X]})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    doubled = [2, 4, 6, 8, 10, 12]
    assert answer.json() == {
        "model_name": "m",
        "model_version": "1",
        "id": "abc",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": doubled},
            {"name": "z", "datatype": "FP32", "shape": [2, 3], "data": [-value for value in doubled]},
        ],
    }
    assert "id" not in ask(served, {"inputs": [X]}).json()


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"])
@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], [1.0, 2, 3.0, 4, 5e0, 6]])
def test_flat_and_nested_data_mean_the_same(served: httpx.Client, path: str, data: list) -> None:
    answer = ask(served, {"inputs": [X | {"data": data}]}, path)
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("names", [["z"], ["z", "y"], ["y"]])
def test_outputs_come_as_asked_for(served: httpx.Client, names: list[str]) -> None:
    outputs = [{"name": name, "parameters": {"binary_data": False}} for name in names]
    answer = ask(served, {"inputs": [X], "outputs": outputs})
    assert [output["name"] for output in answer.json()["outputs"]] == names


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "INT64"])
def test_every_datatype_goes_in_and_out(http: httpx.Client, datatype: str) -> None:
    serve(http, scaling_artifact(3.0, datatype=datatype))
    answer = ask(http, {"inputs": [X | {"datatype": datatype}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["datatype"] == datatype
    assert answer.json()["outputs"][0]["data"] == [3, 6, 9, 12, 15, 18]


def test_a_float_keeps_every_bit(served: httpx.Client) -> None:
    values = [0.1, 1e-45, 3.4028234663852886e38 / 4, -0.0, 1 / 3, 16777217]
    answer = ask(served, {"inputs": [X | {"data": values}]})
    expected = [0.20000000298023224, 2.802596928649634e-45, 1.7014117331926443e38, 0.0, 0.6666666865348816]
    assert answer.json()["outputs"][0]["data"] == [*expected, 33554432]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "w"}, "unknown input 'w'"),
    ({"name": 3}, "no name"),
    ({"datatype": "FP16"}, "expected FP32"),
    ({"datatype": "INT64"}, "expected FP32"),
    ({"datatype": "BYTES"}, "expected one of FP32, FP16, INT64; found 'BYTES'"),
    ({"datatype": None}, "datatype"),
    ({"shape": [3, 2]}, "wrong shape; expected [-1, 3]"),
    ({"shape": [6]}, "wrong shape"),
    ({"shape": [1, 2, 3]}, "wrong shape"),
    ({"shape": [0, 3], "data": []}, "wrong shape"),
    ({"shape": [2, 4]}, "expected 8 numbers"),
    ({"shape": [-1, 3]}, "no valid shape"),
    ({"shape": [2.0, 3]}, "no valid shape"),
    ({"shape": [True, 3]}, "no valid shape"),
    ({"shape": "2,3"}, "no valid shape"),
    ({"shape": [2**40, 2**40]}, "no valid shape"),
    ({"shape": [2**31 - 1] * 500}, "at most 32 sizes"),  # a product of 4700 digits
    ({"shape": [1] * 40 + [6]}, "at most 32 sizes"),
    ({"shape": [0, *[2**31 - 1] * 3], "data": []}, "no array of shape"),
    ({"data": [1, 2, 3, 4, 5]}, "found 5"),
    ({"data": [[1, 2, 3], [4, 5]]}, "not nested"),
    ({"data": [[1, 2], [3, 4], [5, 6]]}, "not nested"),
    ({"data": [[1, 2, 3], 4]}, "not nested"),
    ({"data": [[[1], [2], [3]], [[4], [5], [6]]]}, "found list"),
    ({"data": [1, 2, 3, 4, 5, "6"]}, "found str"),
    ({"data": [1, 2, 3, 4, 5, None]}, "found NoneType"),
    ({"data": [1, 2, 3, 4, 5, True]}, "found bool"),
    ({"data": [1, 2, 3, 4, 5, {}]}, "found dict"),
    ({"data": "123456"}, "no data"),
    ({"data": None}, "no data"),
    ({"data": [1, 2, 3, 4, 5, 1e39]}, "too large for float32"),
    ({"data": [1, 2, 3, 4, 5, 10**400]}, "does not fit float32"),
    ({"data": [1, 2, 3, 4, 5, float("nan")]}, "NaN is no JSON number"),
    ({"data": [1, 2, 3, 4, 5, float("inf")]}, "Infinity is no JSON number"),
    ({"data": [1, 2, 3, 4, 5, float("-inf")]}, "-Infinity is no JSON number"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_wrong_tensor_is_400_with_its_reason(
    served: httpx.Client, change: dict[str, Any], reason: str
) -> None:
    answer = ask(served, {"inputs": [X | change]})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert reason in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [([1, 2, 2**63], "does not fit int64"), ([1, 2, 3.0], "found float"), ([1, 2, 100], "out of range")],
)
def test_a_wrong_token_is_400(http: httpx.Client, data: list, reason: str) -> None:
    serve(http, scaling_artifact(1, datatype="INT64"))
    answer = ask(http, {"inputs": [X | {"datatype": "INT64", "shape": [1, 3], "data": data}]})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"inputs": [' + b"9" * 5000 + b"]}", "not JSON"),
        ([], 'expected an object with "inputs"'),
        ({}, "no inputs"),
        ({"inputs": []}, "'x' is missing"),
        ({"inputs": {}}, "no inputs"),
        ({"inputs": [1]}, "no inputs"),
        ({"inputs": [X, X]}, "given twice"),
        ({"inputs": [X], "outputs": [{"name": "w"}]}, "unknown output"),
        ({"inputs": [X], "outputs": [{}]}, "unknown output"),
        ({"inputs": [X], "outputs": [{"name": ["y"]}]}, "unknown output"),
        ({"inputs": [X], "outputs": ["y"]}, "outputs"),
        ({"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]}, "twice"),
        ({"inputs": [X], "id": 5}, "id"),
        (json.dumps({"inputs": [X | {"name": "\ud800"}]}).encode(), "found \\ud800"),
    ],
)
def test_a_wrong_request_is_400_with_its_reason(served: httpx.Client, body: object, reason: str) -> None:
    answer = ask(served, body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert reason in answer.json()["error"]
    assert ask(served, {"inputs": [X]}).status_code == 200


def test_inputs_with_different_batches_or_missing_are_400(http: httpx.Client) -> None:
    serve(http, sum_artifact())
    a, b = X | {"name": "a"}, X | {"name": "b", "shape": [1, 3], "data": [1, 2, 3]}
    assert "different batch" in ask(http, {"inputs": [a, b]}).json()["error"]
    assert "'b' is missing" in ask(http, {"inputs": [a]}).json()["error"]
    answer = ask(http, {"inputs": [X | {"name": "b"}, a]})
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12]


def test_an_output_json_cannot_carry_is_500_and_says_so(http: httpx.Client) -> None:
    serve(http, logarithm_artifact())
    answer = ask(http, {"inputs": [X | {"data": [-1, 2, 3, 4, 5, 6]}]})
    assert answer.status_code == 500
    assert "output" in answer.json()["error"]
    assert "NaN" in answer.json()["error"]
    assert ask(http, {"inputs": [X]}).status_code == 200


def test_a_body_beyond_the_limit_is_413(start) -> None:
    http = start(max_body_bytes=200)
    serve(http, scaling_artifact())
    assert ask(http, {"inputs": [X]}).status_code == 200
    answer = ask(http, {"inputs": [X], "id": "x" * 200})
    assert answer.status_code == 413
    assert "200 bytes" in answer.json()["error"]


@pytest.mark.parametrize("name", ["unknown", "M"])
def test_an_unknown_model_is_404(served: httpx.Client, name: str) -> None:
    paths = [f"/v2/models/{name}", f"/v2/models/{name}/ready", f"/v2/models/{name}/versions/1"]
    asked = ask(served, {"inputs": [X]}, f"/v2/models/{name}/infer")
    for answer in [asked, *(served.get(path) for path in paths)]:
        assert answer.status_code == 404
        assert f"no model '{name}'" in answer.json()["error"]


def test_an_unknown_version_is_404(served: httpx.Client) -> None:
    for path in ("", "/ready"):
        assert served.get(f"/v2/models/m/versions/2{path}").status_code == 404
    answer = ask(served, {"inputs": [X]}, "/v2/models/m/versions/2/infer")
    assert answer.status_code == 404
    assert "version" in answer.json()["error"]


def test_metadata_and_health(served: httpx.Client) -> None:
    assert served.get("/v2").json()["name"] == "s4op-agent"
    assert served.get("/v2/health/live").json() == {"live": True}
    assert served.get("/v2/health/ready").json() == {"ready": True}
    for path in ("", "/versions/1"):
        assert served.get(f"/v2/models/m{path}").json() == {
            "name": "m",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "z", "datatype": "FP32", "shape": [-1, 3]},
            ],
        }
        assert served.get(f"/v2/models/m{path}/ready").json() == {"name": "m", "ready": True}
