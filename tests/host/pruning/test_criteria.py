"""What holds for every criterion."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from edge_s4op.errors import UsageError
from host.models import compact
from host.models.layer import SSMLayer, ssm_layers
from host.pruning import CRITERIA, Calibration
from host.pruning.criteria import NEEDS_DATA
from tests.host.models.cut_samples import cut_model, whole_model
from tests.host.pruning.criteria_samples import (
    VARIANTS,
    calibration,
    make_pass_through,
    own_calibration,
    own_model,
    scores_of,
    squared_error,
)

NAMES = ["fisher", "h2", "hinf", "magnitude", "output-change", "random", "taylor"]
SCORING = [name for name in NAMES if name != "random"]


def test_the_criteria_are_these():
    assert set(NAMES) <= set(CRITERIA.names())
    assert sorted(NEEDS_DATA) == ["fisher", "output-change", "taylor"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_operator_of_every_kind_of_model_gets_a_score(name: str, variant: tuple[Any, ...]):
    model = whole_model(*variant)
    scores = scores_of(name, model, calibration(model))
    assert [(layer.shape, layer.dtype) for layer in scores] == [((8,), np.float64)] * 3
    assert all((layer > 0).all() for layer in scores)


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_different_width_in_a_user_s_model_are_scored(name: str):
    scores = scores_of(name, own_model(), own_calibration())
    assert [layer.shape for layer in scores] == [(6,), (4,)]
    assert all((layer > 0).all() for layer in scores)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_scoring_leaves_no_trace(name: str, training: bool):
    model = own_model().train(training)
    model.norm.train(not training)
    model.head.bias.requires_grad_(False)
    model.first.gate = torch.full((6,), 0.5, dtype=torch.float64)
    model.down.weight.grad = torch.ones_like(model.down.weight)
    before = copy.deepcopy(model)
    data = own_calibration()

    def shuffled() -> Any:  # draws from torch's global random state, as a DataLoader does
        torch.rand(3)
        return data.batches()

    torch.manual_seed(9)
    state = torch.get_rng_state()
    first = scores_of(name, model, Calibration(shuffled, squared_error))
    assert torch.equal(state, torch.get_rng_state())
    for module, old in zip(model.modules(), before.modules(), strict=True):
        assert module.training is old.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for (path, tensor), old in zip(model.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(tensor, old), path
    for (path, parameter), old in zip(model.named_parameters(), before.parameters(), strict=True):
        assert parameter.requires_grad is old.requires_grad, path
        assert (parameter.grad is None) is (path != "down.weight")
    assert (model.down.weight.grad == 1).all()
    assert torch.equal(model.first.gate, before.first.gate)
    assert model.second.gate is None
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(scores_of(name, model, data)))
    model.first.gate = None
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(scores_of(name, model, data)))


@pytest.mark.parametrize("name", sorted(NEEDS_DATA))
def test_a_loss_that_fails_leaves_no_trace_either(name: str):
    model = own_model().train()

    def broken(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        model(batch[0])
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        scores_of(name, model, Calibration(own_calibration().batches, broken))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert (model.first.gate, model.second.gate) == (None, None)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_an_operator_that_passes_its_input_through_is_worth_nothing(name: str, kind: str):
    model = whole_model(kind).double()
    for layer, row in zip(ssm_layers(model).values(), (0, 3, 7), strict=True):
        make_pass_through(layer, row)
    scores = scores_of(name, model, calibration(model))
    for layer, row in zip(scores, (0, 3, 7), strict=True):
        assert layer[row] <= 1e-13 * layer.max()
        assert (np.delete(layer, row) > 1e-6 * layer.max()).all()


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize("variant", VARIANTS)
def test_masked_operators_score_zero_and_the_others_as_if_they_were_cut_out(
    name: str, variant: tuple[Any, ...]
):
    model = cut_model(*variant).double()
    with torch.no_grad():
        model.blocks[1].ssm.operators.c[0] = float("nan")  # of a masked operator
    small = compact(model)
    masked, cut = (scores_of(name, own, calibration(own)) for own in (model, small))
    names = small.config.original_channels()
    for layer, left, kept in zip(masked, cut, small.kept_operators(), strict=True):
        originals = [names[channel] for channel in kept]
        np.testing.assert_allclose(left[list(kept)], layer[originals], rtol=1e-9)
        assert (layer[originals] > 0).all()
        assert not np.delete(layer, originals).any()
        assert not np.delete(left, kept).any()


@pytest.mark.parametrize("name", SCORING)
def test_states_that_are_masked_do_not_count(name: str):
    model = cut_model("s4").double()
    scores = scores_of(name, model, calibration(model))
    with torch.no_grad():
        for layer in ssm_layers(model).values():
            layer.operators.c[~layer.operators.kept_modes] = 1e3
            layer.operators.b[~layer.operators.kept_modes] = 1e3
    again = scores_of(name, model, calibration(model))
    np.testing.assert_allclose(np.concatenate(scores), np.concatenate(again), rtol=1e-9)


@pytest.mark.parametrize("name", sorted(NEEDS_DATA))
def test_criteria_that_need_data_say_so_and_which_do_not(name: str):
    with pytest.raises(UsageError, match=rf"'{name}' needs training data; .*batches.*loss.*; .*h2, hinf, ma"):
        scores_of(name, whole_model(), None)
    with pytest.raises(UsageError, match="no calibration data"):
        scores_of(name, whole_model(), Calibration(list, squared_error))


@pytest.mark.parametrize("name", sorted(set(NAMES) - NEEDS_DATA))
def test_the_others_need_none(name: str):
    model = own_model()
    with_data, without = (scores_of(name, model, data) for data in (own_calibration(), None))
    np.testing.assert_array_equal(np.concatenate(with_data), np.concatenate(without))


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_a_score_that_is_no_number_is_an_error_that_says_where(name: str, value: float, kind: str):
    model = whole_model(kind)
    with torch.no_grad():
        model.blocks[1].ssm.d[2] = value
    layer = r"blocks\.[01]\.ssm" if name in NEEDS_DATA else r"blocks\.1\.ssm"
    with pytest.raises(UsageError, match=rf"'{name}' cannot score layer '{layer}'; .*NaN or infinity"):
        scores_of(name, model, calibration(model))


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        *itertools.product(["h2", "hinf"], ["log_dt", "log_a_real", "a_imag", "c"]),
        *itertools.product(["magnitude"], ["log_dt", "c"]),
    ],
)
@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_parameters_that_are_no_numbers_are_noticed(name: str, parameter: str, kind: str):
    layer = SSMLayer(4, kind=kind, d_state=6)
    with torch.no_grad():
        getattr(layer.operators, parameter)[2] = float("nan")
    with pytest.raises(UsageError, match=r"layer 'of the model'; .*for 1 of 4: 2"):
        scores_of(name, layer, None)
