"""The ONNX operator: its node is golden, and its body computes what the oracle computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from edge_s4op import op, reference
from tests.edge_s4op.one_node import one_node_model, relative_rms

GOLDEN = Path(__file__).parents[1] / "golden"
LENGTHS = [1, 2, 31, 32, 33, 63, 64, 150, 427, 1024, 1460, 4096]


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model.SerializeToString(), full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_body_computes_the_operator(kind: str, length: int):
    channels = [0, 2, 3]
    model, weights = one_node_model(kind, length, channels, 5, gelu=True)
    x = np.random.default_rng(1).normal(size=(2, 5, length)).astype(np.float32)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], channels, with_gelu=True)
    assert relative_rms(_run(model, x), expected) < 5e-6


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("channels", [[0], [4], [1, 3], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_subset_any_batch(channels: list[int], gelu: bool, batch: int):
    model, weights = one_node_model("s4d", 100, channels, 5, gelu)
    x = np.random.default_rng(1).normal(size=(batch, 5, 100)).astype(np.float32)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], channels, with_gelu=gelu)
    y = _run(model, x)
    assert relative_rms(y, expected) < 5e-6
    passed = [c for c in range(5) if c not in channels]
    if not gelu:
        np.testing.assert_array_equal(y[:, passed], x[:, passed])


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", [1, 63, 427, 1460])
def test_the_body_of_fp16_rounds_x_and_y_and_nothing_between(kind: str, length: int, gelu: bool):
    channels = [0, 2, 3]
    model, weights = one_node_model(kind, length, channels, 5, gelu, TensorProto.FLOAT16)
    x = np.random.default_rng(1).normal(size=(2, 5, length)).astype(np.float16)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], channels, with_gelu=gelu)
    y = _run(model, x)
    assert y.dtype == np.float16
    # Half a unit in the last place, and what float32 may move across a rounding boundary.
    np.testing.assert_allclose(y, expected, rtol=2**-11 + 1e-5, atol=2e-5)
    if not gelu:
        np.testing.assert_array_equal(y[:, [1, 4]], x[:, [1, 4]])


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_the_runtime_folds_the_body_at_load(tmp_path: Path, elem_type: int):
    model, _ = one_node_model("s4d", 4096, [0, 1, 2], 3, True, elem_type)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert {"If", "Exp", "Cos", "Sin", "Concat", "SSMConv"}.isdisjoint(left)  # all derived at load
    assert left.count("Gather") == 1  # the Scan's start
    assert {"MatMul", "Scan", "Gelu"} <= set(left)


def test_the_node_is_golden():
    node = op.make_node(
        ["x", "k", "d", "poles", "residues"],
        "y",
        channels=[0, 3, 5],
        num_channels=8,
        gelu=True,
        name="block0/ssm",
    )
    assert onnx.printer.to_text(node) + "\n" == (GOLDEN / "ssm_conv_node.txt").read_text()
    assert op.is_ssm_conv(node)
    assert op.channels_of_node(node) == (0, 3, 5)


@pytest.mark.parametrize("channels", [[], [3, 1], [1, 1], [-1, 2], [0, 8]])
def test_wrong_channels_are_refused(channels: list[int]):
    with pytest.raises(ValueError, match="channels must be ascending"):
        op.make_node(["x", "k", "d"], "y", channels=channels, num_channels=8, gelu=True, name="n")
