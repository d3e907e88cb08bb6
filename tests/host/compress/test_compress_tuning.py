"""Fine-tuning with the user's batches, loss and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from edge_s4op.errors import S4opError, UsageError
from host.compress import copy_model, fine_tune
from host.models.parameters import is_ssm_parameter
from tests.host.compress.compress_samples import (
    OwnModel,
    Plain,
    minus_error,
    own_batches,
    own_model,
    squared_error,
)

TRAIN, VALIDATION = own_batches()[:2], own_batches()[2:]


def tune(model: nn.Module, **changes: Any) -> Any:
    options: dict[str, Any] = {"validation": VALIDATION, "epochs": 3, "lr": 1e-2, "metric": minus_error}
    options |= changes
    return fine_tune(model, options.pop("batches", TRAIN), options.pop("loss", squared_error), **options)


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def test_it_lowers_the_loss_and_keeps_the_best_epoch() -> None:
    model = own_model(masked=True)
    tuning = tune(model, epochs=8)
    assert tuning.history[-1].train_loss < tuning.history[0].train_loss
    metrics = [tuning.metric_before, *(epoch.metric for epoch in tuning.history)]
    assert tuning.best_metric == max(metrics) > tuning.metric_before
    assert metrics[tuning.best_epoch] == tuning.best_metric
    assert minus_error(model, VALIDATION) == pytest.approx(tuning.best_metric, rel=1e-6)
    assert not model.training


def test_masks_hold_while_it_trains() -> None:
    model = own_model(masked=True)
    pruned = [name for name in (0, 3, 4)]
    before = model.first.operators.c[pruned].clone()
    tune(model)
    assert model.first.kept_operators() == (1, 2, 5)
    change = (model.first.operators.c[pruned] - before).abs().max() / before.abs().max()
    assert change < 1e-3, "no gradient, so that only weight decay moves them"


def test_a_run_is_repeated_to_the_bit() -> None:
    """Dropout and the loader's shuffling included, and the caller's random numbers stay."""
    data = TensorDataset(*(torch.cat(parts) for parts in zip(*TRAIN, strict=True)))
    runs = []
    for _ in range(2):
        model = own_model()
        state = torch.get_rng_state()
        tune(model, batches=DataLoader(data, batch_size=4, shuffle=True), metric=None)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(3)
        runs.append(weights(model))
    assert same(*runs)
    other = own_model()
    tune(other, batches=DataLoader(data, batch_size=4, shuffle=True), metric=None, seed=1)
    assert not same(weights(other), runs[0])


def test_tuning_that_only_harms_is_undone() -> None:
    model = own_model()
    before = weights(model)
    tuning = tune(model, metric=lambda model, batches: -float(model.head.weight.sub(5).abs().max() < 0))
    assert tuning.best_epoch == 0
    assert same(weights(model), before)


def test_patience_ends_a_run() -> None:
    tuning = tune(own_model(), epochs=50, patience=2, metric=lambda model, batches: 0.0)
    assert len(tuning.history) == 2


def test_each_epoch_is_reported() -> None:
    seen: list[int] = []
    tune(own_model(), on_epoch=lambda epoch: seen.append(epoch.epoch))
    assert seen == [1, 2, 3]


def test_a_copied_model_is_tuned_like_the_model() -> None:
    """Copying drops what marks the SSM parameters, which have a rate of their own."""
    copied, own = OwnModel(), own_model()
    copied.load_state_dict(own.state_dict())
    for parameter in copied.parameters():
        if is_ssm_parameter(parameter):
            del parameter._ssm
    for model in (copied, own, twin := copy_model(own_model())):
        tune(model)
    assert same(weights(copied), weights(own))
    assert same(weights(twin), weights(own))


def test_batches_may_have_no_length() -> None:
    class Endless:
        def __iter__(self) -> Iterable[Any]:
            return iter(TRAIN)

    one, two = own_model(), own_model()
    tune(one, batches=Endless())
    tune(two)
    assert same(weights(one), weights(two))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": []}, "nothing to fine-tune on"),
        ({"batches": iter(TRAIN)}, "only once"),
        ({"validation": iter(VALIDATION)}, "only once"),
        ({"validation": [], "metric": None}, "no validation batch"),
        ({"metric": lambda model, batches: float("nan")}, "the metric is not a number"),
        ({"metric": lambda model, batches: None}, "found NoneType"),
        ({"metric": lambda model, batches: torch.zeros(3)}, "found Tensor"),
        ({"loss": lambda model, batch: squared_error(model, batch).detach()}, "the loss cannot be trained"),
        ({"loss": lambda model, batch: model(batch[0])}, r"found shape \(8, 1\)"),
        ({"loss": lambda model, batch: 1.0}, "found float"),
        ({"epochs": 0}, "epochs: .* found 0"),
        ({"lr": -1.0}, "lr: "),
        ({"patience": 0}, "patience: "),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes: dict[str, Any], message: str) -> None:
    options = {"metric": minus_error, **changes}
    with pytest.raises(UsageError, match=message):
        tune(own_model(), **options)


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e38])
def test_a_loss_that_is_not_finite_ends_it(factor: float) -> None:
    loss: Callable[..., Tensor] = lambda model, batch: squared_error(model, batch) * factor * 1e3  # noqa: E731
    with pytest.raises(S4opError, match=r"fine-tuning stopped: the loss is .* at epoch 1, step 1"):
        tune(own_model(), loss=loss)


def test_a_model_without_ssm_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="a Plain without SSM layers"):
        tune(Plain())
