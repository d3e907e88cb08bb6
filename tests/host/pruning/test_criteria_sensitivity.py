"""taylor and fisher are what each sample's loss says, one sample at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_s4op.errors import UsageError
from host.models.layer import ssm_layers
from host.pruning import Calibration
from tests.host.models.cut_samples import whole_model
from tests.host.pruning.criteria_samples import (
    VARIANTS,
    calibration,
    own_calibration,
    own_model,
    scores_of,
    squared_error,
)

NAMES = ["taylor", "fisher"]


def finite_differences(model: nn.Module, data: Calibration, step: float = 1e-6) -> list[np.ndarray]:
    """d loss_b / d gate_h of every layer, (samples, H): both ends of a step, in one gate for all calls."""
    found = []
    with torch.no_grad():
        for layer in ssm_layers(model).values():
            columns = []
            for channel in range(layer.num_channels):
                ends = []
                for sign in (1, -1):
                    layer.gate = layer.d.new_ones(layer.num_channels)
                    layer.gate[channel] += sign * step
                    ends.append(torch.cat(list(data.losses(model))))
                columns.append((ends[0] - ends[1]) / (2 * step))
            layer.gate = None
            found.append(torch.stack(columns, dim=1).numpy())
    return found


def assert_scores(model: nn.Module, data: Calibration, gradients: list[np.ndarray], rtol: float) -> None:
    for name, of in (("taylor", np.abs), ("fisher", np.square)):
        for found, gradient in zip(scores_of(name, model, data), gradients, strict=True):
            expected = of(gradient).mean(axis=0)
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * expected.max(), err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_finite_differences_of_each_sample_s_loss(variant: tuple[Any, ...]):
    model = whole_model(*variant).double()
    data = calibration(model, (4, 1))
    assert_scores(model, data, finite_differences(model, data), rtol=1e-6)


def test_a_layer_that_is_called_twice_has_one_gate():
    model, data = own_model().eval(), own_calibration()
    assert_scores(model, data, finite_differences(model, data), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_those_of_batches_of_one(name: str):
    for model, make in ((whole_model("s4d", "batch").double(), calibration), (own_model(), own_calibration)):
        given = (model,) if make is calibration else ()
        whole, parts, single = (
            np.concatenate(scores_of(name, model, make(*given, sizes)))
            for sizes in ((5,), (2, 3), (1, 1, 1, 1, 1))
        )
        np.testing.assert_allclose(whole, single, rtol=1e-10)
        np.testing.assert_allclose(parts, single, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_float32_gives_the_same_scores(name: str):
    model = whole_model("s4", "batch")
    single = np.concatenate(scores_of(name, model, calibration(model)))
    model = model.double()
    np.testing.assert_allclose(single, np.concatenate(scores_of(name, model, calibration(model))), rtol=2e-3)


@pytest.mark.parametrize("order", ["side by side", "one after the other"])
def test_a_sample_may_be_several_rows(order: str):
    """Two sequences a sample, in one batch of twice the size, however they are laid out; and in two calls."""

    def stacked(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, target = batch
        if order == "side by side":
            left, right = model(torch.stack([x, x.flip(0)], dim=1).flatten(0, 1)).view(-1, 2).unbind(1)
        else:
            left, right = model(torch.cat([x, x.flip(0)])).chunk(2)
        return (left * right - target).square()

    def two_calls(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0]) * model(batch[0].flip(0)) - batch[1]).square()

    model, batches = own_model().eval(), own_calibration((3, 1, 2)).batches
    gradients = finite_differences(model, Calibration(batches, two_calls))
    assert_scores(model, Calibration(batches, two_calls), gradients, rtol=1e-6)
    assert_scores(model, Calibration(batches, stacked), gradients, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_signs_do_not_cancel_between_samples(name: str):
    """Two samples that pull an operator in opposite directions do not make it worthless."""
    model = own_model()
    (x, _), *_ = own_calibration((1,)).batches()
    with torch.no_grad():
        y = model.eval()(x)
    pull = [(x, y + 1), (x, y - 1)]
    both = scores_of(name, model, Calibration(lambda: pull, squared_error))
    one = scores_of(name, model, Calibration(lambda: pull[:1], squared_error))
    np.testing.assert_allclose(np.concatenate(both), np.concatenate(one), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_that_the_loss_does_not_depend_on_is_worth_nothing(name: str):
    class Bypassed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.never = (own_model().first for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            return self.used(x).mean(dim=(1, 2))

    used, idle, never = scores_of(name, Bypassed(), own_calibration())
    assert (used > 0).all()
    assert not idle.any()
    assert not never.any()


@pytest.mark.parametrize("name", NAMES)
def test_works_where_the_caller_switched_gradients_off(name: str):
    expected = np.concatenate(scores_of(name, own_model(), own_calibration()))
    with torch.no_grad():
        found = np.concatenate(scores_of(name, own_model(), own_calibration()))
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_of_a_weight_is_computed(name: str):
    model, data, asked = own_model(), own_calibration(), []

    def watched(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        asked.extend(path for path, parameter in model.named_parameters() if parameter.requires_grad)
        return squared_error(model, batch)

    scores_of(name, model, Calibration(data.batches, watched))
    assert not asked


@pytest.mark.parametrize("name", NAMES)
def test_losses_without_gradients_are_refused(name: str):
    data = own_calibration()
    detached = Calibration(data.batches, lambda *given: squared_error(*given).detach())
    with pytest.raises(UsageError, match=r"does not depend on any SSM layer; .*not detached"):
        scores_of(name, own_model(), detached)
    summed = Calibration(data.batches, lambda *given: squared_error(*given).sum())
    with pytest.raises(UsageError, match="not one number per sample"):
        scores_of(name, own_model(), summed)
