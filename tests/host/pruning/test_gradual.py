import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_s4op.errors import UsageError
from host.pruning.gradual import GradualMasks, cubic_share, gradual_masks
from host.pruning.plan import PrunePlan
from host.training import evaluate, train
from host.training.snapshot import read_snapshot
from tests.host.training.training_samples import GRADUAL, SETTINGS, classifier, dataset, misleading_dataset

STEPS = 6  # an epoch of `dataset()` in batches of four
TEN = PrunePlan((10, 10), (tuple(range(10)), tuple(range(2, 10))))
SCORES = [np.arange(10.0), np.arange(10.0)[::-1]]


def test_the_share_follows_the_cubic_schedule():
    assert [cubic_share(step, 4) for step in range(6)] == [0.0, 1 - 27 / 64, 1 - 8 / 64, 1 - 1 / 64, 1.0, 1.0]
    assert cubic_share(0, 0) == 1.0


def test_the_worst_operators_leave_first_each_layer_by_its_own_scores():
    plan = PrunePlan((10, 10), ((8, 9), (2, 3, 4, 5)))
    gradual = gradual_masks(TEN, plan, SCORES)
    assert gradual.leaving == ((0, 1, 2, 3, 4, 5, 6, 7), (9, 8, 7, 6))
    assert gradual.kept_at(0, 16) == TEN.kept
    # step 2 of 8: 1 - (3/4)^3 = 0.578 of 8 and of 4
    assert gradual.kept_at(2, 16) == ((5, 6, 7, 8, 9), (2, 3, 4, 5, 6, 7))
    assert gradual.kept_at(8, 16) == gradual.kept_at(15, 16) == plan.kept


def test_of_equal_scores_the_higher_channel_leaves_first_as_plans_keep_the_lower():
    gradual = gradual_masks(TEN, PrunePlan((10, 10), ((0,), (2,))), [np.zeros(10)] * 2)
    assert gradual.leaving[0] == (9, 8, 7, 6, 5, 4, 3, 2, 1)


def test_scores_of_pruned_and_staying_operators_are_not_read():
    scores = [np.array([np.nan] * 2 + [1.0] * 8)] * 2
    gradual = gradual_masks(TEN, PrunePlan((10, 10), ((0, 1), (3,))), scores)
    assert gradual.leaving == ((9, 8, 7, 6, 5, 4, 3, 2), (9, 8, 7, 6, 5, 4, 2))


def test_operators_of_a_channel_that_leaves_go_at_once():
    plan = PrunePlan((10, 10), ((8, 9), (2, 3)), features=(2, 3, 4, 8, 9))
    assert gradual_masks(TEN, plan, SCORES).leaving == ((2, 3, 4), (9, 8, 4))


@pytest.mark.parametrize("total", [1, 2, 5, 100])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_masks_only_shrink_and_are_final_from_the_fraction_on_and_in_the_last_step(total, fraction):
    gradual = GradualMasks(((0,),), (tuple(range(1, 8)),), fraction)
    kept = [set(gradual.kept_at(step, total)[0]) for step in range(total)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(kept))
    settled = gradual.settled_from(total)
    assert settled <= max(0, min(round(fraction * total), total - 1))
    assert all(channels == {0} for channels in kept[settled:])
    assert kept[-1] == {0}


def test_a_plan_that_is_not_nested_or_a_fraction_that_is_none_is_refused():
    full = PrunePlan.full((10, 10))
    with pytest.raises(UsageError, match="keeps what its parent pruned"):
        gradual_masks(TEN, full, SCORES)
    with pytest.raises(UsageError, match=r"out of range; expected 0 .* found 1\.5"):
        gradual_masks(full, TEN, SCORES, fraction=1.5)
    with pytest.raises(UsageError, match="do not fit the model; expected 1 layers; found 2"):
        GradualMasks(((0,),), ((1,),))(classifier(), 0, 10)


