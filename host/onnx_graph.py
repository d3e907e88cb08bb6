"""A classifier as an ONNX graph: one SSMConv node per layer, everything else standard operators.

SSMConv works channels first, (B, H, L): a row of one channel is contiguous, so that picking kept
channels copies whole rows. The residual stream lies as its norm reads it: channels first for BatchNorm,
channels last, (B, L, H), for LayerNorm. The GLU's two products are 1x1 convolutions over (B, H, 1, L),
which runtimes fuse with bias and sigmoid and, for LayerNorm, with the Transpose behind them.

In fp16 the encoder, the residual stream, the GLU and what LayerNorm reads and writes are FP16
(LayerNormalization computes in FP32 by its definition). FP32 stay: the graph's inputs and logits; k, d and
the state form; BatchNorm, whose variances span more than FP16 holds; the mean over L, a long sum; the head.
The types stand in the file, as TensorRT's strongly typed networks read them.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from edge_s4op import op, op_body
from edge_s4op.artifact import Precision, TensorInfo
from host.models import Block, Classifier, ModelConfig, SSMLayer
from host.onnx_nodes import GraphNodes

__all__ = ["IR_VERSION", "add_ssm_node", "graph_inputs", "graph_outputs", "onnx_from_model", "ssm_weights"]

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
def onnx_from_model(model: Classifier, precision: Precision = "fp32") -> onnx.ModelProto:
    """The graph of a compacted model in eval mode; batch is dynamic, the sequence length is not.

    Raises ExportError for a weight that fp16 cannot hold.
    """
    g = GraphNodes(precision)
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
        functions=[op_body.make_function(model.config.kind, model.config.seq_len, g.elem_type)],
    )


def _value_info(info: TensorInfo) -> onnx.ValueInfoProto:
    types = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "INT64": TensorProto.INT64}
    shape = ["batch" if size == -1 else size for size in info.shape]
    return helper.make_tensor_value_info(info.name, types[info.datatype], shape)


def _channels_last(config: ModelConfig) -> bool:
    """Whether the residual stream is (B, L, H) rather than (B, H, L)."""
    return config.norm == "layer"


def _encode(g: GraphNodes, model: Classifier) -> str:
    """(B, L) tokens or (B, L, d_input) samples -> the residual stream."""
    encoder, path = model.encoder, "encoder"
    if isinstance(encoder, nn.Embedding):
        h = g.add(f"{path}/embed", "Gather", g.weight(f"{path}/table", encoder.weight), "input", axis=0)
    else:
        x = g.as_activation(f"{path}/half", "input")
        product = g.add(f"{path}/matmul", "MatMul", x, g.weight(f"{path}/weight", encoder.weight.T))
        h = g.add(f"{path}/bias_add", "Add", product, g.weight(f"{path}/bias", encoder.bias))
    return h if _channels_last(model.config) else g.add(f"{path}/channels_first", "Transpose", h, perm=_SWAP)


def _block(g: GraphNodes, path: str, block: Block, config: ModelConfig, x: str) -> str:
    z = _norm(g, f"{path}/norm", block.norm, x) if block.prenorm else x
    if _channels_last(config):
        z = g.add(f"{path}/channels_first", "Transpose", z, perm=_SWAP)
    y = add_ssm_node(g, f"{path}/ssm", block.ssm, config.seq_len, z, gelu=True)
    # Right before a LayerNorm minus the negated GLU: ONNX Runtime fuses Add with the norm into an operator
    # that is slower on CPUs (1.3x for the two at H = 128, L = 4096), and runs Sum on one thread.
    negated = _channels_last(config) and not block.prenorm
    mixed = _glu(g, f"{path}/mix", block.mix, y, config, negated)
    out = g.add(f"{path}/residual", "Sub" if negated else "Add", x, mixed)
    return out if block.prenorm else _norm(g, f"{path}/norm", block.norm, out)


def add_ssm_node(g: GraphNodes, path: str, ssm: SSMLayer, seq_len: int, x: str, *, gelu: bool) -> str:
    """The layer's kept operators as one SSMConv node over x (B, H, seq_len); returns its output's name."""
    weights = ssm_weights(ssm, seq_len)
    inputs = [x, *(g.float_weight(f"{path}/{name}", value) for name, value in weights.items())]
    channels = ssm.channels.tolist()
    g.nodes.append(
        op.make_node(inputs, path, channels=channels, num_channels=ssm.num_channels, gelu=gelu, name=path)
    )
    return path


def ssm_weights(ssm: SSMLayer, seq_len: int) -> dict[str, Tensor]:
    """What an SSMConv node takes behind x, by name and in order: k, d and the state form (`edge_s4op.op`).

    Of every operator whose parameters exist: masked ones are to be cut out first.
    """
    forms = {"s4d": _diagonal_form, "s4": _dense_form}
    state = dict(zip(op.STATE_INPUTS[ssm.kind], forms[ssm.kind](ssm), strict=True))
    return {"k": ssm.operators.kernel(seq_len), "d": ssm.d, **state}


def _diagonal_form(ssm: SSMLayer) -> tuple[Tensor, Tensor]:
    pole_re, pole_im, res_re, res_im = ssm.operators.discrete()
    turn = 2 * torch.pi
    phase = pole_im - turn * torch.round(pole_im / turn)  # exp(pole t) is unchanged for whole t
    return torch.stack([pole_re, phase], -1), torch.stack([res_re, res_im], -1)


def _dense_form(ssm: SSMLayer) -> tuple[Tensor, Tensor, Tensor]:
    a, b, c = ssm.operators.discrete()
    return a, b, c


def _glu(g: GraphNodes, path: str, mix: nn.Conv1d, y: str, config: ModelConfig, negated: bool) -> str:
    """a sigmoid(b), (a, b) = W y + bias, y (B, H, L) -> the residual stream's layout; or minus that."""
    half = mix.out_channels // 2
    image = g.add(f"{path}/image", "Reshape", y, g.shape(f"{path}/image_shape", [0, half, 1, config.seq_len]))
    parts = []
    for name, rows in (("value", slice(half)), ("gate", slice(half, None))):
        sign = -1 if negated and name == "value" else 1
        weights = [g.weight(f"{path}/{name}/weight", sign * mix.weight[rows, :, :, None])]
        weights.append(g.weight(f"{path}/{name}/bias", sign * mix.bias[rows]))
        part = g.add(f"{path}/{name}", "Conv", image, *weights, kernel_shape=[1, 1])
        if name == "gate":
            part = g.add(f"{path}/sigmoid", "Sigmoid", part)
        if _channels_last(config):  # here, not behind the product: next to the Conv it costs nothing
            part = g.add(f"{path}/{name}/channels_last", "Transpose", part, perm=[0, 2, 3, 1])
        parts.append(part)
    product = g.add(f"{path}/glu", "Mul", *parts)
    axis = g.shape(f"{path}/image_axis", [1 if _channels_last(config) else 2])
    return g.add(f"{path}/sequence", "Squeeze", product, axis)


