"""A model file of one SSM layer alone, to measure what the layer takes by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from onnx import TensorProto, helper

from edge_s4op import op, op_body
from edge_s4op.artifact import Artifact, Manifest, TensorInfo, artifact_from_model
from host.models.layer import Kind, SSMLayer
from host.onnx_graph import IR_VERSION, add_ssm_node
from host.onnx_nodes import GraphNodes

__all__ = ["LayerShape", "probe_artifact"]


@dataclass(frozen=True)
class LayerShape:
    """What the latency of a layer depends on, beside how many operators it keeps."""

    kind: Kind
    num_channels: int
    d_state: int
    seq_len: int

    @property
    def name(self) -> str:
        """As curves are named: "s4d-H64-N64-L150"."""
        return f"{self.kind}-H{self.num_channels}-N{self.d_state}-L{self.seq_len}"


@torch.no_grad()
def probe_artifact(shape: LayerShape, kept: int) -> Artifact:
    """One SSMConv node with its GELU, (B, H, L) -> (B, H, L), that keeps `kept` operators evenly spread.

    Its weights are those of a fresh layer, the same at every call: latency does not depend on them.
    """
    channels = [i * shape.num_channels // kept for i in range(kept)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = SSMLayer(shape.num_channels, kind=shape.kind, d_state=shape.d_state, channels=channels).eval()
    g = GraphNodes("fp32")
    y = add_ssm_node(g, "ssm", layer, shape.seq_len, "input", gelu=True)
    g.add("output", "Cast", y, output="output", to=TensorProto.FLOAT)  # a type that shape inference can see
    sizes = (-1, shape.num_channels, shape.seq_len)
    graph = helper.make_graph(g.nodes, "ssm_layer", [_value("input", sizes)], [_value("output", sizes)])
    graph.initializer.extend(g.initializers)
    model = helper.make_model(
        graph,
        producer_name="edge-s4op",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", op.OPSET), helper.make_opsetid(op.DOMAIN, op.DOMAIN_VERSION)],
        functions=[op_body.make_function(shape.kind, shape.seq_len)],
    )
    return artifact_from_model(model, _manifest(shape, channels, sizes, layer))


def _manifest(shape: LayerShape, channels: list[int], sizes: tuple[int, ...], layer: SSMLayer) -> Manifest:
    return Manifest(
        model_kind=shape.kind,
        inputs=(TensorInfo(name="input", datatype="FP32", shape=sizes),),
        outputs=(TensorInfo(name="output", datatype="FP32", shape=sizes),),
        d_model=shape.num_channels,
        d_state=shape.d_state,
        seq_len=shape.seq_len,
        kept_operators=(tuple(channels),),
        parameters=sum(parameter.numel() for parameter in layer.parameters()),
        macs=0,
    )


def _value(name: str, sizes: tuple[int, ...]):  # type: ignore[no-untyped-def]
    shape = ["batch" if size == -1 else size for size in sizes]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
