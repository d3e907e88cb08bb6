"""Scores, plans and masks of a user's own model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_s4op.errors import BudgetError, UnknownNameError, UsageError
from edge_s4op.messages import Interval, MeasurementSettings
from host.compress import apply_plan, calibration, current_plan, plan_budget, plan_ratio, score, ssm_layers
from host.latency import CurvePoint, LatencyModel, LayerCurve, Observation
from host.pruning import CRITERIA, PrunePlan
from tests.host.compress.compress_samples import Plain, own_batches, own_model, squared_error

DATA = calibration(own_batches(), squared_error)
SCORES = {"first": np.arange(1.0, 7.0), "second": np.array([9.0, 0.5, 2.5, 8.0])}


def latency_model(first_ms: float, second_ms: float, base_ms: float = 1.0) -> LatencyModel:
    """So many ms for each operator that a layer of `own_model` keeps."""

    def curve(channels: int, each_ms: float) -> LayerCurve:
        points = tuple(
            CurvePoint(kept=k, p50_ms=k * each_ms, p50_interval_ms=Interval(low=0, high=0))
            for k in (1, channels)
        )
        return LayerCurve(num_channels=channels, d_state=8, seq_len=40, kind="s4d", points=points)

    whole = base_ms + 6 * first_ms + 4 * second_ms
    curves = {"a": curve(6, first_ms), "b": curve(4, second_ms)}
    seen = [Observation(kept_counts=(6, 4), p50_ms=whole)]
    return LatencyModel.fitted("f" * 64, MeasurementSettings(), ("a", "b"), curves, seen)


@pytest.mark.parametrize("criterion", CRITERIA.names())
def test_every_criterion_scores_every_operator(criterion: str) -> None:
    model = own_model("s4d", "s4")
    scores = score(model, DATA, criterion=criterion)
    assert {path: layer.shape for path, layer in scores.items()} == {"first": (6,), "second": (4,)}
    again = score(model, DATA, criterion=criterion)
    assert all(np.array_equal(scores[path], again[path]) for path in scores)


def test_what_no_loss_feels_scores_lowest() -> None:
    model = own_model()
    with torch.no_grad():  # operator 2 passes its channel through
        model.first.operators.c[2] = 0
        model.first.d[2] = 1
        model.head.weight[:, 1] = 0
    scores = score(model, DATA)
    assert scores["first"].argmin() == 2
    assert scores["second"].argmin() == 1


def test_a_criterion_without_the_data_it_needs_says_so() -> None:
    with pytest.raises(UsageError, match="criterion 'fisher' needs training data"):
        score(own_model())
    assert score(own_model(), criterion="h2")


def test_a_ratio_is_shared_over_layers_of_different_widths() -> None:
    plan = plan_ratio(own_model(), SCORES, 0.5)
    assert plan == PrunePlan((6, 4), ((3, 4, 5), (0, 3)))
    assert plan_ratio(own_model(), SCORES, 0.5, allocator="uniform").kept_counts == (3, 2)
    assert plan_ratio(own_model(), SCORES, 0.99).kept_counts == (1, 1), "a layer keeps one operator"


def test_what_is_pruned_stays_pruned() -> None:
    model = own_model()
    model.first.set_kept_operators([0, 1, 2])
    apply_plan(model, plan_ratio(model, SCORES, 0.5))
    assert current_plan(model).is_nested_in(PrunePlan((6, 4), ((0, 1, 2), (0, 1, 2, 3))))
    assert current_plan(model).ratio == 0.5


def test_masks_of_states_outlive_a_plan_of_operators() -> None:
    model = own_model()
    kept = torch.tensor([[True, False, True, False]] * 6)
    model.first.set_kept_modes(kept)
    apply_plan(model, plan_ratio(model, SCORES, 0.5))
    assert torch.equal(model.first.operators.kept_modes, kept)


def test_a_budget_keeps_the_most_score_that_is_predicted_to_fit() -> None:
    plan = plan_budget(own_model(), SCORES, latency_model(first_ms=1, second_ms=2), budget_ms=8.01)
    # 7 ms for layers: 3 operators and 2 keep 15 + 17; 5 and 1 20 + 9; 1 and 3 6 + 19.5
    assert plan.kept == ((3, 4, 5), (0, 3))
    assert plan_budget(own_model(), SCORES, latency_model(1, 2), 100.0).ratio == 0


def test_a_budget_below_reach_says_what_is_in_reach() -> None:
    with pytest.raises(BudgetError, match="predicted for one operator a layer") as caught:
        plan_budget(own_model(), SCORES, latency_model(1, 2, base_ms=5), budget_ms=6)
    assert caught.value.smallest == pytest.approx(5 + 1 + 2)


def test_masks_change_what_they_say() -> None:
    model, x = own_model(), own_batches()[0][0]
    before = model(x)
    plan = plan_ratio(model, score(model, DATA), 0.5)
    apply_plan(model, plan)
    assert tuple(layer.kept_operators() for layer in ssm_layers(model).values()) == plan.kept
    assert not torch.equal(model(x), before)


@pytest.mark.parametrize(
    ("ratio", "options", "scores", "message"),
    [
        (1.0, {}, SCORES, "not a pruning ratio"),
        (-0.1, {}, SCORES, "not a pruning ratio"),
        (float("nan"), {}, SCORES, "not a pruning ratio"),
        (0.5, {}, {"first": np.zeros(6)}, "expected first, second; found first"),
        (0.5, {}, SCORES | {"second": np.zeros(5)}, "shapes"),
        (0.5, {"allocator": "depth-exponential"}, SCORES, "layers of one width"),
        (0.5, {"allocator": "latency-aware"}, SCORES, "needs a latency model"),
        (0.5, {"allocator": "globl"}, SCORES, "did you mean global"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused(
    ratio: float, options: dict[str, str], scores: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_ratio(own_model(), scores, ratio, **options)


def test_batches_that_come_only_once_are_refused() -> None:
    with pytest.raises(UsageError, match=r"pass list\(batches\)"):
        score(own_model(), calibration(iter(own_batches()), squared_error))


def test_a_loss_that_is_no_loss_of_samples_is_refused() -> None:
    mean = calibration(own_batches(), lambda model, batch: squared_error(model, batch).mean())
    with pytest.raises(UsageError, match="reduction='none'"):
        score(own_model(), mean)


def test_a_model_without_ssm_layers_and_an_unknown_criterion_are_refused() -> None:
    with pytest.raises(UsageError, match="a Plain without SSM layers cannot be pruned"):
        score(Plain(), DATA)
    with pytest.raises(UnknownNameError, match="did you mean fisher"):
        score(own_model(), DATA, criterion="fischer")
