"""LayerNorm over some of the channels."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["weighted_layer_norm"]


def weighted_layer_norm(norm: nn.LayerNorm, x: Tensor, weights: Tensor) -> Tensor:
    """`norm` over the channels of x (B, H, L), weighted by `weights` (H,) or (B, H) in its statistics.

    mean = sum_h w_h x_h / sum_h w_h, var = sum_h w_h (x_h - mean)^2 / sum_h w_h. At weights of 0 and 1 the
    channels of 1 come out as from a LayerNorm over them alone.
    """
    x = x.to(norm.weight.dtype)  # as under autocast nn.LayerNorm does
    shares = (weights / weights.sum(dim=-1, keepdim=True))[..., None]  # (H, 1) or (B, H, 1)
    centred = x - (shares * x).sum(dim=1, keepdim=True)
    variance = (shares * centred.square()).sum(dim=1, keepdim=True)  # (B, 1, L)
    return centred * (variance + norm.eps).rsqrt() * norm.weight[:, None] + norm.bias[:, None]
