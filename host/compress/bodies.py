"""The function body of SSMConv for files whose layers have sequences of different lengths.

`op_body` makes a body for one length, which stands in it as the number of chunks, twice. For several lengths
it is the longest one's, with that number left for the runtime to infer: x is padded to whole chunks, and y
cut back. As the convolution is causal, what lies behind the end changes nothing before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_s4op import op_body

__all__ = ["make_function"]


def make_function(kind: str, lengths: Sequence[int]) -> onnx.FunctionProto:
    """The body of SSMConv for `kind` ("s4d" or "s4") and sequences of any of `lengths`."""
    longest = max(lengths)
    if len(set(lengths)) == 1:
        return op_body.make_function(kind, longest)
    chunk = op_body.chunk_length(longest)
    chunks = -(-longest // chunk)
    function = op_body.make_function(kind, chunk * chunks)
    inner = list(function.node)
    _replace_constant(inner, [0, -1, chunks, chunk], [0, 0, -1, chunk])
    _replace_constant(inner, [0, -1, chunk * chunks], [0, 0, -1])
    _rename(inner, {"x": "padded_x", "k": "padded_k"})
    inner[-1].output[0] = "padded_y"
    del function.node[:]
    function.node.extend([*_padding(chunk), *inner, *_cutting()])
    return function


def _padding(chunk: int) -> list[onnx.NodeProto]:
    """x (B, H, L) padded to whole chunks, and k (Hk, L) by a chunk: the body reads its first taps."""
    return [
        _constant("chunk", [chunk]),
        _constant("pad_before", [0, 0, 0, 0, 0]),
        _constant("pad_k", [0, 0, 0, chunk]),
        helper.make_node("Shape", ["x"], ["length"], start=2, end=3),
        helper.make_node("Neg", ["length"], ["minus_length"]),
        helper.make_node("Mod", ["minus_length", "chunk"], ["missing"]),  # of the divisor's sign: 0 or more
        helper.make_node("Concat", ["pad_before", "missing"], ["pad_x"], axis=0),
        helper.make_node("Pad", ["x", "pad_x"], ["padded_x"]),
        helper.make_node("Pad", ["k", "pad_k"], ["padded_k"]),
    ]


def _cutting() -> list[onnx.NodeProto]:
    """y (B, H, L) without what was padded."""
    return [
        _constant("start", [0]),
        _constant("axis", [2]),
        helper.make_node("Slice", ["padded_y", "start", "length", "axis"], ["y"]),
    ]


def _constant(name: str, values: Sequence[int]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values, np.int64)))


def _replace_constant(nodes: Sequence[onnx.NodeProto], old: Sequence[int], new: Sequence[int]) -> None:
    """Give the one Constant among `nodes` that is `old` another value."""
    (found,) = (node for node in nodes if node.op_type == "Constant" and _is(node, old))
    found.CopyFrom(_constant(found.output[0], new))


def _is(constant: onnx.NodeProto, values: Sequence[int]) -> bool:
    (attribute,) = constant.attribute
    return attribute.HasField("t") and np.array_equal(numpy_helper.to_array(attribute.t), values)


def _rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Let `nodes` and the graphs inside them read other names."""
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g.node, names)
