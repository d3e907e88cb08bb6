"""A streaming file small enough to check by hand: the logits are the sum of W x over the samples so far."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_s4op.artifact import Artifact, Manifest, StateInfo, Streaming, TensorInfo, artifact_from_model

CHANNELS, CLASSES, VOCAB = 3, 2, 5
WEIGHT = np.arange(CHANNELS * CLASSES, dtype=np.float32).reshape(CHANNELS, CLASSES) - 2
TABLE = np.arange(VOCAB * CLASSES, dtype=np.float32).reshape(VOCAB, CLASSES)
TOTAL = StateInfo(name_in="total", name_out="next_total", shape=(-1, CLASSES), datatype="FP32")
FLOATS = TensorInfo(name="input", datatype="FP32", shape=(-1, -1, CHANNELS))
TOKENS = TensorInfo(name="input", datatype="INT64", shape=(-1, -1), vocab_size=VOCAB)


def stream_manifest(
    first: TensorInfo, states: tuple[StateInfo, ...] = (TOTAL,), window: int | None = None
) -> Manifest:
    """The manifest of `stream_artifact`."""
    streaming = Streaming(
        states=states, pooling="sliding" if window else "running", window=window, ssm_form="diagonal"
    )
    return Manifest(
        model_kind="s4d",
        inputs=(first, TensorInfo(name="total", datatype="FP32", shape=(-1, CLASSES))),
        outputs=tuple(
            TensorInfo(name=name, datatype="FP32", shape=(-1, CLASSES)) for name in ("logits", "next_total")
        ),
        d_model=CHANNELS,
        d_state=2,
        seq_len=4,
        kept_operators=((0,),),
        parameters=WEIGHT.size,
        macs=WEIGHT.size,
        streaming=streaming,
    )


def stream_artifact(manifest: Manifest) -> Artifact:
    """total' = total + sum over T of W x (or of rows of TABLE), logits = total'."""
    tokens = manifest.inputs[0].datatype == "INT64"
    each = ("Gather", ["table", "input"]) if tokens else ("MatMul", ["input", "weight"])
    nodes = [
        helper.make_node(*each, ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["new"], keepdims=0),
        helper.make_node("Add", ["total", "new"], ["next_total"]),
        helper.make_node("Identity", ["next_total"], ["logits"]),
    ]
    constants = {"table": TABLE, "weight": WEIGHT, "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "tiny_stream",
        [_value(info) for info in manifest.inputs],
        [_value(info) for info in manifest.outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return artifact_from_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), manifest)


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    code = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
    shape = [("batch", "samples")[axis] if size == -1 else size for axis, size in enumerate(info.shape)]
    return helper.make_tensor_value_info(info.name, code[info.datatype], shape)
