"""Any torch model as an ONNX graph, by torch's tracing exporter: each call of an SSM layer is one node.

The tracing (TorchScript) exporter is used on purpose: a `symbolic` is all it takes to write a node of our
own, without onnxscript, and it writes opset 20, which our operator's body and TensorRT 10's parser read.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edge_s4op import op
from edge_s4op.errors import ExportError
from host.compress.forms import node_kind, node_weights
from host.compress.layers import LayerUse, replaced
from host.models.convolution import causal_convolution
from host.models.layer import Kind, SSMLayer, ssm_layers

__all__ = ["LAYER_ATTRIBUTE", "prepared", "traced"]

LAYER_ATTRIBUTE = "layer"
"""Attribute of a traced SSMConv node that holds the path of its layer; no finished file has it."""


@dataclass(frozen=True)
class _Node:
    """The attributes of a layer's SSMConv nodes."""

    path: str
    channels: tuple[int, ...]
    num_channels: int


class _SSMConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kept: Tensor, node: _Node, k: Tensor, d: Tensor, *state: Tensor
    ) -> Tensor:
        mine = x[:, kept]  # (B, Hk, L)
        return x.index_copy(1, kept, causal_convolution(mine, k) + d[:, None] * mine)

    @staticmethod
    def symbolic(g: Any, x: Any, kept: Any, node: _Node, *weights: Any) -> Any:
        y = g.op(
            f"{op.DOMAIN}::{op.NAME}",
            x,
            *weights,
            plugin_version_s=op.PLUGIN_VERSION,
            plugin_namespace_s=op.PLUGIN_NAMESPACE,
            channels_i=list(node.channels),
            num_channels_i=node.num_channels,
            gelu_i=0,
            **{f"{LAYER_ATTRIBUTE}_s": node.path},
        )
        y.setType(x.type())  # the exporter cannot infer it: (B, H, L) as x
        return y


class _ExportedLayer(nn.Module):
    """A layer as its node's inputs: kernel, d and state form are computed once, here."""

    def __init__(self, path: str, layer: SSMLayer, seq_len: int, kind: Kind) -> None:
        super().__init__()
        self._node = _Node(path, layer.kept_operators(), layer.num_channels)
        weights = node_weights(layer, seq_len, kind)
        self._names = tuple(weights)
        self.register_buffer("channels", layer.channels.clone())  # the tracer wants every tensor as an input
        for name, value in weights.items():
            # a copy each: the exporter would merge equal tensors, and each node's weights are its own
            self.register_buffer(name, value.detach().to(torch.float32, copy=True).contiguous())

    def forward(self, u: Tensor) -> Tensor:
        weights = [getattr(self, name) for name in self._names]
        return _SSMConv.apply(u, self.channels, self._node, *weights)


@torch.no_grad()
def prepared(model: nn.Module, uses: Mapping[str, LayerUse]) -> nn.Module:
    """`model`, a cut one in float32, its SSM layers replaced in place by what the tracer writes as nodes.

    A layer that no forward pass uses stays.
    """
    layers = {path: layer for path, layer in ssm_layers(model).items() if uses[path].calls}
    kind = node_kind(layers.values())
    exported = {
        layer: _ExportedLayer(path, layer, uses[path].seq_len, kind) for path, layer in layers.items()
    }
    return replaced(model, exported).eval()


def traced(
    model: nn.Module, args: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """The ONNX graph of a prepared model, dimension 0 of all inputs and outputs dynamic.

    Raises ExportError when torch cannot trace the model.
    """
    content = io.BytesIO()
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                model,
                tuple(args),
                content,
                dynamo=False,
                opset_version=op.OPSET,
                custom_opsets={op.DOMAIN: op.DOMAIN_VERSION},
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
            )
    except Exception as error:  # whatever the tracer and the user's own code raise
        first_line = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise ExportError(
            f"torch cannot export this {type(model).__name__} to ONNX: {first_line}",
            fix="use operators that ONNX opset 20 has, on tensors rather than on Python numbers",
        ) from error
    return onnx.load_model_from_string(content.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's advice to use its newer exporter, which the user of this one cannot act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning
        )
        warnings.filterwarnings(
            "ignore", "The feature will be removed", DeprecationWarning, module=r"torch\.onnx\."
        )
        yield
