"""The function body of SSMConv for files whose layers have sequences of different lengths.

`op_body` makes a body for one length. Here one function holds those of all lengths and takes the one of its
kernel's length: an If whose condition depends on an initialiser's shape alone, so that runtimes fold it
away when they load the file. (Measured with ONNX Runtime 1.20, 1.23 and 1.31.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_s4op import op_body

__all__ = ["make_function"]


def make_function(kind: str, lengths: Sequence[int]) -> onnx.FunctionProto:
    """The body of SSMConv for `kind` ("s4d" or "s4") and sequences of any of `lengths`, ascending."""
    function = op_body.make_function(kind, lengths[0])
    if len(lengths) > 1:
        nodes = [*_own_inputs(op_body.chunk_length(lengths[-1])), *_choice(kind, lengths, "y")]
        del function.node[:]
        function.node.extend(nodes)
    return function


def _own_inputs(taps: int) -> list[onnx.NodeProto]:
    """Nodes for "length", the kernel's, and for "own_x" and "own_k", x and k as the bodies read them."""
    return [
        helper.make_node("Shape", ["k"], ["length"], start=1, end=2),
        # All of x, by an end that shape inference does not see through (ONNX Runtime's follows Shape, not
        # ReduceMax): x does not fit the other lengths' branches, and a file is refused for branches
        # that it never takes.
        helper.make_node("ReduceMax", ["length"], ["end"], keepdims=1),
        helper.make_node("Constant", [], ["start"], value=_integers(0)),
        helper.make_node("Constant", [], ["axis"], value=_integers(2)),
        helper.make_node("Slice", ["x", "start", "end", "axis"], ["own_x"]),
        # Behind a short kernel zeros: ONNX Runtime folds constants of branches that it never takes, and
        # up to 1.23 fails where one reads more taps than there are.
        helper.make_node("Constant", [], ["zeros"], value=_integers(0, 0, 0, taps)),
        helper.make_node("Pad", ["k", "zeros"], ["own_k"]),
    ]


def _choice(kind: str, lengths: Sequence[int], output: str) -> list[onnx.NodeProto]:
    """Nodes that compute `output` by the body of the kernel's length, which is one of `lengths`."""
    first, *others = lengths
    if not others:
        return _body(kind, first, output)
    names = f"{output}_{first}", f"{output}_above_{first}"
    branches = [_choice(kind, own, name) for own, name in zip(([first], others), names, strict=True)]
    then, other = (
        helper.make_graph(body, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
        for body, name in zip(branches, names, strict=True)
    )
    return [
        helper.make_node("Constant", [], [f"length_{first}"], value=_integers(first)),
        helper.make_node("Equal", ["length", f"length_{first}"], [f"is_{first}"]),
        helper.make_node("If", [f"is_{first}"], [output], then_branch=then, else_branch=other),
    ]


def _body(kind: str, length: int, output: str) -> list[onnx.NodeProto]:
    """The nodes of one length's body, which reads "own_x" and "own_k" for x and k, and writes `output`."""
    nodes = list(op_body.make_function(kind, length).node)
    _rename(nodes, {"x": "own_x", "k": "own_k"})
    nodes[-1].output[0] = output
    return nodes


def _rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Let `nodes` and the graphs inside them read other names."""
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g.node, names)


def _integers(*values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64))
