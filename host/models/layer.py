"""One S4 or S4D layer: H operators, of which the pruned ones pass their channel through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from host.models.convolution import causal_convolution
from host.models.s4 import S4Operators
from host.models.s4d import S4DOperators

__all__ = ["OPERATORS", "Kind", "SSMLayer", "ssm_layers"]

Kind = Literal["s4d", "s4"]

OPERATORS = {"s4d": S4DOperators, "s4": S4Operators}


class SSMLayer(nn.Module):
    """y_h = k_h * u_h + d_h u_h for kept operators, y_h = u_h for pruned ones; (B, H, L) -> (B, H, L).

    `d_state` counts real states: 64 means 32 conjugate pairs. `channels` (Hk,) are the operators whose
    parameters exist (None: all H); `mask` (H,) bool says which are kept. Pruning by mask leaves the
    parameters in place; `host.models.surgery` cuts them out. So it is with conjugate pairs: the operators'
    `kept_modes` (Hk, M) bool says which of an operator's M = d_state / 2 take part, equally many in each.

    `gate` is None, or a tensor (H,) or (B, H) that fades operators out: a kept operator then gives
    u_h + gate_h (k_h * u_h + d_h u_h - u_h). At 1 nothing changes, at 0 the operator passes its channel
    through, and the loss's gradient with respect to it says what the operator is worth. It is not part of
    the state: no checkpoint holds it.
    """

    mask: Tensor
    channels: Tensor
    gate: Tensor | None

    def __init__(
        self,
        d_model: int,
        *,
        kind: Kind = "s4d",
        d_state: int = 64,
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.num_channels = d_model
        self.d_state = d_state
        channels = tuple(range(d_model)) if channels is None else tuple(channels)
        self.operators = OPERATORS[kind](len(channels), d_state, dt_min, dt_max)
        self.d = nn.Parameter(torch.randn(len(channels)))
        self.gate = None
        self.register_buffer("channels", torch.tensor(channels), persistent=False)
        mask = torch.zeros(d_model, dtype=torch.bool)
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

    def set_kept_operators(self, channels: Sequence[int]) -> None:
        """`set_mask` by channel indices."""
        mask = torch.zeros(self.num_channels, dtype=torch.bool)
        mask[list(channels)] = True
        self.set_mask(mask)

    def kept_operators(self) -> tuple[int, ...]:
        """Kept channel indices, ascending."""
        return tuple(self.mask.nonzero().flatten().tolist())

    def kept_rows(self) -> Tensor:
        """Which rows of the operators' parameters are kept: indices into (Hk,)."""
        return self.mask[self.channels].nonzero().flatten()

    def set_kept_modes(self, kept: Tensor) -> None:
        """Keep exactly the conjugate pairs where `kept` (Hk, M) is true; its rows are those of `channels`.

        Raises ValueError for another shape, or unless every operator keeps the same number, at least one.
        """
        kept = torch.as_tensor(kept, dtype=torch.bool, device=self.mask.device)
        own = self.operators.kept_modes
        if kept.shape != own.shape:
            raise ValueError(f"kept modes must have shape {tuple(own.shape)}, found {tuple(kept.shape)}")
        counts = sorted(set(kept.sum(dim=1).tolist()))
        if len(counts) != 1 or not counts[0]:
            raise ValueError(f"every operator keeps equally many modes, at least one; found {counts}")
        own.copy_(kept)

    def states(self) -> int:
        """Real states that each operator keeps: two a conjugate pair."""
        return 2 * int(self.operators.kept_modes[0].sum())

    def forward(self, u: Tensor) -> Tensor:
        rows = self.kept_rows()
        kept = self.channels[rows]
        with torch.autocast(u.device.type, enabled=False):  # kernel and FFT stay in float32
            x = u.to(self.d.dtype)
            mine = x if len(kept) == self.num_channels else x[:, kept]
            y = causal_convolution(mine, self.operators.kernel(u.shape[-1], rows))
            y = y + self.d[rows, None] * mine
            if self.gate is not None:
                y = mine + self.gate[..., kept, None] * (y - mine)
            return y if len(kept) == self.num_channels else x.index_copy(1, kept, y)


def ssm_layers(model: nn.Module) -> dict[str, SSMLayer]:
    """Every SSMLayer of `model` by its path, in the order of `model.named_modules()`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SSMLayer)}
