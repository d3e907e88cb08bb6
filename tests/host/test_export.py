"""masked == compacted == ONNX, and a file that computes something else never leaves the house."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edge_s4op.artifact import Precision, Preprocessing, write_artifact
from edge_s4op.errors import ExportError
from edge_s4op.op import is_ssm_conv
from edge_s4op.runtime import open_runner
from host.export import export_model, relative_difference
from host.models import Classifier, ModelConfig, compact, count_macs, count_parameters
from tests.host.export_samples import KEPT, VARIANTS, sample_batch, sample_model
from tests.host.models.cut_samples import FEATURES, STATES, cut_model, sample_inputs

RUNS_WITH_ONNXRUNTIME_ALONE = """
import sys
import numpy, onnxruntime
assert "torch" not in sys.modules and "onnx" not in sys.modules and "edge_s4op" not in sys.modules
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], session.run(["logits"], {"input": x})[0])
"""


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS)
@torch.no_grad()
def test_masked_equals_compacted_equals_onnx(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = sample_model(kind, inputs, norm=norm, prenorm=prenorm, padded=padded)
    runner = open_runner(export_model(model), "onnxruntime", threads=1)
    for batch in (1, 5):
        x = sample_batch(model.config, batch)
        lengths = torch.randint(1, 71, (batch,)) if padded else None
        masked = model(x, lengths)
        torch.testing.assert_close(compact(model)(x, lengths), masked, rtol=1e-6, atol=1e-6)
        feeds = {"input": x.numpy()} | ({"lengths": lengths.numpy()} if lengths is not None else {})
        assert relative_difference(runner.run(feeds)["logits"], masked.numpy()) < 1e-5
    runner.close()


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS)
@torch.no_grad()
def test_fp16_is_fp32_rounded(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = sample_model(kind, inputs, norm=norm, prenorm=prenorm, padded=padded)
    runner = open_runner(export_model(model, precision="fp16"), "onnxruntime", threads=1)
    x = sample_batch(model.config, 5)
    lengths = torch.randint(1, 71, (5,)) if padded else None
    feeds = {"input": x.numpy()} | ({"lengths": lengths.numpy()} if lengths is not None else {})
    difference = relative_difference(runner.run(feeds)["logits"], model(x, lengths).numpy())
    assert 1e-6 < difference < 2e-3  # below: some of it was not rounded at all
    runner.close()


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS)
@torch.no_grad()
def test_models_without_channels_and_states_are_what_their_masks_made_them(
    kind: str, norm: str, prenorm: bool, inputs: str, padded: bool
):
    model = cut_model(kind, norm, prenorm, inputs, padded)
    runner = open_runner(export_model(model), "onnxruntime", threads=1)
    for batch in (1, 5):
        tensors = sample_inputs(model.config, batch)
        feeds = dict(zip(("input", "lengths"), (tensor.numpy() for tensor in tensors), strict=False))
        assert relative_difference(runner.run(feeds)["logits"], model(*tensors).numpy()) < 1e-5
    runner.close()


def nodes_that_run(tmp_path: Path, kind: str, norm: str, prenorm: bool) -> list[str]:
    """The operators ONNX Runtime makes of an unpruned model of three blocks, but for those inside Scan."""
    config = ModelConfig(
        kind=kind, num_classes=2, seq_len=70, d_input=1, d_model=32, depth=3, norm=norm, prenorm=prenorm
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    content = export_model(Classifier(config).eval()).content
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_the_runtime_copies_the_product_of_a_glu_and_not_its_halves(tmp_path: Path, kind: str):
    ran = nodes_that_run(tmp_path, kind, "batch", prenorm=True)
    assert ran.count("Scan") == 3
    assert ran.count("ReorderOutput") in (0, 3)  # one a block; none where Conv has no layout of its own


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_residual_sum_is_neither_fused_nor_on_one_thread(tmp_path: Path, norm: str, prenorm: bool):
    ran = nodes_that_run(tmp_path, "s4d", norm, prenorm)
    assert {"Sum", "SkipLayerNormalization"}.isdisjoint(ran)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", [20, 1025])
def test_layers_of_different_states_share_one_function(kind: str, length: int):
    model = cut_model(kind, "batch", seq_len=length)
    artifact = export_model(model)
    manifest, small = artifact.manifest, compact(model)
    assert (manifest.d_model, manifest.d_state) == (len(FEATURES), 16)
    assert (manifest.features, manifest.states) == (FEATURES, STATES)
    assert manifest.kept_operators == small.kept_operators() == ((0, 1, 2, 3, 4), (1, 3), (4,))
    assert (manifest.parameters, manifest.macs) == (
        count_parameters(model),
        count_macs(small.config, small.kept_operators()),
    )
    proto = onnx.load_model_from_string(artifact.content)
    assert len(proto.functions) == 1
    shapes = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    for layer, (operators, states) in enumerate(zip((5, 2, 1), STATES, strict=True)):
        path = f"block{layer}/ssm"
        if kind == "s4d":
            assert shapes[f"{path}/poles"] == shapes[f"{path}/residues"] == [operators, states // 2, 2]
        else:
            assert shapes[f"{path}/a"] == [operators, states, states]
            assert shapes[f"{path}/b"] == shapes[f"{path}/c"] == [operators, states]
    assert {shapes[f"block{layer}/norm/weight"][0] for layer in range(3)} == {len(FEATURES)}


def test_a_file_with_less_channels_and_states_is_smaller():
    assert export_model(cut_model()).size_bytes < export_model(sample_model()).size_bytes


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_types_of_fp16_stand_in_the_file(norm: str):
    artifact = export_model(sample_model(norm=norm), precision="fp16")
    assert artifact.manifest.precision == "fp16"
    assert [info.datatype for info in artifact.manifest.inputs + artifact.manifest.outputs] == ["FP32"] * 2
    proto = onnx.load_model_from_string(artifact.content)
    float32 = {t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    assert {"block0/ssm/k", "block0/ssm/d", "block0/ssm/poles", "block0/ssm/residues"} <= float32
    assert {"head/weight", "head/bias"} <= float32
    assert ("block0/norm/weight" in float32) == (norm == "batch")
    assert float32.isdisjoint({"encoder/weight", "block0/mix/value/weight", "block0/mix/gate/bias"})
    inferred = onnx.shape_inference.infer_shapes(proto).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    assert {types[f"block{i}/ssm"] for i in range(3)} == {onnx.TensorProto.FLOAT16}
    assert types["head/mean"] == onnx.TensorProto.FLOAT


def test_a_weight_that_fp16_cannot_hold_is_not_exported():
    model = sample_model()
    with torch.no_grad():
        model.encoder.weight[0, 0] = 7e4
    export_model(model)
    with pytest.raises(ExportError, match=r"encoder/weight: a weight is too large .* up to 65504; found"):
        export_model(model, precision="fp16")


def test_a_model_that_overflows_fp16_is_not_exported():
    model = sample_model(prenorm=True)  # nothing normalises the residual stream
    with torch.no_grad():
        model.encoder.weight *= 6e4
    export_model(model)
    with pytest.raises(ExportError, match=r"at most 0\.02; found .*; .*or export in fp32"):
        export_model(model, precision="fp16")


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", [1, 20, 1024, 1025, 4096])
def test_any_length(kind: str, length: int):
    artifact = export_model(sample_model(kind, length=length))  # raises ExportError unless torch agrees
    assert artifact.manifest.inputs[0].shape == (-1, length, 2)


def test_the_file_says_what_it_is():
    model = sample_model(padded=True)
    artifact = export_model(
        model,
        dataset_name="npz:toy",
        preprocessing=Preprocessing(mean=(0.5, 1.0), std=(2.0, 3.0)),
        class_labels=("a", "b", "c"),
        accuracy={"validation": 0.75},
        parent="0" * 64,
    )
    manifest = artifact.manifest
    assert manifest.kept_operators == KEPT
    assert manifest.parameters == count_parameters(model)
    assert [info.name for info in manifest.inputs] == ["input", "lengths"]
    assert manifest.preprocessing.std == (2.0, 3.0)
    assert manifest.parent == "0" * 64
    proto = onnx.load_model_from_string(artifact.content)
    nodes = [node for node in proto.graph.node if is_ssm_conv(node)]
    assert [node.name for node in nodes] == ["block0/ssm", "block1/ssm", "block2/ssm"]
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] <= 20
    assert [(f.domain, f.name) for f in proto.functions] == [("trt.plugins", "SSMConv")]


def test_the_file_needs_onnxruntime_and_nothing_else(tmp_path: Path):
    model = sample_model()
    write_artifact(export_model(model), tmp_path / "model.onnx")
    x = sample_batch(model.config, 3)
    np.save(tmp_path / "x.npy", x.numpy())
    paths = [str(tmp_path / name) for name in ("model.onnx", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", RUNS_WITH_ONNXRUNTIME_ALONE, *paths], check=True, cwd=tmp_path)
    with torch.no_grad():
        assert relative_difference(np.load(tmp_path / "y.npy"), model(x).numpy()) < 1e-5


def test_a_model_that_is_not_finite_is_not_exported():
    model = sample_model()
    with torch.no_grad():
        model.blocks[0].ssm.operators.log_dt[0] = float("nan")
    with pytest.raises(ExportError, match="disagree on random input"):
        export_model(model)


@pytest.mark.parametrize(("precision", "off_by", "limit"), [("fp32", 0.01, 0.0001), ("fp16", 0.1, 0.02)])
def test_a_graph_that_computes_something_else_is_not_exported(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, off_by: float, limit: float
):
    import host.export

    right = host.export.onnx_from_model

    def wrong(model: Classifier, asked: Precision) -> onnx.ModelProto:
        proto = right(model, asked)
        bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "head/bias")
        bias.raw_data = (np.frombuffer(bias.raw_data, np.float32) + np.float32(off_by)).tobytes()
        return proto

    monkeypatch.setattr(host.export, "onnx_from_model", wrong)
    with pytest.raises(ExportError, match=f"expected a relative difference of at most {limit}"):
        export_model(sample_model(), precision=precision)


def test_real_inputs_are_checked_too(monkeypatch: pytest.MonkeyPatch):
    import host.export

    seen: list[int] = []
    right = host.export.relative_difference

    def spy(found: np.ndarray, expected: np.ndarray) -> float:
        seen.append(len(found))
        return right(found, expected)

    monkeypatch.setattr(host.export, "relative_difference", spy)
    model = sample_model()
    export_model(model, example={"input": sample_batch(model.config, 7).numpy()})
    assert seen == [2, 7]


def test_export_is_reproducible():
    assert export_model(sample_model()).sha256 == export_model(sample_model()).sha256
