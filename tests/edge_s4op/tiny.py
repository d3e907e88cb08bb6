"""Tiny artifacts without an SSM operator, small enough to check by hand: y = sum over L of x W."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_s4op.artifact import Artifact, Manifest, TensorInfo, artifact_from_model

SEQ_LEN, CHANNELS, CLASSES, VOCAB = 4, 3, 2, 5
WEIGHT = np.arange(CHANNELS * CLASSES, dtype=np.float32).reshape(CHANNELS, CLASSES) - 2
TABLE = np.arange(VOCAB * CLASSES, dtype=np.float32).reshape(VOCAB, CLASSES)
FLOATS = TensorInfo(name="input", datatype="FP32", shape=(-1, SEQ_LEN, CHANNELS))
TOKENS = TensorInfo(name="input", datatype="INT64", shape=(-1, SEQ_LEN), vocab_size=VOCAB)
LENGTHS = TensorInfo(name="lengths", datatype="INT64", shape=(-1,))
LOGITS = TensorInfo(name="logits", datatype="FP32", shape=(-1, CLASSES))


def manifest(*inputs: TensorInfo) -> Manifest:
    return Manifest(
        model_kind="s4d",
        inputs=inputs,
        outputs=(LOGITS,),
        d_model=CHANNELS,
        d_state=1,
        seq_len=SEQ_LEN,
        kept_operators=(),
        parameters=WEIGHT.size,
        macs=SEQ_LEN * WEIGHT.size,
    )


def linear_artifact() -> Artifact:
    """logits[b] = sum_l input[b, l] @ WEIGHT."""
    nodes = [
        helper.make_node("MatMul", ["input", "weight"], ["products"]),
        helper.make_node("ReduceSum", ["products", "axis"], ["logits"], keepdims=0),
    ]
    return _artifact(nodes, {"weight": WEIGHT, "axis": np.array([1])}, FLOATS)


def token_artifact() -> Artifact:
    """logits[b] = sum_l TABLE[input[b, l]] / lengths[b]."""
    nodes = [
        helper.make_node("Gather", ["table", "input"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["lengths"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["count", "axis"], ["counts"]),
        helper.make_node("Div", ["sum", "counts"], ["logits"]),
    ]
    return _artifact(nodes, {"table": TABLE, "axis": np.array([1])}, TOKENS, LENGTHS)


def refused_artifact() -> Artifact:
    """Valid ONNX that ONNX Runtime has no kernel for: a custom domain without a function body."""
    nodes = [helper.make_node("Nowhere", ["input"], ["logits"], domain="example.unknown")]
    return _artifact(nodes, {}, FLOATS)


def failing_artifact() -> Artifact:
    """Loads, and fails when run: it reshapes (B, L, C) to (B, 7)."""
    nodes = [
        helper.make_node("Reshape", ["input", "shape"], ["seven"]),
        helper.make_node("Slice", ["seven", "zero", "two", "one"], ["logits"]),
    ]
    constants = {
        "shape": np.array([-1, 7]),
        "zero": np.array([0]),
        "two": np.array([2]),
        "one": np.array([1]),
    }
    return _artifact(nodes, constants, FLOATS)


def _artifact(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], *inputs: TensorInfo) -> Artifact:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [_value(info) for info in inputs],
        [_value(LOGITS)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("example.unknown", 1)]
    return artifact_from_model(
        helper.make_model(graph, opset_imports=opsets, ir_version=8), manifest(*inputs)
    )


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    code = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "INT64": TensorProto.INT64}
    shape = ["batch" if size == -1 else size for size in info.shape]
    return helper.make_tensor_value_info(info.name, code[info.datatype], shape)
