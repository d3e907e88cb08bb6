"""In which state form a model's SSMConv nodes carry their operators (`edge_s4op.op`): one form a file.

A file has one function body for SSMConv, and the two kinds differ in its inputs. Overloads of functions (ONNX
IR version 10) would allow both: measured, ONNX Runtime 1.31 runs them, 1.20 to 1.26 refuse the file. So where
a model has layers of both kinds, its S4D layers are written in S4's dense form, of which they are a case.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from host.models.layer import Kind, SSMLayer
from host.onnx_graph import ssm_weights

__all__ = ["dense_form", "node_kind", "node_weights"]


def node_kind(layers: Iterable[SSMLayer]) -> Kind:
    """The kind of all SSMConv nodes of a file with these layers: "s4d" where all of them are."""
    return "s4d" if all(layer.kind == "s4d" for layer in layers) else "s4"


def node_weights(layer: SSMLayer, seq_len: int, kind: Kind) -> dict[str, Tensor]:
    """What a node of `kind` takes behind x: k, d and the state form, by name and in order."""
    weights = ssm_weights(layer, seq_len)
    if layer.kind == kind:
        return weights
    return {"k": weights["k"], "d": weights["d"], **dense_form(layer)}


def dense_form(layer: SSMLayer) -> dict[str, Tensor]:
    """An S4D layer's a (H, N, N), b and c (H, N), real: k[t] = c a^t b, N = 2M.

    The state [Re z; Im z] of M pairs z turns by exp(pole): a = [[Re, -Im], [Im, Re]] of its diagonal,
    b = [1; 0], c = 2 [Re r, -Im r] with residues r.
    """
    pole_re, pole_im, res_re, res_im = layer.operators.discrete()  # (H, M) each
    turn = torch.exp(torch.complex(pole_re, pole_im))
    re, im = torch.diag_embed(turn.real), torch.diag_embed(turn.imag)
    a = torch.cat([torch.cat([re, -im], dim=-1), torch.cat([im, re], dim=-1)], dim=-2)
    b = torch.cat([torch.ones_like(res_re), torch.zeros_like(res_re)], dim=-1)
    return {"a": a, "b": b, "c": 2 * torch.cat([res_re, -res_im], dim=-1)}
