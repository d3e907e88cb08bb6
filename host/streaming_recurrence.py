"""The SSM of a layer as a recurrence in ONNX: one step written out, or a Scan over the samples.

A state is (B, Hk, 2, M): real and imaginary parts of M complex modes of Hk kept operators. Complex products
are two real ones, of the state and of the state with its two halves swapped:

    S4D   s' = p s + (1 + i) u                        y = Re sum c s' + d u      diagonal
    S4    s' = p s + l (r . s) + b u                  y = Re sum c s' + d u      diagonal plus rank one

S4D's modes are scaled so that the input drives both halves alike (c takes the factor back). S4's transition
is not diagonalised: that of LegS cannot be in floating point. It need not be: the bilinear transform of a
diagonal plus rank-one matrix is another one (Sherman-Morrison), and such a step costs hardly more.

The discrete parameters are computed in float64 and stored in float32, p as p - 1: steps are added to the
state. Samples are rows, time before batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from host.models import ModelConfig, SSMLayer
from host.onnx_nodes import GraphNodes
from host.streaming_nodes import Branch

__all__ = ["Recurrence", "keep_recurrence", "scanned", "step_macs", "stepped"]


@dataclass(frozen=True)
class Recurrence:
    """A layer's operators in the graph: `path` begins its initializers' names, `kept` channels have one."""

    path: str
    kept: tuple[int, ...]
    pruned: tuple[int, ...]
    modes: int
    has_rank_one: bool


def keep_recurrence(g: GraphNodes, path: str, ssm: SSMLayer) -> Recurrence:
    """Put the discrete parameters of a compacted layer and the constants of its nodes into the graph."""
    forms = {"s4d": _diagonal_form, "s4": _low_rank_form}
    for name, value in forms[ssm.kind](ssm).items():
        g.float_weight(f"{path}/{name}", value)
    g.float_weight(f"{path}/d", ssm.d)
    kept = tuple(ssm.channels.tolist())
    pruned = tuple(sorted(set(range(ssm.num_channels)) - set(kept)))
    if pruned:
        g.shape(f"{path}/kept", kept)
        g.shape(f"{path}/pruned", pruned)
    g.shape(f"{path}/halves", [1, 0])
    g.shape(f"{path}/state_axes", [2, 3])
    g.shape(f"{path}/any_time", [-1])
    g.shape(f"{path}/width", [len(kept)])
    g.shape(f"{path}/row_shape", [-1, len(kept)])
    return Recurrence(path, kept, pruned, ssm.operators.kept_modes.shape[1], ssm.kind == "s4")


def stepped(g: Branch, own: Recurrence, z: str, state: str) -> tuple[str, str]:
    """One sample, z (B, H) and the state -> y (B, H), kept channels first, and the next state."""
    u = _kept(g, own, z)
    y, after = _step(g, own, u, state)
    return _joined(g, own, y, u, z), after


def scanned(g: Branch, own: Recurrence, z: str, state: str) -> tuple[str, str]:
    """T samples, z (T B, H) and the state -> y (T B, H), kept channels first, and the last state."""
    path = own.path
    u = _kept(g, own, z)
    batch = g.add(f"{path}/batch", "Shape", state, start=0, end=1)
    shape = g.add(f"{path}/time_shape", "Concat", f"{path}/any_time", batch, f"{path}/width", axis=0)
    by_time = g.add(f"{path}/by_time", "Reshape", u, shape)  # (T, B, Hk)
    body = _scan_body(g, own)
    after, y = g.add_many(f"{path}/scan", "Scan", 2, state, by_time, num_scan_inputs=1, body=body)
    y = g.add(f"{path}/rows", "Reshape", y, f"{path}/row_shape")
    return _joined(g, own, y, u, z), after


def step_macs(config: ModelConfig) -> int:
    """Real multiply-accumulates of one pushed sample.

    Per layer: 2 H H for the GLU's mixing; per kept operator 3 N (S4D) or 6 N (S4), with N the layer's states:
    2 N for the poles, N for what is read; S4's rank one and b are N each. Input and head as offline.
    """
    width = config.d_model
    total = (config.d_input or 0) * width + width * config.num_classes
    each = 3 if config.kind == "s4d" else 6
    for layer, states in zip(config.kept_operators(), config.layer_states(), strict=True):
        total += 2 * width * width + len(layer) * each * states
    return total


def _scan_body(g: Branch, own: Recurrence) -> onnx.GraphProto:
    body = Branch(f"{g.name}/{own.path}/scan")
    state, u = f"{body.name}/state", f"{body.name}/u"
    y, after = _step(body, own, u, state)
    state_shape, u_shape = ["batch", len(own.kept), 2, own.modes], ["batch", len(own.kept)]

    def info(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs, outputs = (
        [info(state, state_shape), info(u, u_shape)],
        [info(after, state_shape), info(y, u_shape)],
    )
    return helper.make_graph(body.nodes, "step", inputs, outputs)


def _step(g: Branch, own: Recurrence, u: str, state: str) -> tuple[str, str]:
    """u (B, Hk) and the state (B, Hk, 2, M) -> what the state gives to y (B, Hk), and the next state."""
    path, axes = own.path, f"{own.path}/state_axes"
    drive = g.add(f"{path}/drive", "Unsqueeze", u, axes)  # (B, Hk, 1, 1)
    straight = g.add(f"{path}/straight", "Mul", state, f"{path}/step_re")
    swapped = g.add(f"{path}/swapped", "Gather", state, f"{path}/halves", axis=2)
    crossed = g.add(f"{path}/crossed", "Mul", swapped, f"{path}/step_im")
    parts = [straight, crossed]
    if own.has_rank_one:
        read = g.add(f"{path}/read", "Mul", state, f"{path}/right")
        coupling = g.add(f"{path}/coupling", "ReduceSum", read, axes, keepdims=1)
        parts.append(g.add(f"{path}/coupled", "Mul", coupling, f"{path}/left"))
        drive = g.add(f"{path}/driven", "Mul", drive, f"{path}/b")
    after = g.add(f"{path}/next", "Sum", *parts, drive, state)  # the large one last
    weighted = g.add(f"{path}/weighted", "Mul", after, f"{path}/c")
    return g.add(f"{path}/sum", "ReduceSum", weighted, axes, keepdims=0), after


def _kept(g: Branch, own: Recurrence, z: str) -> str:
    """The channels of z (rows, H) that an operator reads: (rows, Hk)."""
    return g.add(f"{own.path}/kept", "Gather", z, f"{own.path}/kept", axis=1) if own.pruned else z


def _joined(g: Branch, own: Recurrence, y: str, u: str, z: str) -> str:
    """y + d u (rows, Hk), then the channels without an operator, passed through: (rows, H)."""
    y = g.add(f"{own.path}/out", "Add", y, g.add(f"{own.path}/skip", "Mul", u, f"{own.path}/d"))
    if not own.pruned:
        return y
    passed = g.add(f"{own.path}/passed", "Gather", z, f"{own.path}/pruned", axis=1)
    return g.add(f"{own.path}/joined", "Concat", y, passed, axis=1)


def _diagonal_form(ssm: SSMLayer) -> dict[str, Tensor]:
    """p - 1, p = exp(dt A), and c = 2 residues / (1 + i), as the halves of a state meet them: (Hk, 2, M)."""
    pole_re, pole_im, res_re, res_im = ssm.operators.discrete()
    c = 2 * torch.complex(res_re, res_im) / (1 + 1j)
    return {**_poles(torch.polar(pole_re.exp(), pole_im)), "c": torch.stack([c.real, -c.imag], dim=1)}


def _low_rank_form(ssm: SSMLayer) -> dict[str, Tensor]:
    """S4's a = 2 (I - dt/2 A)^-1 - I: p = 2 D - 1 on the diagonal, l r^T beside it; b and c: (Hk, 2, M).

    D = 1 / (1 - dt/2 Lambda), w = [Re P; Im P], l = -2 g D w, r = D^* w, g = dt / (1 + dt w^T D w).
    """
    own = ssm.operators
    half = own.log_dt.double().exp()[:, None] / 2
    inverse = 1 / (1 - half * torch.complex(-own.log_a_real.double().exp(), own.a_imag.double()))
    w = torch.view_as_complex(own.p.double() * own.kept_modes[..., None])
    right = inverse.conj() * w
    gain = 2 * half / (1 + 2 * half * (w.conj() * inverse * w).real.sum(-1, keepdim=True))
    left = -2 * gain * inverse * w
    _, b, c = own.discrete()
    halves = {"left": _halves(left), "right": _halves(right)}
    return {**_poles(2 * inverse - 1), **halves, "b": b.unflatten(1, (2, -1)), "c": c.unflatten(1, (2, -1))}


def _poles(p: Tensor) -> dict[str, Tensor]:
    """What the state and the swapped state are multiplied by, so that the sum is (p - 1) s: (Hk, 2, M) each.

    Not p: of a mode that remembers 1e5 samples float32 would keep but two digits of what it forgets.
    """
    step = p - 1
    halves = {"step_re": [step.real, step.real], "step_im": [-step.imag, step.imag]}
    return {name: torch.stack(pair, 1) for name, pair in halves.items()}


def _halves(z: Tensor) -> Tensor:
    return torch.stack([z.real, z.imag], dim=1)
