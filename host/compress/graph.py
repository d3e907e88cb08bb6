"""From a traced graph to a file's graph: names, fused GELUs, and the bodies of its SSMConv nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from edge_s4op import op
from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import ExportError
from host.compress.bodies import make_function
from host.compress.layers import LayerUse
from host.compress.trace import LAYER_ATTRIBUTE
from host.onnx_graph import IR_VERSION

__all__ = ["finished", "states_of", "value_info"]

_ELEM_TYPES = {"FP32": onnx.TensorProto.FLOAT, "INT64": onnx.TensorProto.INT64}


def finished(
    model: onnx.ModelProto, uses: Mapping[str, LayerUse], outputs: Sequence[TensorInfo]
) -> onnx.ModelProto:
    """`model`, as `traced` returned it, with its nodes' bodies and its outputs' shapes; changed in place.

    Raises ExportError when the graph has no SSMConv node: the output depends on none of the layers.
    """
    nodes = [node for node in model.graph.node if op.is_ssm_conv(node)]
    if not nodes:
        raise ExportError(
            "the exported graph has no SSM layer: no output depends on one",
            fix="return an output that is computed from the SSM layers",
        )
    lengths = {uses[_take_path(node)].seq_len for node in nodes}
    (kind,) = set(map(_kind, nodes))
    model.functions.append(make_function(kind, sorted(lengths)))
    model.ir_version = IR_VERSION
    _fuse_gelu(model.graph)
    del model.graph.output[:]
    model.graph.output.extend(map(value_info, outputs))
    del model.graph.value_info[:]  # the tracer's guesses: readers infer shapes themselves
    model.producer_name, model.producer_version = "edge-s4op", ""
    return model


def value_info(info: TensorInfo) -> onnx.ValueInfoProto:
    """An input or output of a graph as the manifest describes it."""
    shape = ["batch" if size == -1 else size for size in info.shape]
    return helper.make_tensor_value_info(info.name, _ELEM_TYPES[info.datatype], shape)


def states_of(model: onnx.ModelProto) -> tuple[int, ...]:
    """Real states per operator of each SSMConv node, by the shape of its state form."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if op.is_ssm_conv(node)]
    return tuple(shapes[node.input[len(op.INPUTS)]][1] * (2 if _kind(node) == "s4d" else 1) for node in nodes)


def _kind(node: onnx.NodeProto) -> str:
    counts = {len(op.INPUTS) + len(names): kind for kind, names in op.STATE_INPUTS.items()}
    return counts[len(node.input)]


def _take_path(node: onnx.NodeProto) -> str:
    """Read the layer's path off a traced node, and remove it."""
    (index,) = (i for i, attribute in enumerate(node.attribute) if attribute.name == LAYER_ATTRIBUTE)
    path = node.attribute[index].s.decode()
    del node.attribute[index]
    return path


def _fuse_gelu(graph: onnx.GraphProto) -> None:
    """Let SSMConv do the exact GELU behind it, where nothing else reads what lies between."""
    outputs = {value.name for value in graph.output}
    for node in filter(op.is_ssm_conv, tuple(graph.node)):
        readers = [other for other in graph.node if node.output[0] in other.input]
        if len(readers) == 1 and node.output[0] not in outputs and _is_exact_gelu(readers[0]):
            (gelu,) = (attribute for attribute in node.attribute if attribute.name == "gelu")
            gelu.i = 1
            node.output[0] = readers[0].output[0]
            graph.node.remove(readers[0])


def _is_exact_gelu(node: onnx.NodeProto) -> bool:
    approximations = [a.s for a in node.attribute if a.name == "approximate"]
    return node.op_type == "Gelu" and node.domain == "" and approximations in ([], [b"none"])
