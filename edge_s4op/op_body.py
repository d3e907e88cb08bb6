"""What SSMConv computes, as standard ONNX operators: the body of the model-local function.

The chunked state-space form. Cut the sequence into n = L / T chunks u_j of T samples; then with the
kernel's first T taps K (K[0] holds d too) and the state x_j before chunk j

    W[i, t] = K[t-i] for t >= i, else 0      what a chunk's samples do to its own outputs   (T, T)
    S_j     = u_j B,  B[i] = a^(T-1-i) b     what a chunk adds to the state                 (T, M)
    x_{j+1} = a^T x_j + S_j                  a Scan over chunks
    y_j     = u_j W + x_j C,  C[t] = c a^(t+1)                                              (M, T)

costs about 2T + 4M multiply-adds a sample instead of the L of the plain sum. W, B, C and a^T depend on
initialisers alone: the runtime folds them when it loads the file, so the file stays small.

For S4D a is diagonal and complex: a state is (2, M) reals, [Re; Im], and a^T x is a^T_re x + a^T_im
flip(x) with a^T_im = [-Im; Im]. For S4 a is a dense real (M, M) matrix, raised by squaring (the bilinear
transform of LegS is a contraction, so squaring is stable).

All of it is float32. Where x and y are float16 the body casts x up first and y down last: the powers of a
span more than float16 can hold, and the error of y stays that of rounding x and y alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_s4op import op

__all__ = ["chunk_length", "make_function"]


def chunk_length(seq_len: int) -> int:
    """Samples a chunk: 32 up to 1024 samples, 64 above (fastest in ONNX Runtime on CPUs)."""
    return 32 if seq_len <= 1024 else 64


def make_function(kind: str, seq_len: int, elem_type: int = TensorProto.FLOAT) -> onnx.FunctionProto:
    """The body of SSMConv for `kind` ("s4d" or "s4") and sequences of `seq_len`.

    It serves nodes with any number of states: that one stands in the shapes of their state form alone.
    `elem_type` is the type of x and y, TensorProto.FLOAT or FLOAT16; the weights are float32 in both.
    """
    g = _Body()
    x = "x" if elem_type == TensorProto.FLOAT else g("Cast", "x", to=TensorProto.FLOAT)
    chunk = chunk_length(seq_len)
    chunks = math.ceil(seq_len / chunk)
    u = _chunked(g, _kept_rows(g, x), seq_len, chunk, chunks)  # (B, Hk, n, T)
    y = g("MatMul", u, _toeplitz(g, chunk, seq_len))  # (B, Hk, n, T)
    if chunks > 1:
        form = _diagonal if kind == "s4d" else _dense
        y = g("Add", y, form(g, u, chunk))
    y = _unchunked(g, y, seq_len, chunk, chunks)  # (B, Hk, L)
    y = _gelu_if_asked(g, _with_passed_through(g, x, y))  # (B, H, L)
    if elem_type == TensorProto.FLOAT:
        g.nodes.append(helper.make_node("Identity", [y], ["y"]))
    else:
        g.nodes.append(helper.make_node("Cast", [y], ["y"], to=elem_type))
    return helper.make_function(
        op.DOMAIN,
        op.NAME,
        [*op.INPUTS, *op.STATE_INPUTS[kind]],
        ["y"],
        g.nodes,
        [helper.make_opsetid("", op.OPSET)],
        list(op.ATTRIBUTES),
    )


class _Body:
    """Collects nodes; `g(op, *inputs)` adds one and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        return self.many(op_type, 1, *inputs, **attributes)[0]

    def many(self, op_type: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        outputs = [f"{op_type}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        tensor = numpy_helper.from_array(np.asarray(value, dtype))
        return self("Constant", value=tensor)


def _attribute(g: _Body, name: str, kind: str) -> str:
    """The node's attribute `name` as a tensor; `kind` is value_int or value_ints."""
    kinds = {"value_int": onnx.AttributeProto.INT, "value_ints": onnx.AttributeProto.INTS}
    reference = onnx.AttributeProto(name=kind, ref_attr_name=name, type=kinds[kind])
    value = g("Constant")
    g.nodes[-1].attribute.append(reference)
    return value


def _chunked(g: _Body, x: str, seq_len: int, chunk: int, chunks: int) -> str:
    if chunks * chunk != seq_len:
        x = g("Pad", x, g.constant([0, 0, 0, 0, 0, chunks * chunk - seq_len]))
    return g("Reshape", x, g.constant([0, -1, chunks, chunk]))


def _unchunked(g: _Body, y: str, seq_len: int, chunk: int, chunks: int) -> str:
    y = g("Reshape", y, g.constant([0, -1, chunks * chunk]))
    if chunks * chunk != seq_len:
        y = g("Slice", y, g.constant([0]), g.constant([seq_len]), g.constant([2]))
    return y


def _toeplitz(g: _Body, chunk: int, seq_len: int) -> str:
    """W (Hk, T, T): the kernel's first taps, zeros above the diagonal, d added to the tap at 0."""
    taps = min(chunk, seq_len)
    first = g("Slice", "k", g.constant([0]), g.constant([1]), g.constant([1]))
    rest = g("Slice", "k", g.constant([1]), g.constant([taps]), g.constant([1]))
    first = g("Add", first, g("Unsqueeze", "d", g.constant([1])))
    padded = g("Concat", g("Mul", first, g.constant(0.0, np.float32)), first, rest, axis=1)  # 0, K0 + d, K1..
    lag = np.arange(chunk)[None, :] - np.arange(chunk)[:, None]  # t - i
    return g("Gather", padded, g.constant(np.where((lag >= 0) & (lag < taps), lag + 1, 0)), axis=1)


def _diagonal(g: _Body, u: str, chunk: int) -> str:
    """What earlier chunks do to a chunk's outputs, S4D: (B, Hk, n, T)."""
    steps = np.arange(chunk, dtype=np.float32)
    re, im = _powers(g, "poles", steps[::-1][:, None])  # a^(T-1-i): (Hk, T, M) each
    s = g("MatMul", u, g("Concat", re, im, axis=2))  # (B, Hk, n, 2M)
    s = g("Transpose", s, perm=[2, 0, 1, 3])
    s = g("Reshape", s, g.constant([0, 0, 0, 2, -1]))  # (n, B, Hk, 2, M)
    flipped = _scan_diagonal(g, s, chunk)  # (n, B, Hk, 2, M): [Im; Re] of the state before each chunk
    x = g("Reshape", flipped, g.constant([0, 0, 0, -1]))
    x = g("Transpose", x, perm=[1, 2, 0, 3])  # next to the MatMul, so that the two are fused
    re, im = _powers(g, "poles", steps[:, None] + 1)  # a^(t+1): (Hk, T, M)
    c_re, c_im = _pair(g, g("Unsqueeze", "residues", g.constant([1])))  # (Hk, 1, M)
    ca_re = g("Sub", g("Mul", c_re, re), g("Mul", c_im, im))
    ca_im = g("Add", g("Mul", c_re, im), g("Mul", c_im, re))
    out = g("Concat", g("Mul", ca_im, g.constant(-2.0, np.float32)), g("Add", ca_re, ca_re), axis=2)
    out = g("Unsqueeze", g("Transpose", out, perm=[0, 2, 1]), g.constant([0]))  # (1, Hk, 2M, T)
    return g("MatMul", x, out)


def _scan_diagonal(g: _Body, s: str, chunk: int) -> str:
    """x_{j+1} = a^T x_j + S_j; yields flip(x_j), the by-product that saves a copy a step."""
    re, im = _powers(g, "poles", np.full((1, 1), chunk, np.float32))  # (Hk, 1, M)
    a_re = g("Concat", re, re, axis=1)  # (Hk, 2, M): no broadcast inside the loop
    a_im = g("Concat", g("Neg", im), im, axis=1)
    flip = g.constant([1, 0])
    nodes = [
        helper.make_node("Gather", ["state", flip], ["flipped"], axis=2),
        helper.make_node("Mul", ["state", a_re], ["p"]),
        helper.make_node("Mul", ["flipped", a_im], ["q"]),
        helper.make_node("Sum", ["p", "q", "added"], ["next_state"]),
    ]
    return _scan(g, s, nodes, "flipped")


def _scan(g: _Body, s: str, nodes: list[onnx.NodeProto], emitted: str) -> str:
    """Scan over axis 0 of `s`, from a zero state; returns the stacked `emitted` values.

    The zeros are made from values of `s`, not from its size: only so does shape inference know the batch
    behind the Scan. Without it ONNX Runtime copies both halves of the GLU behind, not their product alone.
    """
    first = g("Gather", s, g.constant(0), axis=0)
    start = g("Cast", g("Less", first, first), to=TensorProto.FLOAT)  # 0, where `first` is NaN, too
    graph = helper.make_graph(
        nodes,
        "chunk_step",
        [_any_float("state"), _any_float("added")],
        [_any_float("next_state"), _any_float(emitted)],
    )
    return g.many("Scan", 2, start, s, num_scan_inputs=1, body=graph)[1]


def _any_float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _pair(g: _Body, pairs: str) -> tuple[str, str]:
    """(..., 2) real pairs -> real and imaginary parts (...)."""
    re = g("Gather", pairs, g.constant(0), axis=-1)
    return re, g("Gather", pairs, g.constant(1), axis=-1)


def _powers(g: _Body, poles: str, steps: np.ndarray) -> tuple[str, str]:
    """exp(pole * step), real and imaginary parts, (Hk, steps, M); `steps` is (steps, 1)."""
    exponent = g("Mul", g("Unsqueeze", poles, g.constant([1])), g.constant(steps[..., None], np.float32))
    decay, phase = _pair(g, exponent)  # (Hk, steps, M)
    size = g("Exp", decay)
    return g("Mul", size, g("Cos", phase)), g("Mul", size, g("Sin", phase))


def _dense(g: _Body, u: str, chunk: int) -> str:
    """What earlier chunks do to a chunk's outputs, S4: (B, Hk, n, T)."""
    reach, read, power = _dense_matrices(g, chunk)
    s = g("Transpose", g("MatMul", u, reach), perm=[2, 0, 1, 3])
    s = g("Unsqueeze", s, g.constant([3]))  # (n, B, Hk, 1, M)
    nodes = [
        helper.make_node("MatMul", ["state", power], ["moved"]),
        helper.make_node("Add", ["moved", "added"], ["next_state"]),
        helper.make_node("Identity", ["state"], ["before"]),
    ]
    x = g("Reshape", _scan(g, s, nodes, "before"), g.constant([0, 0, 0, -1]))
    x = g("Transpose", x, perm=[1, 2, 0, 3])
    return g("MatMul", x, g("Unsqueeze", read, g.constant([0])))


def _dense_matrices(g: _Body, chunk: int) -> tuple[str, str, str]:
    """B (Hk, T, M) with rows a^(T-1-i) b, C (Hk, M, T) with columns c a^(t+1), and (a^T) transposed."""
    power = "a"
    reach = g("Unsqueeze", "b", g.constant([1]))  # rows a^0 b
    read = g("MatMul", g("Unsqueeze", "c", g.constant([1])), "a")  # rows c a^1
    for _ in range(int(math.log2(chunk))):
        transposed = g("Transpose", power, perm=[0, 2, 1])
        reach = g("Concat", g("MatMul", reach, transposed), reach, axis=1)
        read = g("Concat", read, g("MatMul", read, power), axis=1)
        power = g("MatMul", power, power)
    return reach, g("Transpose", read, perm=[0, 2, 1]), g("Transpose", power, perm=[0, 2, 1])


def _kept_rows(g: _Body, x: str) -> str:
    """The kept channels of x, (B, Hk, L); x itself when nothing is pruned."""
    gather = helper.make_node("Gather", [x, _attribute(g, "channels", "value_ints")], ["branch"], axis=1)
    return _choose(g, _all_kept(g), [helper.make_node("Identity", [x], ["branch"])], [gather])


def _with_passed_through(g: _Body, x: str, kept: str) -> str:
    """Put the kept channels' outputs (B, Hk, L) where they belong among the inputs (B, H, L)."""
    channels = _attribute(g, "channels", "value_ints")
    total = _attribute(g, "num_channels", "value_int")
    count = g("Squeeze", g("Shape", channels), g.constant([0]))
    zero, one = g.constant(0), g.constant(1)
    untouched = g("Add", g("Range", zero, total, one), count)  # x stands behind the kept in the Concat
    source = g("ScatterElements", untouched, channels, g("Range", zero, count, one))
    merge = [
        helper.make_node("Concat", [kept, x], ["both"], axis=1),
        helper.make_node("Gather", ["both", source], ["branch"], axis=1),
    ]
    return _choose(g, _all_kept(g), [helper.make_node("Identity", [kept], ["branch"])], merge)


def _all_kept(g: _Body) -> str:
    count = g("Squeeze", g("Shape", _attribute(g, "channels", "value_ints")), g.constant([0]))
    return g("Equal", count, _attribute(g, "num_channels", "value_int"))


def _gelu_if_asked(g: _Body, y: str) -> str:
    gelu = g("Cast", _attribute(g, "gelu", "value_int"), to=TensorProto.BOOL)
    then = [helper.make_node("Gelu", [y], ["branch"])]
    return _choose(g, gelu, then, [helper.make_node("Identity", [y], ["branch"])])


def _choose(g: _Body, condition: str, then: list[onnx.NodeProto], other: list[onnx.NodeProto]) -> str:
    """An If whose branches end in "branch"; its condition is a constant, so runtimes fold it away."""
    graphs = [helper.make_graph(nodes, "branch", [], [_any_float("branch")]) for nodes in (then, other)]
    return g("If", condition, then_branch=graphs[0], else_branch=graphs[1])
