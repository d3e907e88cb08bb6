"""A user's own models, data, loss and metric: nothing of them is a classifier of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_s4op.messages import MeasurementSettings
from host.compress import SSMLayer

LENGTH = 40
QUICK = MeasurementSettings(
    warmup_ms=0, max_warmup_ms=0, max_duration_ms=15, min_duration_ms=0, min_iterations=5, cooldown_max_ms=0
)


class OwnModel(nn.Module):
    """Regression: a convolution, two SSM layers of different widths (the second one called twice), a head."""

    def __init__(self, first: str = "s4d", second: str = "s4d") -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 6, 3, padding=1)
        self.first = SSMLayer(6, kind=first, d_state=8, dt_min=1e-2)
        self.down = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = SSMLayer(4, kind=second, d_state=4, dt_min=1e-2)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, L, 2) -> (B, 1)
        x = functional.gelu(self.first(self.stem(x.transpose(1, 2))))  # (B, 6, L)
        x = self.norm(self.down(x.transpose(1, 2)).transpose(1, 2))  # (B, 4, L)
        x = functional.gelu(self.second(functional.relu(self.second(x))))
        return self.head(self.dropout(x).mean(dim=-1))


class Plain(nn.Module):
    """A model without SSM layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean(dim=1))


def own_model(first: str = "s4d", second: str = "s4d", *, masked: bool = False) -> OwnModel:
    torch.manual_seed(1)
    model = OwnModel(first, second).eval()
    model.norm.running_mean.normal_()
    if masked:
        model.first.set_kept_operators([1, 2, 5])
        model.second.set_kept_operators([3])
    return model


def own_batches(samples: int = 24, batch_size: int = 8) -> list[tuple[Tensor, Tensor]]:
    """The target is the mean of the first channel, half a sequence ago."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, LENGTH, 2, generator=generator)
    y = x[:, : LENGTH // 2, :1].mean(dim=1)
    return list(zip(x.split(batch_size), y.split(batch_size), strict=True))


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return (model(x) - y).square().mean(dim=1)  # (B,)


@torch.no_grad()
def minus_error(model: nn.Module, batches: Iterable[Any]) -> float:
    return -float(torch.cat([squared_error(model, batch) for batch in batches]).mean())


def example() -> Tensor:
    return own_batches()[0][0]