def _norm(g: GraphNodes, path: str, norm: nn.Module, x: str) -> str:
    if isinstance(norm, nn.LayerNorm):
        weights = [g.weight(f"{path}/weight", norm.weight), g.weight(f"{path}/bias", norm.bias)]
        return g.add(f"{path}/normalize", "LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps)
    assert isinstance(norm, nn.BatchNorm1d)
    values = {"weight": norm.weight, "bias": norm.bias, "mean": norm.running_mean, "var": norm.running_var}
    weights = [g.float_weight(f"{path}/{name}", value) for name, value in values.items()]
    x = g.as_float(f"{path}/float", x)
    y = g.add(f"{path}/normalize", "BatchNormalization", x, *weights, epsilon=norm.eps)
    return g.as_activation(f"{path}/half", y)


def _head(g: GraphNodes, model: Classifier, h: str) -> None:
    """Mean over the real positions, then the linear head: the residual stream -> logits (B, num_classes)."""
    h = g.as_float("head/float", h)
    mean = (_masked_mean if model.config.padded else _mean)(g, model.config, h)
    weights = [g.float_weight("head/weight", model.head.weight), g.float_weight("head/bias", model.head.bias)]
    g.add("head/linear", "Gemm", mean, *weights, output="logits", transB=1)


def _mean(g: GraphNodes, config: ModelConfig, h: str) -> str:
    # In fp16, whose reader is TensorRT, no product: TF32, its default, rounds 1/L to ten bits.
    if g.half or not _channels_last(config):
        axis = 1 if _channels_last(config) else 2
        return g.add("head/mean", "ReduceMean", h, g.shape("head/axis", [axis]), keepdims=0)
    # A product with a row of 1/L is the mean; ReduceMean over an inner axis is slower in ONNX Runtime.
    row = g.float_weight("head/row", np.full((1, config.seq_len), 1 / config.seq_len, np.float32))
    return g.add("head/mean", "Squeeze", g.add("head/sum", "MatMul", row, h), g.shape("head/axis", [1]))


def _masked_mean(g: GraphNodes, config: ModelConfig, h: str) -> str:
    lengths = g.add("head/lengths", "Unsqueeze", "lengths", g.shape("head/one", [1]))  # (B, 1)
    real = g.add("head/real", "Less", g.shape("head/positions", range(config.seq_len)), lengths)  # (B, L)
    mask = g.add("head/mask", "Cast", real, to=TensorProto.FLOAT)
    axis = 1 if _channels_last(config) else 2
    axes = g.shape("head/axis", [axis])
    mask = g.add("head/mask_vector", "Unsqueeze", mask, axes)  # (B, 1, L) or (B, L, 1)
    factors = (mask, h) if _channels_last(config) else (h, mask)
    total = g.add("head/total", "Squeeze", g.add("head/sum", "MatMul", *factors), axes)
    return g.add("head/mean", "Div", total, g.add("head/count", "Cast", lengths, to=TensorProto.FLOAT))
