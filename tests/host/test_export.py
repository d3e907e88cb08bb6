"""masked == compacted == ONNX, and a file that computes something else never leaves the house."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edge_s4op.artifact import Preprocessing, write_artifact
from edge_s4op.errors import ExportError
from edge_s4op.op import is_ssm_conv
from edge_s4op.runtime import open_runner
from host.export import export_model, relative_difference
from host.models import Classifier, ModelConfig, compact, count_parameters

KEPT = ((0, 1, 2, 3, 4, 5, 6, 7), (1, 5), (7,))
INPUTS: dict[str, dict[str, Any]] = {"continuous": {"d_input": 2}, "tokens": {"vocab_size": 11}}
VARIANTS = list(itertools.product(["s4d", "s4"], ["layer", "batch"], [False, True], INPUTS, [False, True]))
RUNS_WITH_ONNXRUNTIME_ALONE = """
import sys
import numpy, onnxruntime
assert "torch" not in sys.modules and "onnx" not in sys.modules and "edge_s4op" not in sys.modules
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], session.run(["logits"], {"input": x})[0])
"""


def _model(kind: str = "s4d", inputs: str = "continuous", length: int = 70, **more: Any) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(
        kind=kind, num_classes=3, seq_len=length, d_model=8, d_state=16, depth=3, **INPUTS[inputs], **more
    )
    model = Classifier(config)
    lengths = torch.randint(1, length + 1, (16,)) if config.padded else None
    model(_batch(config, 16), lengths)  # batch norm has seen something
    model.set_kept_operators(KEPT)
    return model.eval()


def _batch(config: ModelConfig, size: int) -> torch.Tensor:
    if config.vocab_size is not None:
        return torch.randint(0, config.vocab_size, (size, config.seq_len))
    return torch.randn(size, config.seq_len, config.d_input or 0)


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS)
@torch.no_grad()
def test_masked_equals_compacted_equals_onnx(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = _model(kind, inputs, norm=norm, prenorm=prenorm, padded=padded)
    runner = open_runner(export_model(model), "onnxruntime", threads=1)
    for batch in (1, 5):
        x = _batch(model.config, batch)
        lengths = torch.randint(1, 71, (batch,)) if padded else None
        masked = model(x, lengths)
        torch.testing.assert_close(compact(model)(x, lengths), masked, rtol=1e-6, atol=1e-6)
        feeds = {"input": x.numpy()} | ({"lengths": lengths.numpy()} if lengths is not None else {})
        assert relative_difference(runner.run(feeds)["logits"], masked.numpy()) < 1e-5
    runner.close()


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", [1, 20, 1024, 1025, 4096])
def test_any_length(kind: str, length: int):
    artifact = export_model(_model(kind, length=length))  # raises ExportError unless torch agrees
    assert artifact.manifest.inputs[0].shape == (-1, length, 2)


def test_the_file_says_what_it_is():
    model = _model(padded=True)
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
    model = _model()
    write_artifact(export_model(model), tmp_path / "model.onnx")
    x = _batch(model.config, 3)
    np.save(tmp_path / "x.npy", x.numpy())
    paths = [str(tmp_path / name) for name in ("model.onnx", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", RUNS_WITH_ONNXRUNTIME_ALONE, *paths], check=True, cwd=tmp_path)
    with torch.no_grad():
        assert relative_difference(np.load(tmp_path / "y.npy"), model(x).numpy()) < 1e-5


def test_a_model_that_is_not_finite_is_not_exported():
    model = _model()
    with torch.no_grad():
        model.blocks[0].ssm.operators.log_dt[0] = float("nan")
    with pytest.raises(ExportError, match="disagree on random input"):
        export_model(model)


def test_a_graph_that_computes_something_else_is_not_exported(monkeypatch: pytest.MonkeyPatch):
    import host.export

    right = host.export.onnx_from_model

    def wrong(model: Classifier) -> onnx.ModelProto:
        proto = right(model)
        bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "head/bias")
        bias.raw_data = (np.frombuffer(bias.raw_data, np.float32) + 0.01).tobytes()
        return proto

    monkeypatch.setattr(host.export, "onnx_from_model", wrong)
    with pytest.raises(ExportError, match=r"expected a relative difference of at most 0\.0001"):
        export_model(_model())


def test_real_inputs_are_checked_too(monkeypatch: pytest.MonkeyPatch):
    import host.export

    seen: list[int] = []
    right = host.export.relative_difference

    def spy(found: np.ndarray, expected: np.ndarray) -> float:
        seen.append(len(found))
        return right(found, expected)

    monkeypatch.setattr(host.export, "relative_difference", spy)
    model = _model()
    export_model(model, example={"input": _batch(model.config, 7).numpy()})
    assert seen == [2, 7]


def test_export_is_reproducible():
    assert export_model(_model()).sha256 == export_model(_model()).sha256
