"""Channels are scored by what the loss says of them; plans carry them to masks, files and cache keys."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.messages import MeasurementSettings
from host.data.batches import Batch
from host.measuring import key_of
from host.models import Classifier, apply_plan, compact, compact_config, planned_config
from host.pruning import Calibration, PrunePlan, classification_loss, nested_plan, plan_from_config
from host.pruning.features import FEATURE_SCORES, choose_features, feature_scores
from tests.host.models.cut_samples import FEATURES, KEPT, STATES, cut_model, sample_inputs, whole_model

PLAN = PrunePlan((8,) * 3, KEPT, FEATURES, STATES)


def calibration(model: Classifier, sizes: tuple[int, ...] = (4, 3)) -> Calibration:
    torch.manual_seed(5)
    batches = []
    for size in sizes:
        x, *lengths = sample_inputs(model.config, size)
        batches.append(Batch(x, torch.randint(0, 3, (size,)), lengths[0] if lengths else None))
    return Calibration(lambda: batches, classification_loss)


def exact_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """`classification_loss` in float64, for finite differences."""
    return torch.nn.functional.cross_entropy(model(batch.x, batch.lengths), batch.y, reduction="none")


@pytest.mark.parametrize(("norm", "prenorm"), [("layer", False), ("layer", True), ("batch", True)])
@pytest.mark.parametrize("padded", [False, True])
def test_fisher_is_the_mean_square_of_each_sample_s_gradient(norm: str, prenorm: bool, padded: bool):
    model = whole_model("s4d", norm, prenorm, padded=padded).double()
    data = calibration(model)
    expected, step = np.zeros(8), 1e-5
    samples = [
        Batch(batch.x[i : i + 1].double(), batch.y[i : i + 1], batch.lengths[i : i + 1] if padded else None)
        for batch in data.batches()
        for i in range(len(batch.y))
    ]
    for sample in samples:
        for channel in range(8):
            ends = []
            for sign in (1, -1):
                model.feature_gate = torch.ones(8, dtype=torch.float64)
                model.feature_gate[channel] += sign * step
                ends.append(exact_loss(model, sample).item())
            expected[channel] += ((ends[0] - ends[1]) / (2 * step)) ** 2
    model.feature_gate = None
    found = feature_scores(model, Calibration(lambda: samples, exact_loss))
    np.testing.assert_allclose(found, expected / 7, rtol=1e-5)
    batched = feature_scores(model.float(), data)
    np.testing.assert_allclose(batched, expected / 7, rtol=2e-3)


@pytest.mark.parametrize("score", FEATURE_SCORES.names())
@pytest.mark.parametrize("training", [False, True])
def test_scoring_leaves_the_model_as_it_was(score: str, training: bool):
    model = whole_model("s4", "batch", dropout=0.5).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = feature_scores(model, calibration(model), score)
    np.testing.assert_array_equal(first, feature_scores(model, calibration(model), score))
    assert (first.shape, first.dtype) == ((8,), np.float64)
    assert np.all(first > 0)
    assert model.training is training
    assert model.feature_gate is None
    assert not model._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("score", FEATURE_SCORES.names())
def test_a_channel_nobody_reads_or_writes_scores_nothing(score: str):
    model = whole_model("s4d", "batch")
    with torch.no_grad():
        model.encoder.weight[3] = model.encoder.bias[3] = 0
        model.head.weight[:, 3] = 0
        for block in model.blocks:
            block.mix.weight[[3, 11]] = block.mix.bias[[3, 11]] = 0
            block.mix.weight[:, 3] = 0
    scores = feature_scores(model, calibration(model), score)
    assert scores[3] == 0
    assert np.all(np.delete(scores, 3) > 0)
    model.set_kept_features((0, 1, 2, 4, 5, 6))
    assert np.all(feature_scores(model, calibration(model), score)[[3, 7]] == 0)


def test_fisher_needs_data_and_magnitude_does_not():
    model = whole_model()
    with pytest.raises(UsageError, match=r"'fisher' needs training data; .*'magnitude'"):
        feature_scores(model, None)
    assert feature_scores(model, None, "magnitude").shape == (8,)
    with pytest.raises(UnknownNameError, match="fisher"):
        feature_scores(model, None, "fischer")


def test_the_best_channels_stay_and_every_layer_keeps_an_operator():
    model = whole_model()
    scores = np.array([8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0])
    assert choose_features(model, scores, 3) == (0, 2, 4)
    assert choose_features(model, np.zeros(8), 3) == (0, 1, 2)
    model.set_kept_operators((range(8), (1, 3), (5,)))
    assert choose_features(model, scores, 4) == (0, 2, 3, 5)
    assert choose_features(model, scores, 3) == (0, 3, 5)
    with pytest.raises(UsageError, match=r"expected at least 3 features.*found 2"):
        choose_features(model, scores, 2)
    for count in (8, 5, 3):
        model.set_kept_features(choose_features(model, scores, count))
    assert model.kept_operators() == ((0, 3, 5), (3,), (5,))
    with pytest.raises(UsageError, match=r"expected 1 to 3.*found 4"):
        choose_features(model, scores, 4)
    with pytest.raises(UsageError, match=r"not fit the model; .*NaN"):
        choose_features(model, scores * np.nan, 2)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@torch.no_grad()
def test_a_plan_means_the_same_to_a_whole_a_masked_and_a_cut_model(kind: str):
    whole = whole_model(kind)
    batch = sample_inputs(whole.config, 3)
    apply_plan(
        whole, PrunePlan((8,) * 3, ((0, 2, 3, 4, 5, 7), (2, 5), (2, 7)), (0, 2, 3, 4, 5, 7), (16, 8, 8))
    )
    cut = compact(whole)
    for model in (whole, cut):
        apply_plan(model, PLAN)
    torch.testing.assert_close(cut(*batch), whole(*batch), rtol=1e-6, atol=1e-6)
    assert whole.kept_features() == FEATURES
    names = cut.config.original_channels()
    assert tuple(names[channel] for channel in cut.kept_features()) == FEATURES
    assert whole.states() == cut.states() == STATES
    assert compact_config(cut) == compact_config(whole) == planned_config(whole_model(kind).config, PLAN)
    assert plan_from_config(compact_config(whole)) == plan_from_config(compact(cut).config) == PLAN


def test_a_plan_of_everything_undoes_masks():
    model = cut_model()
    full = PrunePlan.full([8] * 3)
    apply_plan(model, full)
    assert (model.kept_features(), model.kept_operators()) == (tuple(range(8)), full.kept)
    assert model.states() == (16,) * 3
    assert planned_config(model.config, full) == compact_config(model)


def test_what_was_cut_out_cannot_be_planned_back():
    cut = compact(cut_model())
    with pytest.raises(ValueError, match=r"channels \[1\] were cut out"):
        apply_plan(cut, PrunePlan((8,) * 3, KEPT, (0, 1, 2, 3, 5, 7)))
    with pytest.raises(ValueError, match=r"operators \[0\] were cut out"):
        apply_plan(cut, PrunePlan((8,) * 3, (KEPT[0], (0,), KEPT[2]), FEATURES))
    with pytest.raises(UsageError, match="layer 1: an operator cannot keep so many states"):
        apply_plan(cut, PrunePlan((8,) * 3, KEPT, FEATURES, (16, 8, 2)))


def test_features_need_a_classifier():
    with pytest.raises(ValueError, match="which a SSMLayer has not: use a Classifier"):
        apply_plan(whole_model().blocks[0].ssm, PrunePlan((8,), ((0, 1),), (0, 1)))


def test_the_cache_tells_structures_apart_and_not_which_channels_they_keep():
    config = whole_model().config

    def key(plan: PrunePlan) -> str:
        return key_of(
            planned_config(config, plan), plan.kept_counts, "device", MeasurementSettings()
        ).sha256()

    others = [
        PrunePlan((8,) * 3, KEPT),
        PrunePlan((8,) * 3, KEPT, FEATURES),
        PrunePlan((8,) * 3, KEPT, states=STATES),
        PrunePlan((8,) * 3, KEPT, (0, 2, 3, 4, 5, 7), STATES),
        PrunePlan((8,) * 3, KEPT, FEATURES, (16, 2, 6)),
    ]
    assert len({key(plan) for plan in [PLAN, *others]}) == 6
    assert len({plan.structure() for plan in [PLAN, *others]}) == 6
    same = PrunePlan((8,) * 3, ((0, 1, 2, 3, 4), (1, 2), (0,)), (0, 1, 2, 3, 4), STATES)
    assert key(same) == key(PLAN)
    assert same.structure() == PLAN.structure()
    everything = PrunePlan((8,) * 3, KEPT, tuple(range(8)), (16,) * 3)
    assert key(everything) == key(others[0])


def test_plans_with_features_and_states_survive_json_and_nesting():
    assert PrunePlan.from_json(PLAN.to_json()) == PLAN
    operators_alone = PrunePlan((8,) * 3, KEPT)
    assert json.loads(operators_alone.to_json()).keys() == {"num_channels", "kept"}
    adapter = TypeAdapter(PrunePlan)
    for plan in (PLAN, operators_alone):
        assert json.loads(adapter.dump_json(plan)) == json.loads(plan.to_json())
        assert adapter.validate_json(plan.to_json()) == plan
    child = nested_plan(PLAN, [4, 7, 7], [np.arange(8.0)] * 3)
    assert (child.features, child.states) == (FEATURES, STATES)
    assert child.is_nested_in(PLAN)
    assert PLAN.is_nested_in(PrunePlan((8,) * 3, KEPT))
    assert not PrunePlan((8,) * 3, KEPT).is_nested_in(PLAN)
    wider = PrunePlan((8,) * 3, KEPT, FEATURES, (16, 8, 2))
    assert PLAN.is_nested_in(wider)
    assert not wider.is_nested_in(PLAN)
    assert not PrunePlan((8,) * 3, KEPT, (*FEATURES[:-1], 6, 7), STATES).is_nested_in(PLAN)


@pytest.mark.parametrize(
    ("features", "states", "message"),
    [
        ((), None, r"features: not a list of kept channels; .*found \[\]"),
        ((0, 8), None, r"within \[0, 8\)"),
        ((7, 0), None, "ascending"),
        ((0, 2, 3, 5, 6), None, r"layer 0: keeps operators whose channel is not kept.*found \[7\]"),
        (None, (16, 7, 2), r"expected 3 even numbers .*found \[16, 7, 2\]"),
        (None, (16, 0, 2), "even numbers of at least 2"),
        (None, (16, 16), "3 even numbers"),
    ],
)
def test_plans_that_no_model_can_follow_are_refused(
    features: tuple[int, ...] | None, states: tuple[int, ...] | None, message: str
):
    with pytest.raises(UsageError, match=message):
        PrunePlan((8,) * 3, KEPT, features, states)


def test_features_of_layers_of_different_widths_are_refused():
    with pytest.raises(UsageError, match="layers of one width"):
        PrunePlan((8, 9), ((0,), (0,)), (0, 1))
