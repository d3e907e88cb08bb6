"""A classifier that takes samples as they come, as an ONNX graph of standard operators.

    samples [B, T, d_input] or tokens [B, T], states -> logits [B, classes], next states      T >= 1

The SSMs run as recurrences (`host.streaming_recurrence`); everything else sees the T samples of all streams
as rows of one matrix. One If chooses between two bodies with the same weights: for T = 1, where a stream
spends its life, the recurrence is written out; for T > 1 it is a Scan over the samples.

The head is linear, so the mean of the features is taken behind it, of logits: what pooling has to carry is as
wide as there are classes, not channels (a window of 4096 samples, 10 classes: 160 kB a stream, not 2 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from edge_s4op import op
from edge_s4op.artifact import StateInfo, TensorInfo
from host.models import Block, Classifier
from host.onnx_graph import IR_VERSION
from host.onnx_nodes import GraphNodes
from host.streaming_nodes import Branch
from host.streaming_pooling import Pooling
from host.streaming_recurrence import Recurrence, keep_recurrence, scanned, stepped

__all__ = ["streaming_inputs", "streaming_model", "streaming_outputs", "streaming_states"]

_TYPES = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}


def streaming_states(model: Classifier, window: int | None) -> tuple[StateInfo, ...]:
    """What a stream of a compacted model carries: the state of every layer, then pooling's."""
    layers = tuple(
        StateInfo(
            name_in=f"block{index}/state",
            name_out=f"block{index}/next_state",
            shape=(-1, len(block.ssm.channels), 2, block.ssm.states() // 2),
            datatype="FP32",
        )
        for index, block in enumerate(model.blocks)
    )
    return layers + Pooling(model.config.num_classes, window).states()


def streaming_inputs(model: Classifier, window: int | None) -> tuple[TensorInfo, ...]:
    """`input` of any batch and number of samples, then the states."""
    config = model.config
    if config.vocab_size is not None:
        first = TensorInfo(name="input", datatype="INT64", shape=(-1, -1), vocab_size=config.vocab_size)
    else:
        first = TensorInfo(name="input", datatype="FP32", shape=(-1, -1, config.d_input or 0))
    states = streaming_states(model, window)
    return (first, *(TensorInfo(name=s.name_in, datatype=s.datatype, shape=s.shape) for s in states))


def streaming_outputs(model: Classifier, window: int | None) -> tuple[TensorInfo, ...]:
    """`logits`, then the next states."""
    logits = TensorInfo(name="logits", datatype="FP32", shape=(-1, model.config.num_classes))
    states = streaming_states(model, window)
    return (logits, *(TensorInfo(name=s.name_out, datatype=s.datatype, shape=s.shape) for s in states))


@torch.no_grad()
def streaming_model(model: Classifier, window: int | None = None) -> onnx.ModelProto:
    """The graph of a compacted model in eval mode, in float32; `window` samples are pooled, None: all."""
    g = GraphNodes("fp32")
    weights = _keep_weights(g, model, window)
    outputs = streaming_outputs(model, window)
    count = g.add("samples", "Shape", "input", start=1, end=2)
    g.add("is_single", "Equal", count, g.shape("one", [1]))
    g.nodes.append(
        helper.make_node(
            "If",
            ["is_single"],
            [info.name for info in outputs],
            name="stream",
            then_branch=_branch("single", model, weights, outputs),
            else_branch=_branch("several", model, weights, outputs),
        )
    )
    inputs = [_value_info(info) for info in streaming_inputs(model, window)]
    graph = helper.make_graph(
        g.nodes, f"{model.config.kind}_stream", inputs, [_value_info(i) for i in outputs], g.initializers
    )
    opsets = [helper.make_opsetid("", op.OPSET)]
    return helper.make_model(graph, producer_name="edge-s4op", ir_version=IR_VERSION, opset_imports=opsets)


@dataclass(frozen=True)
class _Weights:
    """Names of the initializers that both branches read."""

    recurrences: tuple[Recurrence, ...]
    pooling: Pooling


def _keep_weights(g: GraphNodes, model: Classifier, window: int | None) -> _Weights:
    """Put every weight and constant into the graph."""
    encoder, config = model.encoder, model.config
    if isinstance(encoder, nn.Embedding):
        g.weight("encoder/table", encoder.weight)
    else:
        g.weight("encoder/weight", encoder.weight.T)
        g.weight("encoder/bias", encoder.bias)
    g.shape("encoder/rows", [-1] if config.vocab_size is not None else [-1, config.d_input or 0])
    recurrences = tuple(_keep_block(g, f"block{i}", block) for i, block in enumerate(model.blocks))
    g.weight("head/weight", model.head.weight.T)
    g.weight("head/bias", model.head.bias)
    pooling = Pooling(config.num_classes, window)
    pooling.keep(g)
    return _Weights(recurrences, pooling)


def _keep_block(g: GraphNodes, path: str, block: Block) -> Recurrence:
    _keep_norm(g, f"{path}/norm", block.norm)
    recurrence = keep_recurrence(g, f"{path}/ssm", block.ssm)
    order = [*recurrence.kept, *recurrence.pruned]  # the recurrence gives kept channels first
    g.weight(f"{path}/mix/weight", block.mix.weight[:, order, 0].T)
    g.weight(f"{path}/mix/bias", block.mix.bias)
    return recurrence


def _keep_norm(g: GraphNodes, path: str, norm: nn.Module) -> None:
    if isinstance(norm, nn.LayerNorm):
        g.weight(f"{path}/weight", norm.weight)
        g.weight(f"{path}/bias", norm.bias)
        return
    assert isinstance(norm, nn.BatchNorm1d)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    g.weight(f"{path}/scale", scale)
    g.weight(f"{path}/shift", norm.bias - norm.running_mean * scale)


def _branch(
    name: str, model: Classifier, weights: _Weights, outputs: Sequence[TensorInfo]
) -> onnx.GraphProto:
    g = Branch(name)
    h = _encode(g, model)
    states = []
    for index, (block, recurrence) in enumerate(zip(model.blocks, weights.recurrences, strict=True)):
        h, state = _block(g, f"block{index}", block, recurrence, h)
        states.append(state)
    each = g.add("head/linear", "MatMul", h, "head/weight")  # (T B, classes)
    mean, pooled = weights.pooling.add(g, each)
    logits = g.add("head/bias_add", "Add", mean, "head/bias")
    results = [
        _named(_value_info(info), found)
        for info, found in zip(outputs, [logits, *states, *pooled], strict=True)
    ]
    return helper.make_graph(g.nodes, name, [], results)


def _named(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    value.name = name
    return value


def _value_info(info: TensorInfo) -> onnx.ValueInfoProto:
    names = {0: "batch", 1: "samples"}
    shape = [names[axis] if size == -1 else size for axis, size in enumerate(info.shape)]
    return helper.make_tensor_value_info(info.name, _TYPES[info.datatype], shape)


def _encode(g: Branch, model: Classifier) -> str:
    """The samples, time before batch, as rows of the residual stream: (T B, H)."""
    tokens = isinstance(model.encoder, nn.Embedding)
    x = "input"
    if not g.is_single:
        x = g.add("encoder/time_first", "Transpose", x, perm=[1, 0] if tokens else [1, 0, 2])
        x = g.add("encoder/rows", "Reshape", x, "encoder/rows")
    else:
        x = g.add("encoder/rows", "Squeeze", x, "one")
    if tokens:
        return g.add("encoder/embed", "Gather", "encoder/table", x, axis=0)
    return g.add("encoder/linear", "Gemm", x, "encoder/weight", "encoder/bias")


def _block(g: Branch, path: str, block: Block, recurrence: Recurrence, x: str) -> tuple[str, str]:
    z = _norm(g, f"{path}/norm", block.norm, x) if block.prenorm else x
    run: Callable[..., tuple[str, str]] = stepped if g.is_single else scanned
    y, state = run(g, recurrence, z, f"{path}/state")
    y = g.add(f"{path}/mix/gelu", "Gelu", y)
    both = g.add(f"{path}/mix/linear", "Gemm", y, f"{path}/mix/weight", f"{path}/mix/bias")
    value, gate = g.add_many(f"{path}/mix/split", "Split", 2, both, axis=1, num_outputs=2)
    gate = g.add(f"{path}/mix/sigmoid", "Sigmoid", gate)
    mixed = g.add(f"{path}/mix/glu", "Mul", value, gate)
    out = g.add(f"{path}/residual", "Add", x, mixed)
    return (out if block.prenorm else _norm(g, f"{path}/norm", block.norm, out)), state


def _norm(g: Branch, path: str, norm: nn.Module, x: str) -> str:
    if isinstance(norm, nn.LayerNorm):
        names = f"{path}/weight", f"{path}/bias"
        return g.add(f"{path}/normalize", "LayerNormalization", x, *names, axis=-1, epsilon=norm.eps)
    scaled = g.add(f"{path}/multiply", "Mul", x, f"{path}/scale")
    return g.add(f"{path}/normalize", "Add", scaled, f"{path}/shift")
