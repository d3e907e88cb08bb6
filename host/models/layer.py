"""One S4 or S4D layer: H operators, of which the pruned ones pass their channel through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from host.models.config import ModelConfig
from host.models.convolution import causal_convolution
from host.models.s4 import S4Operators
from host.models.s4d import S4DOperators

__all__ = ["OPERATORS", "SSMLayer"]

OPERATORS = {"s4d": S4DOperators, "s4": S4Operators}


class SSMLayer(nn.Module):
    """y_h = k_h * u_h + d_h u_h for kept operators, y_h = u_h for pruned ones; (B, H, L) -> (B, H, L).

    `channels` (Hk,) are the operators whose parameters exist; `mask` (H,) bool says which are kept.
    Pruning by mask leaves the parameters in place; `host.models.surgery` cuts them out.
    """

    mask: Tensor
    channels: Tensor

    def __init__(self, config: ModelConfig, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.num_channels = config.d_model
        self.operators = OPERATORS[config.kind](len(channels), config.d_state, config.dt_min, config.dt_max)
        self.d = nn.Parameter(torch.randn(len(channels)))
        self.register_buffer("channels", torch.tensor(channels), persistent=False)
        mask = torch.zeros(config.d_model, dtype=torch.bool)
        mask[list(channels)] = True
        self.register_buffer("mask", mask)

    def set_mask(self, mask: Tensor) -> None:
        """Keep exactly the operators where `mask` (H,) is true.

        Raises ValueError for another shape, for an operator that no longer exists, or if none is kept.
        """
        mask = torch.as_tensor(mask, dtype=torch.bool, device=self.mask.device)
        if mask.shape != self.mask.shape:
            raise ValueError(f"mask must have shape ({self.num_channels},), found {tuple(mask.shape)}")
        missing = sorted(set(mask.nonzero().flatten().tolist()) - set(self.channels.tolist()))
        if missing:
            raise ValueError(f"operators {missing} were cut out and cannot be kept")
        if not mask.any():
            raise ValueError("a layer keeps at least one operator")
        self.mask.copy_(mask)

    def kept_operators(self) -> tuple[int, ...]:
        """Kept channel indices, ascending."""
        return tuple(self.mask.nonzero().flatten().tolist())

    def kept_rows(self) -> Tensor:
        """Which rows of the operators' parameters are kept: indices into (Hk,)."""
        return self.mask[self.channels].nonzero().flatten()

    def forward(self, u: Tensor) -> Tensor:
        rows = self.kept_rows()
        kept = self.channels[rows]
        with torch.autocast(u.device.type, enabled=False):  # kernel and FFT stay in float32
            x = u.to(self.d.dtype)
            mine = x if len(kept) == self.num_channels else x[:, kept]
            y = causal_convolution(mine, self.operators.kernel(u.shape[-1], rows))
            y = y + self.d[rows, None] * mine
            return y if len(kept) == self.num_channels else x.index_copy(1, kept, y)
