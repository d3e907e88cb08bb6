"""The ONNX file as TensorRT's parser is to see it: functions stripped for the plugin, inlined without.

TensorRT's parser up to 10.6 prefers a model-local function to a plugin and does not say so; from 10.15
it prefers the plugin only under conditions. So it never sees a function: there is nothing to prefer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
import onnx.inliner

from edge_s4op.op import is_ssm_conv

__all__ = ["count_ssm_conv", "inline_functions", "node_names", "strip_functions"]


def strip_functions(content: bytes) -> onnx.ModelProto:
    """The model without functions: every SSMConv node stands for the plugin."""
    model = onnx.load_model_from_string(content)
    del model.functions[:]
    return model


def inline_functions(content: bytes) -> onnx.ModelProto:
    """The model with every SSMConv node replaced by the standard operators of its body.

    Inlined nodes are named `<node>/<operator><number>`, as "block0/ssm/MatMul12", so that a layer
    profile still tells the layers apart.
    """
    model = onnx.load_model_from_string(content)
    bodies = {(function.domain, function.name): function for function in model.functions}
    calls = []
    for index, node in enumerate(model.graph.node):
        body = bodies.get((node.domain, node.op_type))
        if body is not None:
            call = onnx.FunctionProto()
            call.CopyFrom(body)
            call.name = node.op_type = f"{body.name}_{index}"
            _name_nodes(call.node, node.name or call.name)
            calls.append(call)
    del model.functions[:]
    model.functions.extend(calls)
    return onnx.inliner.inline_local_functions(model)


def count_ssm_conv(content: bytes) -> int:
    """How many SSMConv nodes the file has."""
    return sum(map(is_ssm_conv, onnx.load_model_from_string(content).graph.node))


def node_names(content: bytes) -> tuple[str, ...]:
    """Names of the file's nodes in order, paths such as "block0/mix/gate"."""
    return tuple(node.name for node in onnx.load_model_from_string(content).graph.node if node.name)


def _name_nodes(nodes: Sequence[onnx.NodeProto], path: str) -> None:
    """Name these nodes and those of their subgraphs below `path`, no two alike."""
    for number, node in enumerate(nodes):
        node.name = f"{path}/{node.op_type}{number}"
        for graph in _subgraphs(node):
            _name_nodes(graph.node, node.name)


def _subgraphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
