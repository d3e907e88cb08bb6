"""The model file: specified, golden, and attacked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge_s4op import op
from edge_s4op.artifact import (
    MANIFEST_KEY,
    Artifact,
    Manifest,
    artifact_from_bytes,
    artifact_from_model,
    read_artifact,
    write_artifact,
)
from edge_s4op.errors import CorruptArtifactError, HashMismatchError
from host.export import export_model
from host.models import Classifier, ModelConfig

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    config = ModelConfig(kind="s4d", num_classes=3, seq_len=40, d_input=2, d_model=4, d_state=8, depth=2)
    model = Classifier(config)
    model.set_kept_operators([(0, 1, 2, 3), (1, 3)])
    return export_model(model, dataset_name="npz:toy", class_labels=("a", "b", "c"), accuracy={"test": 0.5})


def _changed(artifact: Artifact, change: object) -> bytes:
    model = onnx.load_model_from_string(artifact.content)
    change(model)  # type: ignore[operator]
    return model.SerializeToString()


def test_round_trip(artifact: Artifact, tmp_path: Path):
    write_artifact(artifact, tmp_path / "model.onnx")
    assert read_artifact(tmp_path / "model.onnx", artifact.sha256) == artifact


def test_the_manifest_is_golden(artifact: Artifact):
    stable = artifact.manifest.model_dump(mode="json")
    stable |= {"git_commit": None, "versions": {name: "*" for name in stable["versions"]}}
    assert stable == json.loads((GOLDEN / "manifest.json").read_text())


def test_the_same_manifest_gives_the_same_hash(artifact: Artifact):
    model = onnx.load_model_from_string(artifact.content)
    assert artifact_from_model(model, artifact.manifest).sha256 == artifact.sha256


def test_a_wrong_hash_is_refused(artifact: Artifact):
    with pytest.raises(HashMismatchError, match=f"expected sha256 {'0' * 64}; found {artifact.sha256}"):
        artifact_from_bytes(artifact.content, "model.onnx", "0" * 64)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(artifact: Artifact, share: float):
    content = artifact.content[: int(share * len(artifact.content))]
    with pytest.raises(CorruptArtifactError, match=r"model\.onnx: "):
        artifact_from_bytes(content, "model.onnx")


def test_every_flipped_byte_of_the_graph_is_refused_or_harmless(artifact: Artifact):
    """Whatever a flipped byte does, it ends in our error or in an artifact; nothing else escapes."""
    for position in range(0, len(artifact.content), 997):
        content = bytearray(artifact.content)
        content[position] ^= 0xFF
        try:
            found = artifact_from_bytes(bytes(content), "model.onnx")
        except CorruptArtifactError:
            continue
        assert found.sha256 != artifact.sha256


def test_not_onnx_at_all_is_refused():
    with pytest.raises(CorruptArtifactError, match="not a valid ONNX file"):
        artifact_from_bytes(b"<html>404 Not Found</html>", "download.onnx")


def test_another_number_of_inputs_is_refused(artifact: Artifact):
    extra = onnx.helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, ["batch", 3])
    content = _changed(artifact, lambda model: model.graph.input.append(extra))
    with pytest.raises(CorruptArtifactError, match=r"expected 1 input\(s\) input:FP32\[-1, 40, 2\]; found 2"):
        artifact_from_bytes(content, "model.onnx")


def test_a_missing_manifest_is_refused(artifact: Artifact):
    content = _changed(artifact, lambda model: model.metadata_props.pop())
    with pytest.raises(CorruptArtifactError, match="carries no s4op manifest"):
        artifact_from_bytes(content, "model.onnx")


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_a_bad_manifest_is_refused(artifact: Artifact, text: str):
    content = _changed(artifact, lambda m: onnx.helper.set_model_props(m, {MANIFEST_KEY: text}))
    with pytest.raises(CorruptArtifactError, match="the manifest is not valid"):
        artifact_from_bytes(content, "model.onnx")


def test_a_manifest_that_contradicts_the_graph_is_refused(artifact: Artifact):
    lying = Manifest(**artifact.manifest.model_dump() | {"kept_operators": ((0, 1, 2, 3), (1, 2))})
    model = onnx.load_model_from_string(artifact.content)
    with pytest.raises(CorruptArtifactError, match="SSMConv nodes are not those the manifest lists"):
        artifact_from_model(model, lying)


@pytest.mark.parametrize("inputs", [["x", "k", "d", "poles"], ["x", "k", "d", "poles", "residues", ""]])
def test_an_ssm_conv_with_other_inputs_is_refused(artifact: Artifact, inputs: list[str]):
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if op.is_ssm_conv(node))
        names = list(node.input)[: len(inputs)]
        del node.input[:]
        node.input.extend([*names, *[""] * (len(inputs) - len(names))])
        del model.functions[:]  # the checker would find that its inputs are others

    with pytest.raises(CorruptArtifactError, match=r"lacks inputs, or has too many; expected 5 or 6 names"):
        artifact_from_bytes(_changed(artifact, change), "model.onnx")


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_states_that_the_nodes_do_not_have_are_refused(kind: str):
    config = {"num_classes": 3, "seq_len": 40, "d_input": 2, "d_model": 4, "d_state": 8, "depth": 2}
    told = export_model(Classifier(ModelConfig(kind=kind, states=(8, 4), **config)))
    model = onnx.load_model_from_string(told.content)
    assert told.manifest.states == (8, 4)
    lying = told.manifest.model_copy(update={"states": (8, 2)})
    with pytest.raises(CorruptArtifactError, match=r"expected \[8, 2\] per layer; found \[8, 4\]"):
        artifact_from_model(model, lying)


def test_a_precision_that_the_weights_do_not_have_is_refused(artifact: Artifact):
    lying = artifact.manifest.model_copy(update={"precision": "fp16"})
    model = onnx.load_model_from_string(artifact.content)
    with pytest.raises(CorruptArtifactError, match="expected fp16, some FP16 weights; found none"):
        artifact_from_model(model, lying)
    halves = onnx.numpy_helper.from_array(np.zeros(2, np.float16), "unused")
    content = _changed(artifact, lambda m: m.graph.initializer.append(halves))
    with pytest.raises(CorruptArtifactError, match="expected fp32, no FP16 weights; found some"):
        artifact_from_bytes(content, "model.onnx")


def test_a_manifest_from_before_there_was_fp16_is_fp32(artifact: Artifact):
    older = artifact.manifest.model_dump_json(exclude={"precision"})
    content = _changed(artifact, lambda m: onnx.helper.set_model_props(m, {MANIFEST_KEY: older}))
    assert artifact_from_bytes(content, "model.onnx").manifest == artifact.manifest


def test_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(CorruptArtifactError, match="cannot be read: No such file"):
        read_artifact(tmp_path / "nowhere.onnx")
