import copy

import pytest

from edge_s4op.errors import UsageError
from host.models.parameters import is_ssm_parameter
from host.training import TrainConfig, train
from host.training.optimizer import build_optimizer, parameter_groups, set_learning_rate
from tests.host.training.training_samples import SETTINGS, classifier, dataset

CONFIG = TrainConfig(lr=0.01, ssm_lr=0.002, weight_decay=0.3)


def test_ssm_parameters_have_their_own_rate_and_no_decay():
    model = classifier()
    group = {g["name"]: g for g in parameter_groups(model, CONFIG)}["ssm"]
    assert (group["lr"], group["weight_decay"]) == (0.002, 0.0)
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters() if is_ssm_parameter(p)}


def test_only_matrices_decay():
    groups = {g["name"]: g for g in parameter_groups(classifier(), CONFIG)}
    assert (groups["decay"]["lr"], groups["decay"]["weight_decay"]) == (0.01, 0.3)
    assert (groups["no_decay"]["lr"], groups["no_decay"]["weight_decay"]) == (0.01, 0.0)
    assert all(p.ndim > 1 for p in groups["decay"]["params"])
    assert all(p.ndim <= 1 for p in groups["no_decay"]["params"])


def test_every_trained_parameter_is_in_exactly_one_group():
    model = classifier(norm="batch")
    frozen = next(p for p in model.parameters() if not is_ssm_parameter(p))
    frozen.requires_grad_(False)
    grouped = [id(p) for g in parameter_groups(model, CONFIG) for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p is not frozen)


def test_the_schedule_scales_each_group_from_its_own_peak():
    optimizer = build_optimizer(classifier(), CONFIG)
    for factor in (0.5, 0.25):  # not one on top of the other
        set_learning_rate(optimizer, factor)
    rates = {g["name"]: g["lr"] for g in optimizer.param_groups}
    assert rates == pytest.approx({"ssm": 0.0005, "no_decay": 0.0025, "decay": 0.0025})


@pytest.mark.parametrize("ssm_moves", [True, False])
def test_each_rate_moves_its_own_parameters_only(ssm_moves):
    model = classifier()
    before = [p.detach().clone() for p in model.parameters()]
    still = 1e-30
    rates = {"lr": still, "ssm_lr": 0.01} if ssm_moves else {"lr": 0.01, "ssm_lr": still}
    train(model, dataset(), SETTINGS.model_copy(update=rates | {"epochs": 1}))
    for parameter, old in zip(model.parameters(), before, strict=True):
        moved = (parameter - old).abs().max().item() > 1e-6
        assert moved is (is_ssm_parameter(parameter) is ssm_moves)


def test_a_model_that_lost_its_marks_is_refused_rather_than_trained_at_the_wrong_rate():
    with pytest.raises(UsageError, match=r"no parameter marked as SSM.*deepcopy"):
        build_optimizer(copy.deepcopy(classifier()), CONFIG)
