"""Model files come in whole, verified, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.artifact import MANIFEST_KEY, Artifact, artifact_from_model, sha256_of
from edge_s4op.errors import HashMismatchError
from tests.device_agent.agent_helpers import (
    agent_process,
    manifest_of,
    model_of,
    scaling_artifact,
)


def put(http: httpx.Client, content: bytes, sha256: str | None = None) -> httpx.Response:
    return http.put(f"/v1/artifacts/{sha256 or sha256_of(content)}", content=content)


def files(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "artifacts").iterdir())


def test_an_artifact_is_created_once_and_listed(http: httpx.Client, tmp_path: Path) -> None:
    artifact = scaling_artifact()
    assert http.get(f"/v1/artifacts/{artifact.sha256}").status_code == 404
    assert http.head(f"/v1/artifacts/{artifact.sha256}").status_code == 404

    first, second = put(http, artifact.content), put(http, artifact.content)

    assert (first.status_code, second.status_code) == (201, 200)
    info = {
        "sha256": artifact.sha256,
        "size_bytes": len(artifact.content),
        "manifest": artifact.manifest.model_dump(mode="json"),
    }
    assert first.json() == second.json() == info
    assert http.get("/v1/artifacts").json() == [info]
    assert http.get(f"/v1/artifacts/{artifact.sha256}").json() == info
    assert http.head(f"/v1/artifacts/{artifact.sha256}").status_code == 200
    stored = tmp_path / "data/artifacts" / f"{artifact.sha256}.onnx"
    assert stored.read_bytes() == artifact.content


@pytest.mark.parametrize("held", [False, True])
def test_content_with_another_hash_is_refused(http: httpx.Client, tmp_path: Path, held: bool) -> None:
    artifact = scaling_artifact()
    if held:
        put(http, artifact.content)
    before = files(tmp_path / "data")
    answer = put(http, artifact.content + b" ", artifact.sha256)
    assert answer.status_code == 400
    assert "does not match the hash" in answer.json()["error"]
    assert artifact.sha256 in answer.json()["error"]
    assert files(tmp_path / "data") == before


@pytest.mark.parametrize("length", [0, 1, 100, 500])
def test_truncated_onnx_is_refused_with_its_reason(http: httpx.Client, tmp_path: Path, length: int) -> None:
    answer = put(http, scaling_artifact().content[:length])
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert "corrupt" in answer.json()["error"] or "manifest" in answer.json()["error"]
    assert files(tmp_path / "data") == []


def test_every_single_flipped_byte_is_noticed(http: httpx.Client, tmp_path: Path) -> None:
    artifact = scaling_artifact()
    for place in range(0, len(artifact.content), 97):
        broken = bytearray(artifact.content)
        broken[place] ^= 0xFF
        assert put(http, bytes(broken), artifact.sha256).status_code == 400
    assert files(tmp_path / "data") == []


def test_another_number_of_inputs_than_the_manifest_is_refused(http: httpx.Client, tmp_path: Path) -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    two = model_of([add], [], ["a", "b"], ["y"], "FP32")
    whole = artifact_from_model(two, manifest_of(["a", "b"], ["y"], "FP32"))
    text = manifest_of(["a"], ["y"], "FP32").model_dump_json()
    helper.set_model_props(two, {"s4op.manifest": text})

    answer = put(http, two.SerializeToString())

    assert answer.status_code == 400
    assert "expected 1 input(s) a:FP32" in answer.json()["error"]
    assert "found 2: a:FP32" in answer.json()["error"]
    assert files(tmp_path / "data") == []
    assert put(http, whole.content).status_code == 201


def test_a_file_without_manifest_is_refused(http: httpx.Client) -> None:
    bare = model_of([helper.make_node("Neg", ["x"], ["y"])], [], ["x"], ["y"], "FP32")
    answer = put(http, bare.SerializeToString())
    assert answer.status_code == 400
    assert "no s4op manifest" in answer.json()["error"]


def test_a_name_that_is_no_hash_is_refused(http: httpx.Client) -> None:
    answer = http.put("/v1/artifacts/model.onnx", content=b"x")
    assert answer.status_code == 400
    assert "sha256" in answer.json()["error"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_beyond_the_limit_is_413(start, tmp_path: Path, announced: bool) -> None:
    http = start(max_artifact_bytes=1000)
    content = bytes(1001)
    pieces = content if announced else iter([content[:600], content[600:]])
    answer = http.put(f"/v1/artifacts/{sha256_of(content)}", content=pieces)
    assert answer.status_code == 413
    assert "1000 bytes" in answer.json()["error"]
    assert files(tmp_path / "data") == []


def test_an_upload_is_on_disk_before_it_ends(tmp_path: Path) -> None:
    """Pieces go to the temporary file as they come: the agent never holds the body in memory."""
    agent = open_agent(Settings(data_dir=tmp_path / "data"))
    seen: list[int] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            yield bytes(1 << 20)
            (temporary,) = (tmp_path / "data/artifacts").iterdir()
            seen.append(temporary.stat().st_size)

    with pytest.raises(HashMismatchError):
        agent.store.receive("0" * 64, pieces())
    agent.close()
    assert seen == [1 << 20, 2 << 20, 3 << 20]
    assert files(tmp_path / "data") == []


def test_two_uploads_of_one_file_at_once_both_succeed(http: httpx.Client, tmp_path: Path) -> None:
    artifact = scaling_artifact(padding=1 << 20)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(put(http, artifact.content).status_code))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 201}
    assert len(answers) == 4
    assert files(tmp_path / "data") == [f"{artifact.sha256}.onnx"]


def test_a_file_damaged_on_disk_is_dropped_and_can_be_sent_again(start, tmp_path: Path) -> None:
    http = start()
    artifact = scaling_artifact()
    put(http, artifact.content)
    path = tmp_path / "data/artifacts" / f"{artifact.sha256}.onnx"
    path.write_bytes(artifact.content[:-1] + b"?")

    answer = http.put("/v1/models/m", json={"artifact_sha256": artifact.sha256})

    assert answer.status_code == 404
    assert "damaged" in answer.json()["error"]
    assert put(http, artifact.content).status_code == 201
    assert http.put("/v1/models/m", json={"artifact_sha256": artifact.sha256}).status_code == 200


def test_a_file_gone_from_the_folder_can_be_sent_again(http: httpx.Client, tmp_path: Path) -> None:
    artifact = scaling_artifact()
    put(http, artifact.content)
    (tmp_path / "data/artifacts" / f"{artifact.sha256}.onnx").unlink()

    assert http.get(f"/v1/artifacts/{artifact.sha256}").status_code == 404
    assert http.put("/v1/models/m", json={"artifact_sha256": artifact.sha256}).status_code == 404
    assert put(http, artifact.content).status_code == 201
    assert http.put("/v1/models/m", json={"artifact_sha256": artifact.sha256}).status_code == 200


def test_a_manifest_with_nan_is_refused_and_the_list_stays_readable(http: httpx.Client) -> None:
    model = onnx.load_model_from_string(scaling_artifact().content)
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"accuracy":{}', '"accuracy":{"test":NaN}')

    answer = put(http, model.SerializeToString())

    assert answer.status_code == 400
    assert "accuracy.test" in answer.json()["error"]
    assert http.get("/v1/artifacts").json() == []


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_a_file_that_reads_other_files_is_refused(
    http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """ONNX Runtime would read them from wherever the agent was started."""
    (tmp_path / "secret").write_bytes(bytes(12))
    monkeypatch.chdir(tmp_path)
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    nodes, weights = [helper.make_node("Mul", ["x", "w"], ["y"])], [weight]
    if place == "constant":
        nodes, weights = [helper.make_node("Constant", [], ["w"], value=weight), *nodes], []
    elif place == "branch":
        outputs = [helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch", 3])]
        branch = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["v"])], "b", [], outputs, weights)
        true = helper.make_tensor("true", TensorProto.BOOL, [], [1])
        yes = helper.make_node("Constant", [], ["yes"], value=true)
        nodes = [yes, helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
        weights = []
    model = model_of(nodes, weights, ["x"], ["y"], "FP32")
    helper.set_model_props(model, {MANIFEST_KEY: manifest_of(["x"], ["y"], "FP32").model_dump_json()})

    answer = put(http, model.SerializeToString())

    assert answer.status_code == 400
    assert "from other files" in answer.json()["error"]


def test_a_crashed_upload_leaves_nothing_and_a_stored_file_is_found_again(tmp_path: Path) -> None:
    kept, vanished, unlisted = scaling_artifact(1.0), scaling_artifact(2.0), scaling_artifact(3.0)
    folder = tmp_path / "data/artifacts"
    agent = open_agent(Settings(data_dir=tmp_path / "data"))
    for artifact in (kept, vanished):
        agent.store.receive(artifact.sha256, [artifact.content])
    agent.close()
    (folder / f".{kept.sha256}.onnx.abc").write_bytes(b"half")
    (folder / f"{vanished.sha256}.onnx").unlink()
    (folder / f"{unlisted.sha256}.onnx").write_bytes(unlisted.content)

    again = open_agent(Settings(data_dir=tmp_path / "data"))

    assert {info.sha256 for info in again.store.all()} == {kept.sha256, unlisted.sha256}
    again.close()
    assert files(tmp_path / "data") == sorted(f"{a.sha256}.onnx" for a in (kept, unlisted))


def _large() -> Artifact:
    return scaling_artifact(padding=1 << 20)


def test_a_file_that_does_not_fit_is_507_and_leaves_nothing(tmp_path: Path) -> None:
    small, large = scaling_artifact(), _large()
    with (
        agent_process(tmp_path / "data", prefix="ulimit -f 512") as agent,
        httpx.Client(base_url=agent.url, trust_env=False) as http,
    ):
        answer = put(http, large.content)
        assert answer.status_code == 507
        assert "cannot write" in answer.json()["error"]
        assert files(tmp_path / "data") == []
        assert put(http, small.content).status_code == 201
        assert http.get("/v2/health/ready").status_code == 200
