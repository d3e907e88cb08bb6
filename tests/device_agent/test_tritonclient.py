"""tritonclient[http], by its public API alone, against an agent that listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed: extra dev")

import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edge_s4op import __version__
from tests.device_agent.tritons import MODELS, X, agent_of_models, fed, wanted


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with agent_of_models(tmp_path_factory.mktemp("triton")) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        yield client


def test_the_server_says_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("s4op-agent", __version__)
    offered = {"binary_tensor_data", "classification", "model_repository", "model_configuration"}
    assert offered | {"schedule_policy", "sequence", "statistics", "parameters"} <= {*metadata["extensions"]}
    assert not any("shared_memory" in extension for extension in metadata["extensions"])


@pytest.mark.parametrize("version", ["", "1"])
def test_a_model_says_what_it_takes(client: triton.InferenceServerClient, version: str) -> None:
    assert client.is_model_ready("fp32", version)
    tensor = {"datatype": "FP32", "shape": [-1, 3]}
    assert client.get_model_metadata("fp32", version) == {
        "name": "fp32",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x"} | tensor],
        "outputs": [{"name": "y"} | tensor, {"name": "z"} | tensor],
    }


@pytest.mark.parametrize("version", ["", "1"])
def test_a_models_configuration_is_tritons(client: triton.InferenceServerClient, version: str) -> None:
    config = client.get_model_config("fp32", version)
    assert {key: config[key] for key in ("name", "platform", "backend", "max_batch_size")} == {
        "name": "fp32",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 8,
    }
    (taken,) = config["input"]
    assert (taken["name"], taken["data_type"], taken["dims"]) == ("x", "TYPE_FP32", [3])
    assert [(given["name"], given["dims"]) for given in config["output"]] == [("y", [3]), ("z", [3])]
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    assert (config["instance_group"][0]["kind"], config["instance_group"][0]["count"]) == ("KIND_CPU", 1)
    batching = config["dynamic_batching"]
    assert (batching["priority_levels"], batching["default_priority_level"]) == (3, 2)
    assert batching["default_queue_policy"]["max_queue_size"] == 256


@pytest.mark.parametrize("model", ["fp32", "fp16", "int64"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_every_datatype_in_both_directions(
    client: triton.InferenceServerClient, model: str, binary_in: bool, binary_out: bool
) -> None:
    x = X.astype({"fp32": np.float32, "fp16": np.float16, "int64": np.int64}[model])
    outputs = [wanted("z", binary_data=binary_out), wanted("y", binary_data=binary_out)]
    result = client.infer(model, [fed(x, binary=binary_in)], outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["z", "y"]
    for name, factor in (("y", 2), ("z", -2)):
        assert result.as_numpy(name).dtype == x.dtype
        np.testing.assert_array_equal(result.as_numpy(name), factor * x)
        assert ("parameters" in result.get_output(name)) == binary_out
        assert ("data" in result.get_output(name)) != binary_out


def test_outputs_nobody_named_all_come_in_binary(client: triton.InferenceServerClient) -> None:
    result = client.infer("fp32", [fed(X)])
    assert [output["parameters"] for output in result.get_response()["outputs"]] == [
        {"binary_data_size": 24},
        {"binary_data_size": 24},
    ]
    np.testing.assert_array_equal(result.as_numpy("z"), -2 * X)
    assert client.infer("fp32", [fed(X)], outputs=[wanted("y")]).as_numpy("z") is None


def test_one_output_in_json_beside_one_in_binary(client: triton.InferenceServerClient) -> None:
    outputs = [wanted("y", binary_data=False), wanted("z", binary_data=True)]
    result = client.infer("fp32", [fed(X)], outputs=outputs)
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)
    np.testing.assert_array_equal(result.as_numpy("z"), -2 * X)


def test_binary_carries_nan_and_infinity(client: triton.InferenceServerClient) -> None:
    result = client.infer("log", [fed(np.array([[-1, 0, np.inf]], dtype=np.float32))])
    np.testing.assert_array_equal(result.as_numpy("y"), [[np.nan, -np.inf, np.inf]])
    with pytest.raises(InferenceServerException, match=r"holds NaN or infinity.*ask for it in binary"):
        client.infer("log", [fed(-X)], outputs=[wanted("y", binary_data=False)])


@pytest.mark.parametrize("binary", [True, False])
def test_classes_instead_of_values(client: triton.InferenceServerClient, binary: bool) -> None:
    x = np.array([[1, 5, 3], [7, 7, 7]], dtype=np.float32)
    result = client.infer("labelled", [fed(x)], outputs=[wanted("y", binary_data=binary, class_count=2)])
    assert result.get_output("y")["datatype"] == "BYTES"
    texts = [
        [text if isinstance(text, str) else text.decode() for text in row] for row in result.as_numpy("y")
    ]
    assert texts == [["10.000000:1:pickle", "6.000000:2"], ["14.000000:0:apple", "14.000000:1:pickle"]]


def test_more_classes_than_there_are_are_all_of_them(client: triton.InferenceServerClient) -> None:
    x = np.array([[1, 5, 3]], dtype=np.int64)
    result = client.infer("int64", [fed(x)], outputs=[wanted("y", class_count=9)])
    np.testing.assert_array_equal(result.as_numpy("y"), [[b"10:1", b"6:2", b"2:0"]])


@pytest.mark.parametrize("request_algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_compressed_either_way(
    client: triton.InferenceServerClient,
    request_algorithm: str | None,
    response_algorithm: str | None,
    binary: bool,
) -> None:
    x = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    result = client.infer(
        "fp32",
        [fed(x, binary=binary)],
        outputs=[wanted("y", binary_data=binary)],
        request_compression_algorithm=request_algorithm,
        response_compression_algorithm=response_algorithm,
    )
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * x)


def test_a_request_has_its_id_back(client: triton.InferenceServerClient) -> None:
    assert client.infer("fp32", [fed(X)], request_id="abc").get_response()["id"] == "abc"
    response = client.infer("fp32", [fed(X)]).get_response()
    assert "id" not in response
    assert (response["model_name"], response["model_version"]) == ("fp32", "1")
    assert client.infer("fp32", [fed(X)], model_version="1").get_response()["model_version"] == "1"


def test_priority_and_timeout_are_taken(client: triton.InferenceServerClient) -> None:
    result = client.infer("fp32", [fed(X)], priority=1, timeout=10_000_000)
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)


def test_a_body_generated_and_parsed_by_hand(client: triton.InferenceServerClient) -> None:
    body, header_length = triton.InferenceServerClient.generate_request_body([fed(X)])
    assert header_length is not None
    assert len(body) == header_length + X.nbytes


@pytest.mark.parametrize(
    ("ask", "status", "text"),
    [
        (lambda c: c.infer("nobody", [fed(X)]), "404", "no model 'nobody' is served here"),
        (lambda c: c.infer("fp32", [fed(X)], model_version="2"), "404", "no version '2' of this model"),
        (lambda c: c.get_model_metadata("nobody"), "404", "no model 'nobody' is served here"),
        (lambda c: c.get_model_config("fp32", "3"), "404", "no version '3' of this model"),
        (lambda c: c.get_inference_statistics("nobody"), "404", "no model 'nobody' is served here"),
        (lambda c: c.load_model("nobody"), "404", "no model 'nobody'"),
        (lambda c: c.unload_model("nobody"), "404", "no model 'nobody'"),
        (lambda c: c.infer("fp32", [fed(X, name="w")]), "400", "unknown input 'w'"),
        (lambda c: c.infer("fp32", [fed(X), fed(X)]), "400", "input 'x' is given twice"),
        (lambda c: c.infer("fp32", [fed(X.astype(np.int64))]), "400", "expected FP32 (float32); found int64"),
        (lambda c: c.infer("fp32", [fed(X > 2)]), "400", "expected one of FP32, FP16, INT64; found 'BOOL'"),
        (lambda c: c.infer("fp32", [fed(X.astype(np.int32))]), "400", "found 'INT32'"),
        (lambda c: c.infer("fp32", [fed(np.array([b"a", b"b"], object))]), "400", "found 'BYTES'"),
        (lambda c: c.infer("fp32", [fed(X[:, :2].copy())]), "400", "wrong shape; expected [-1, 3]"),
        (lambda c: c.infer("fp32", [fed(X)], outputs=[wanted("w")]), "400", "unknown output"),
        (lambda c: c.infer("fp32", [fed(X)], parameters={"colour": 1}), "400", "unknown parameter"),
        (lambda c: c.infer("fp32", [fed(X)], priority="high"), "400", "'priority' has the wrong type"),
        (lambda c: c.infer("fp32", [fed(X)], timeout=-1), "400", "'timeout' has the wrong type"),
        (lambda c: c.get_system_shared_memory_status(), "404", "Not Found"),
    ],
)
def test_an_error_reaches_the_caller_with_its_text(
    client: triton.InferenceServerClient, ask: Callable, status: str, text: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        ask(client)
    assert caught.value.status() == status
    assert text in caught.value.message()
    np.testing.assert_array_equal(client.infer("fp32", [fed(X)]).as_numpy("y"), 2 * X)


def test_shared_memory_is_refused(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("x", [2, 3], "FP32")
    tensor.set_shared_memory("region", 24)
    with pytest.raises(InferenceServerException, match="shared memory, which is not offered here"):
        client.infer("fp32", [tensor])


def test_an_unknown_model_is_not_ready(client: triton.InferenceServerClient) -> None:
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("fp32", "2")


def test_statistics_count_what_was_asked(client: triton.InferenceServerClient) -> None:
    def counted() -> dict:
        (stats,) = client.get_inference_statistics("int64")["model_stats"]
        return stats

    before = counted()
    for _ in range(3):
        client.infer("int64", [fed(X.astype(np.int64))])
    with pytest.raises(InferenceServerException):
        client.infer("int64", [fed(X)])
    after = counted()
    assert (after["name"], after["version"]) == ("int64", "1")
    assert after["inference_count"] - before["inference_count"] == 6  # rows
    assert after["execution_count"] - before["execution_count"] == 3
    assert after["last_inference"] > 1_600_000_000_000
    grown = {
        kind: after["inference_stats"][kind]["count"] - before["inference_stats"][kind]["count"]
        for kind in after["inference_stats"]
    }
    assert (grown["success"], grown["fail"], grown["compute_infer"], grown["cache_hit"]) == (3, 1, 3, 0)
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    (batch,) = [batch for batch in after["batch_stats"] if batch["batch_size"] == 2]
    assert batch["compute_infer"]["count"] >= 3
    assert batch["compute_infer"]["ns"] > 0


def test_statistics_of_all_models(client: triton.InferenceServerClient) -> None:
    names = [stats["name"] for stats in client.get_inference_statistics()["model_stats"]]
    assert sorted(names) == sorted(MODELS)
    (versioned,) = client.get_inference_statistics("fp32", "1")["model_stats"]
    assert versioned["name"] == "fp32"


def test_a_model_goes_and_comes_back(client: triton.InferenceServerClient) -> None:
    def states() -> dict:
        return {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}

    assert states() == dict.fromkeys(MODELS, "READY")
    client.unload_model("log")
    assert states()["log"] == "UNAVAILABLE"
    assert not client.is_model_ready("log")
    with pytest.raises(InferenceServerException) as caught:
        client.infer("log", [fed(X)])
    assert caught.value.status() in ("400", "404", "503")
    client.load_model("log")
    assert states()["log"] == "READY"
    assert client.is_model_ready("log")
    np.testing.assert_allclose(client.infer("log", [fed(X)]).as_numpy("y"), np.log(X), rtol=1e-6)


def test_a_model_cannot_be_loaded_from_a_request(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="register it with PUT /v1/models"):
        client.load_model("fp32", config='{"backend": "onnxruntime"}')
    with pytest.raises(InferenceServerException, match=r"no parameters; found 'config, file:1/model\.onnx'"):
        client.load_model("fp32", config="{}", files={"file:1/model.onnx": b"x"})
