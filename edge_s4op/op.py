"""The SSM operator as one ONNX node: `SSMConv`, domain `trt.plugins`.

    y[b, c] = (k[i] * x[b, c]) + d[i] x[b, c]    for channels[i] = c   (* is causal convolution)
    y[b, c] = x[b, c]                            for every other channel
    y = gelu(y) (exact, erf)                     when the attribute gelu is 1

Inputs, in this order: x [B, H, L], k [Hk, Lk] float32, d [Hk] float32, then the state form, from
which k follows and which the chunked algorithms need:

    S4D   poles [Hk, M, 2], residues [Hk, M, 2]   k[t] = 2 Re sum_m residues[m] exp(poles[m] t)
    S4    a [Hk, M, M], b [Hk, M], c [Hk, M]      k[t] = c a^t b

Complex numbers are (real, imaginary) pairs. The imaginary part of a pole is stored modulo 2 pi: t is
a whole number, so nothing changes, and float32 keeps seven digits of the phase itself.

A file that uses the operator carries a model-local function of the same name (see
`edge_s4op.op_body`), so that a runtime which does not know the operator runs it all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

__all__ = [
    "DOMAIN",
    "DOMAIN_VERSION",
    "NAME",
    "OPSET",
    "STATE_INPUTS",
    "channels_of_node",
    "is_ssm_conv",
    "make_node",
]

DOMAIN = "trt.plugins"
DOMAIN_VERSION = 1
NAME = "SSMConv"
PLUGIN_VERSION = "1"
PLUGIN_NAMESPACE = ""
OPSET = 20
INPUTS = ("x", "k", "d")
STATE_INPUTS = {"s4d": ("poles", "residues"), "s4": ("a", "b", "c")}
ATTRIBUTES = ("plugin_version", "plugin_namespace", "channels", "num_channels", "gelu")


def make_node(
    inputs: Sequence[str], output: str, *, channels: Sequence[int], num_channels: int, gelu: bool, name: str
) -> onnx.NodeProto:
    """One SSMConv node; `inputs` names x, k, d and the state form, `channels` the kept operators.

    Raises ValueError unless `channels` is ascending, non-empty and within [0, num_channels).
    """
    channels = list(channels)
    if (
        not channels
        or channels != sorted(set(channels))
        or not 0 <= channels[0] <= channels[-1] < num_channels
    ):
        raise ValueError(f"channels must be ascending and within [0, {num_channels}), found {channels}")
    return helper.make_node(
        NAME,
        list(inputs),
        [output],
        name=name,
        domain=DOMAIN,
        plugin_version=PLUGIN_VERSION,
        plugin_namespace=PLUGIN_NAMESPACE,
        channels=channels,
        num_channels=num_channels,
        gelu=int(gelu),
    )


def is_ssm_conv(node: onnx.NodeProto) -> bool:
    """Whether `node` is an SSMConv node."""
    return bool(node.op_type == NAME and node.domain == DOMAIN)


def channels_of_node(node: onnx.NodeProto) -> tuple[int, ...]:
    """The kept channels of an SSMConv node; empty when the attribute is missing."""
    for attribute in node.attribute:
        if attribute.name == "channels":
            return tuple(attribute.ints)
    return ()