def masks_in_steps(model, **options):
    """What each training step ran with."""
    seen = []
    model.blocks[0].register_forward_pre_hook(
        lambda *_: seen.append(model.kept_operators()) if model.training else None
    )
    return train(model, dataset(), SETTINGS, **options), seen


def test_training_masks_more_and_more_operators_and_returns_the_final_mask():
    model = classifier()
    result, seen = masks_in_steps(model, on_step=GRADUAL)
    total = SETTINGS.epochs * STEPS
    assert seen == [GRADUAL.kept_at(step, total) for step in range(total)]
    assert len(set(seen)) > 3
    assert model.kept_operators() == GRADUAL.kept
    assert [record.settled for record in result.history] == [False, False, True, True]


def test_the_masks_a_model_is_brought_with_do_not_matter():
    masked, full = classifier(), classifier()
    masked.set_kept_operators(GRADUAL.kept)
    results = [train(model, dataset(), SETTINGS, on_step=GRADUAL) for model in (masked, full)]
    assert results[0].best_validation_loss == results[1].best_validation_loss
    assert all(torch.equal(t, full.state_dict()[name]) for name, t in masked.state_dict().items())


def test_the_best_epoch_is_one_that_was_evaluated_with_the_final_mask(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 10, "lr": 0.03, "warmup_fraction": 0.0})
    data, model = misleading_dataset(), classifier()  # training makes the validation score worse
    result = train(model, data, settings, on_step=GRADUAL, run_dir=tmp_path)
    settled = [record for record in result.history if record.settled]
    assert [record.epoch for record in settled] == [6, 7, 8, 9, 10]
    assert min(result.history, key=lambda r: r.validation_loss).epoch < 6
    assert result.best_epoch >= 6
    assert model.kept_operators() == GRADUAL.kept
    score = evaluate(model, data.validation, batch_size=settings.eval_batch_size, device="cpu")
    assert (score.accuracy, score.loss) == (result.best_validation_accuracy, result.best_validation_loss)
    assert torch.equal(read_snapshot(tmp_path).best["blocks.0.ssm.mask"], model.blocks[0].ssm.mask)


def test_before_the_final_mask_stands_nothing_is_best(tmp_path):
    def interrupt(progress):
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(classifier(), dataset(), SETTINGS, on_step=GRADUAL, run_dir=tmp_path, on_progress=interrupt)
    snapshot = read_snapshot(tmp_path)
    assert (len(snapshot.state.history), snapshot.best) == (2, {})


def test_patience_begins_with_the_final_mask():
    settings = SETTINGS.model_copy(
        update={"epochs": 12, "lr": 0.03, "ssm_lr": 0.03, "patience": 1, "warmup_fraction": 0.0}
    )
    assert train(classifier(), misleading_dataset(), settings).epochs_run < 7  # or this shows nothing
    result = train(classifier(), misleading_dataset(), settings, on_step=GRADUAL)
    assert 7 < result.epochs_run < 12
    assert result.history[result.best_epoch - 1].settled


def test_one_epoch_is_enough():
    model = classifier()
    result = train(model, dataset(), SETTINGS.model_copy(update={"epochs": 1}), on_step=GRADUAL)
    assert (result.best_epoch, model.kept_operators()) == (1, GRADUAL.kept)


class NeverDone:
    def __call__(self, model, step, total_steps):
        return None

    def settled_from(self, total_steps):
        return total_steps

    def identity(self):
        return "never done"


def test_masks_may_change_until_the_last_step():
    result = train(classifier(), dataset(), SETTINGS, on_step=replace(GRADUAL, fraction=1.0))
    assert [record.settled for record in result.history] == [False, False, False, True]
    assert result.best_epoch == 4


def test_a_hook_that_never_settles_is_refused():
    with pytest.raises(UsageError, match="final from step 23 of 24 at the latest; found 24"):
        train(classifier(), dataset(), SETTINGS, on_step=NeverDone())
