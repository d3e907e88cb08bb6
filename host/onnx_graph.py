"""A classifier as an ONNX graph: one SSMConv node per layer, everything else standard operators.

SSMConv works channels first, (B, H, L): a row of one channel is contiguous, so that picking kept
channels copies whole rows. The residual stream lies as its norm reads it: channels first for BatchNorm,
channels last, (B, L, H), for LayerNorm. The GLU's two products are 1x1 convolutions over (B, H, 1, L),
which runtimes fuse with bias and sigmoid and, for LayerNorm, with the Transpose behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edge_s4op import op, op_body
from edge_s4op.artifact import TensorInfo
from host.models import Block, Classifier, ModelConfig, SSMLayer

__all__ = ["graph_inputs", "graph_outputs", "onnx_from_model"]

_SWAP = [0, 2, 1]  # (B, H, L) <-> (B, L, H)

IR_VERSION = 9  # what onnxruntime 1.16 and TensorRT 10's parser read


def graph_inputs(model: Classifier) -> tuple[TensorInfo, ...]:
    """The inputs of the exported graph: `input`, and `lengths` when the model is padded."""
    config = model.config
    if config.vocab_size is not None:
        shape: tuple[int, ...] = (-1, config.seq_len)
        first = TensorInfo(name="input", datatype="INT64", shape=shape, vocab_size=config.vocab_size)
    else:
        first = TensorInfo(name="input", datatype="FP32", shape=(-1, config.seq_len, config.d_input or 0))
    lengths = TensorInfo(name="lengths", datatype="INT64", shape=(-1,))
    return (first, lengths) if config.padded else (first,)


def graph_outputs(model: Classifier) -> tuple[TensorInfo, ...]:
    """The output of the exported graph: `logits`."""
    return (TensorInfo(name="logits", datatype="FP32", shape=(-1, model.config.num_classes)),)


@torch.no_grad()
def onnx_from_model(model: Classifier) -> onnx.ModelProto:
    """The graph of a compacted model in eval mode; batch is dynamic, the sequence length is not."""
    g = _Graph()
    h = _encode(g, model)
    for index, block in enumerate(model.blocks):
        h = _block(g, f"block{index}", block, model.config, h)
    _head(g, model, h)
    graph = helper.make_graph(
        g.nodes,
        f"{model.config.kind}_classifier",
        [_value_info(info) for info in graph_inputs(model)],
        [_value_info(info) for info in graph_outputs(model)],
        g.initializers,
    )
    return helper.make_model(
        graph,
        producer_name="edge-s4op",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", op.OPSET), helper.make_opsetid(op.DOMAIN, op.DOMAIN_VERSION)],
        functions=[op_body.make_function(model.config.kind, model.config.seq_len, model.config.d_state)],
    )


class _Graph:
    """Collects nodes and initializers; names are paths, so that a profile reads like the model."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, path: str, op_type: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or path
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=path, **attributes))
        return output

    def weight(self, path: str, value: Tensor | np.ndarray) -> str:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        self.initializers.append(numpy_helper.from_array(array, path))
        return path

    def shape(self, path: str, value: Sequence[int]) -> str:
        return self.weight(path, np.asarray(value, np.int64))


def _value_info(info: TensorInfo) -> onnx.ValueInfoProto:
    types = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "INT64": TensorProto.INT64}
    shape = ["batch" if size == -1 else size for size in info.shape]
    return helper.make_tensor_value_info(info.name, types[info.datatype], shape)


def _channels_last(config: ModelConfig) -> bool:
    """Whether the residual stream is (B, L, H) rather than (B, H, L)."""
    return config.norm == "layer"


def _encode(g: _Graph, model: Classifier) -> str:
    """(B, L) tokens or (B, L, d_input) samples -> the residual stream."""
    encoder, path = model.encoder, "encoder"
    if isinstance(encoder, nn.Embedding):
        h = g.add(f"{path}/embed", "Gather", g.weight(f"{path}/table", encoder.weight), "input", axis=0)
    else:
        product = g.add(f"{path}/matmul", "MatMul", "input", g.weight(f"{path}/weight", encoder.weight.T))
        h = g.add(f"{path}/bias_add", "Add", product, g.weight(f"{path}/bias", encoder.bias))
    return h if _channels_last(model.config) else g.add(f"{path}/channels_first", "Transpose", h, perm=_SWAP)


def _block(g: _Graph, path: str, block: Block, config: ModelConfig, x: str) -> str:
    z = _norm(g, f"{path}/norm", block.norm, x) if block.prenorm else x
    if _channels_last(config):
        z = g.add(f"{path}/channels_first", "Transpose", z, perm=_SWAP)
    mixed = _glu(g, f"{path}/mix", block.mix, _ssm(g, f"{path}/ssm", block.ssm, config, z), config)
    # Sum, not Add: ONNX Runtime fuses Add with a LayerNorm behind it into an operator that is slower
    # on CPUs (1.3x for the two at H = 128, L = 4096).
    out = g.add(f"{path}/residual", "Sum", x, mixed)
    return out if block.prenorm else _norm(g, f"{path}/norm", block.norm, out)


