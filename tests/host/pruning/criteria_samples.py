"""Models and calibration data that criteria are tried on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from host.data.batches import Batch
from host.models import Classifier
from host.models.layer import SSMLayer
from host.pruning import CRITERIA, Calibration
from tests.host.models.cut_samples import sample_inputs

VARIANTS = [
    ("s4d", "layer", False, "continuous", False),
    ("s4d", "batch", True, "tokens", True),
    ("s4", "batch", False, "continuous", True),
    ("s4", "layer", True, "tokens", False),
]


class OwnModel(nn.Module):
    """A user's: layers of different widths and kinds, the second one called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = SSMLayer(6, kind="s4", d_state=8, dt_min=1e-2)
        self.down = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = SSMLayer(4, kind="s4d", d_state=4, dt_min=1e-2)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, 6, L) -> (B,)
        x = functional.gelu(self.first(x)).transpose(1, 2)
        x = self.norm(self.down(x).transpose(1, 2))
        x = functional.gelu(self.second(functional.gelu(self.second(x))))
        return self.head(self.dropout(x).mean(dim=-1))[:, 0]


def own_model() -> OwnModel:
    torch.manual_seed(2)
    model = OwnModel().double()
    model.norm.eval()
    return model


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, target = batch
    return (model(x) - target).square()


def own_calibration(sizes: Sequence[int] = (3, 2)) -> Calibration:
    torch.manual_seed(4)
    whole = torch.randn(sum(sizes), 6, 20, dtype=torch.float64), torch.randn(sum(sizes), dtype=torch.float64)
    data = list(zip(*(tensor.split(list(sizes)) for tensor in whole), strict=True))
    return Calibration(lambda: data, squared_error)


def exact_loss(model: nn.Module, batch: Batch) -> Tensor:
    """`classification_loss` without its step down to float32."""
    return functional.cross_entropy(model(batch.x, batch.lengths), batch.y, reduction="none")


def calibration(model: Classifier, sizes: Sequence[int] = (3, 2)) -> Calibration:
    """The same samples, in the model's dtype, however they are split into batches."""
    torch.manual_seed(5)
    x, *lengths = sample_inputs(model.config, sum(sizes))
    x = x.to(model.head.weight.dtype) if x.is_floating_point() else x
    y = torch.randint(0, model.config.num_classes, (sum(sizes),))
    rows = torch.arange(sum(sizes)).split(list(sizes))
    data = [Batch(x[part], y[part], lengths[0][part] if lengths else None) for part in rows]
    return Calibration(lambda: data, exact_loss)


def scores_of(name: str, model: nn.Module, data: Calibration | None) -> list[np.ndarray]:
    return CRITERIA.get(name)(model, data, np.random.default_rng(0))


@torch.no_grad()
def make_pass_through(layer: SSMLayer, row: int) -> None:
    """Operator `row` computes y = u."""
    layer.operators.c[row] = 0
    layer.d[row] = 1
