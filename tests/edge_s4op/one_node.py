"""A model of one SSMConv node, its body in the file, and random weights for it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_s4op import op, op_body, reference


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def _s4d_state(rng: np.random.Generator, kept: int, modes: int, length: int) -> dict[str, np.ndarray]:
    poles = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), kept))[:, None] * (
        -0.5 + 1j * np.pi * np.arange(modes)
    )
    residues = (rng.normal(size=(kept, modes)) + 1j * rng.normal(size=(kept, modes))) * 0.05
    phase = poles.imag - 2 * np.pi * np.round(poles.imag / (2 * np.pi))
    state = {
        "poles": np.stack([poles.real, phase], -1),
        "residues": np.stack([residues.real, residues.imag], -1),
    }
    return {"k": reference.s4d_kernel(poles, residues, length), **state}


def _s4_state(rng: np.random.Generator, kept: int, modes: int, length: int) -> dict[str, np.ndarray]:
    states = 2 * modes
    orthogonal = np.linalg.qr(rng.normal(size=(kept, states, states)))[0]
    a = orthogonal * rng.uniform(0.95, 0.999, (kept, 1, 1))  # a contraction, as the bilinear transform makes
    b, c = rng.normal(size=(2, kept, states)) * 0.2
    impulse = np.zeros((1, kept, length))
    impulse[..., 0] = 1
    k = reference.state_space_recurrence(a, b, c, impulse)[0]
    return {"k": k, "a": a, "b": b, "c": c}


STATES = {"s4d": _s4d_state, "s4": _s4_state}


def one_node_model(
    kind: str,
    length: int,
    channels: list[int],
    num_channels: int,
    gelu: bool,
    elem_type: int = TensorProto.FLOAT,
    modes: int = 8,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model, x (batch, num_channels, length) -> y, and its weights, float32. S4 has 2 `modes` states."""
    rng = np.random.default_rng(0)
    weights = STATES[kind](rng, len(channels), modes, length)
    weights["d"] = rng.normal(size=len(channels))
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    names = ["x", "k", "d", *op.STATE_INPUTS[kind]]
    node = op.make_node(
        names, "y", channels=channels, num_channels=num_channels, gelu=gelu, name="block0/ssm"
    )
    shape = ["batch", num_channels, length]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, shape)],
        [numpy_helper.from_array(weights[name], name) for name in names[1:]],
    )
    imports = [helper.make_opsetid("", op.OPSET), helper.make_opsetid(op.DOMAIN, op.DOMAIN_VERSION)]
    functions = [op_body.make_function(kind, length, elem_type)]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=9), weights