def _ssm(g: _Graph, path: str, ssm: SSMLayer, config: ModelConfig, x: str) -> str:
    forms = {"s4d": _diagonal_form, "s4": _dense_form}
    state = dict(zip(op.STATE_INPUTS[config.kind], forms[config.kind](ssm), strict=True))
    weights = {"k": ssm.operators.kernel(config.seq_len), "d": ssm.d, **state}
    inputs = [x, *(g.weight(f"{path}/{name}", value) for name, value in weights.items())]
    g.nodes.append(
        op.make_node(
            inputs,
            path,
            channels=ssm.channels.tolist(),
            num_channels=ssm.num_channels,
            gelu=True,
            name=path,
        )
    )
    return path


def _diagonal_form(ssm: SSMLayer) -> tuple[Tensor, Tensor]:
    pole_re, pole_im, res_re, res_im = ssm.operators.discrete()
    turn = 2 * torch.pi
    phase = pole_im - turn * torch.round(pole_im / turn)  # exp(pole t) is unchanged for whole t
    return torch.stack([pole_re, phase], -1), torch.stack([res_re, res_im], -1)


def _dense_form(ssm: SSMLayer) -> tuple[Tensor, Tensor, Tensor]:
    a, b, c = ssm.operators.discrete()
    return a, b, c


def _glu(g: _Graph, path: str, mix: nn.Conv1d, y: str, config: ModelConfig) -> str:
    """a sigmoid(b), (a, b) = W y + bias, y (B, H, L) -> the residual stream's layout."""
    half = mix.out_channels // 2
    image = g.add(f"{path}/image", "Reshape", y, g.shape(f"{path}/image_shape", [0, half, 1, config.seq_len]))
    parts = []
    for name, rows in (("value", slice(half)), ("gate", slice(half, None))):
        weights = [g.weight(f"{path}/{name}/weight", mix.weight[rows, :, :, None])]
        weights.append(g.weight(f"{path}/{name}/bias", mix.bias[rows]))
        part = g.add(f"{path}/{name}", "Conv", image, *weights, kernel_shape=[1, 1])
        if name == "gate":
            part = g.add(f"{path}/sigmoid", "Sigmoid", part)
        if _channels_last(config):  # here, not behind the product: next to the Conv it costs nothing
            part = g.add(f"{path}/{name}/channels_last", "Transpose", part, perm=[0, 2, 3, 1])
        parts.append(part)
    product = g.add(f"{path}/glu", "Mul", *parts)
    axis = g.shape(f"{path}/image_axis", [1 if _channels_last(config) else 2])
    return g.add(f"{path}/sequence", "Squeeze", product, axis)


def _norm(g: _Graph, path: str, norm: nn.Module, x: str) -> str:
    weights = [g.weight(f"{path}/weight", norm.weight), g.weight(f"{path}/bias", norm.bias)]
    if isinstance(norm, nn.LayerNorm):
        return g.add(f"{path}/normalize", "LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps)
    assert isinstance(norm, nn.BatchNorm1d)
    weights += [g.weight(f"{path}/mean", norm.running_mean), g.weight(f"{path}/var", norm.running_var)]
    return g.add(f"{path}/normalize", "BatchNormalization", x, *weights, epsilon=norm.eps)


def _head(g: _Graph, model: Classifier, h: str) -> None:
    """Mean over the real positions, then the linear head: the residual stream -> logits (B, num_classes)."""
    mean = (_masked_mean if model.config.padded else _mean)(g, model.config, h)
    weights = [g.weight("head/weight", model.head.weight), g.weight("head/bias", model.head.bias)]
    g.add("head/linear", "Gemm", mean, *weights, output="logits", transB=1)


def _mean(g: _Graph, config: ModelConfig, h: str) -> str:
    if not _channels_last(config):
        return g.add("head/mean", "ReduceMean", h, g.shape("head/axis", [2]), keepdims=0)
    # A product with a row of 1/L is the mean; ReduceMean over an inner axis is slower in ONNX Runtime.
    row = g.weight("head/row", np.full((1, config.seq_len), 1 / config.seq_len, np.float32))
    return g.add("head/mean", "Squeeze", g.add("head/sum", "MatMul", row, h), g.shape("head/axis", [1]))


def _masked_mean(g: _Graph, config: ModelConfig, h: str) -> str:
    lengths = g.add("head/lengths", "Unsqueeze", "lengths", g.shape("head/one", [1]))  # (B, 1)
    real = g.add("head/real", "Less", g.shape("head/positions", range(config.seq_len)), lengths)  # (B, L)
    mask = g.add("head/mask", "Cast", real, to=TensorProto.FLOAT)
    axis = 1 if _channels_last(config) else 2
    axes = g.shape("head/axis", [axis])
    mask = g.add("head/mask_vector", "Unsqueeze", mask, axes)  # (B, 1, L) or (B, L, 1)
    factors = (mask, h) if _channels_last(config) else (h, mask)
    total = g.add("head/total", "Squeeze", g.add("head/sum", "MatMul", *factors), axes)
    return g.add("head/mean", "Div", total, g.add("head/count", "Cast", lengths, to=TensorProto.FLOAT))
