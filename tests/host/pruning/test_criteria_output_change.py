"""output-change is what becomes of a block when an operator is really replaced by the pass-through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from host.models import Classifier
from host.models.classifier import Block
from host.models.config import ModelConfig
from host.pruning import Calibration
from host.pruning.criteria.block_output import output_change
from tests.host.models.cut_samples import cut_model, whole_model
from tests.host.pruning.criteria_samples import VARIANTS, calibration, own_calibration, own_model, scores_of


@torch.no_grad()
def replaced_one_by_one(model: Classifier, data: Calibration) -> list[np.ndarray]:
    """Every block run again with every channel passed through, on the inputs that it gets in the model."""
    features = model.feature_weights()
    change, whole = np.zeros((len(model.blocks), 8)), np.zeros((len(model.blocks), 1))
    for batch in data.batches():
        h = model.encoder(batch.x).transpose(1, 2)
        h = h if features is None else h * features[:, None]
        lengths = [h.shape[-1]] * len(h) if batch.lengths is None else batch.lengths.tolist()
        for index, block in enumerate(model.blocks):
            u = block.normalize(h, features) if block.prenorm else h
            y = block.ssm(u)
            out = block.mixed(y, features)
            for channel in range(8):
                passed = y.clone()
                passed[:, channel] = u[:, channel]
                moved = block.mixed(passed, features) - out
                change[index, channel] += sum(
                    moved[row, :, :n].square().sum().item() for row, n in enumerate(lengths)
                )
            whole[index] += sum(out[row, :, :n].square().sum().item() for row, n in enumerate(lengths))
            h = block(h, features)
    return list(change / whole)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make", [whole_model, cut_model])
@pytest.mark.parametrize("sizes", [(3, 2), (250,)])  # 250 x 70 positions are worked off in three parts
def test_scores_are_those_of_replacing_operators_one_by_one(
    variant: tuple[Any, ...], make: Any, sizes: tuple[int, ...]
):
    model = make(*variant).double()
    data = calibration(model, sizes)
    for found, expected in zip(
        scores_of("output-change", model, data), replaced_one_by_one(model, data), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_how_samples_are_batched_does_not_matter():
    model = whole_model("s4d", "batch", padded=True)
    whole, parts = (
        np.concatenate(scores_of("output-change", model, calibration(model, sizes)))
        for sizes in ((5,), (1, 3, 1))
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-4)


def test_a_layer_in_no_block_is_judged_by_its_activations():
    """Here its second layer is called twice: sums of both calls."""
    model, data = own_model().eval(), own_calibration()
    first, second = scores_of("output-change", model, data)
    change, whole = torch.zeros(4, dtype=torch.float64), 0.0
    with torch.no_grad():
        for x, _ in data.batches():
            y = functional.gelu(model.first(x))
            u = model.norm(model.down(y.transpose(1, 2)).transpose(1, 2))
            for _ in range(2):
                y = functional.gelu(model.second(u))
                change += (y - functional.gelu(u)).square().sum(dim=(0, 2))
                whole += y.square().sum()
                u = y
    np.testing.assert_allclose(second, change / whole, rtol=1e-10)
    assert (first > 0).all()


def test_a_block_of_a_user_s_model_counts_every_position():
    config = ModelConfig(kind="s4d", num_classes=2, seq_len=9, d_input=1, d_model=8, d_state=4, depth=1)

    class Bare(nn.Module):
        def __init__(self, block: Block) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x).mean(dim=(1, 2))

    torch.manual_seed(3)
    classifier = Classifier(config).double().eval()
    block = classifier.blocks[0]
    x = torch.randn(3, 9, 1, dtype=torch.float64)
    inside = classifier.encoder(x).transpose(1, 2).detach()
    data = Calibration(lambda: [inside], lambda model, batch: model(batch))
    of_classifier = Calibration(lambda: [x], lambda model, batch: model(batch)[:, 0])
    np.testing.assert_allclose(
        output_change(Bare(block), data, np.random.default_rng(0))[0],
        output_change(classifier, of_classifier, np.random.default_rng(0))[0],
        rtol=1e-12,
    )


def test_what_the_mixing_ignores_is_worth_nothing():
    model = whole_model().double()
    with torch.no_grad():
        model.blocks[1].mix.weight[:, 5] = 0
        model.blocks[2].mix.weight.zero_()
        model.blocks[2].mix.bias.zero_()
    scores = scores_of("output-change", model, calibration(model))
    assert scores[1][5] == 0
    assert np.count_nonzero(scores[1]) == 7
    assert not scores[2].any()  # nothing is written at all: 0, not 0 / 0
