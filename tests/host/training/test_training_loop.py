import random

import numpy as np
import pytest
import torch

from edge_s4op.errors import S4opError
from host.training import evaluate, train
from host.training.snapshot import SNAPSHOT_NAME
from tests.host.training.training_samples import SETTINGS, classifier, dataset, misleading_dataset


def settings(**changes: object):
    return SETTINGS.model_copy(update=changes)


def test_training_learns_to_tell_the_classes_apart():
    model, data = classifier(d_model=8, d_state=8), dataset(64)
    before = evaluate(model, data.test, device="cpu")
    result = train(model, data, settings(epochs=50, batch_size=16, ssm_lr=1e-2))
    assert result.best_validation_accuracy >= 0.9
    assert evaluate(model, data.test, device="cpu").loss < before.loss
    assert result.history[-1].train_loss < 0.5 * result.history[0].train_loss


def test_the_weights_of_the_best_epoch_are_restored_and_early_stopping_ends_the_run():
    model, data = classifier(), misleading_dataset()
    result = train(
        model,
        data,
        settings(epochs=30, patience=3, lr=0.03, ssm_lr=0.03, warmup_fraction=0.0),
    )
    assert result.epochs_run == result.best_epoch + 3 < 30
    assert result.stopped_early
    score = evaluate(model, data.validation, device="cpu")
    assert (score.accuracy, score.loss) == (result.best_validation_accuracy, result.best_validation_loss)
    assert score.loss < result.history[-1].validation_loss
    assert not model.training


def test_without_an_improvement_patience_epochs_after_the_first_are_run():
    still = settings(epochs=10, patience=2, lr=1e-30, ssm_lr=1e-30)
    assert train(classifier(), dataset(), still).epochs_run == 3


@pytest.mark.parametrize("clip_norm", [1e-3, None])
def test_gradients_are_clipped_to_the_norm_asked_for(clip_norm):
    model, norms = classifier(), []

    def note_norm(_):
        norms.append(torch.stack([p.grad.norm() for p in model.parameters()]).norm().item())

    result = train(model, dataset(), settings(epochs=1, clip_norm=clip_norm), on_progress=note_norm)
    assert result.history[0].gradient_norm > 1e-2  # what is logged is the norm before clipping
    if clip_norm:
        assert norms == pytest.approx([clip_norm] * len(norms), rel=1e-2)
    else:
        assert max(norms) > 1e-2


def test_progress_counts_steps_and_closes_each_epoch_with_its_accuracy():
    seen = []
    result = train(classifier(), dataset(10), settings(epochs=2), on_progress=seen.append)
    assert [(p.epoch, p.step) for p in seen] == [(e, s) for e in (1, 2) for s in (1, 2, 3, 3)]
    assert {(p.epochs, p.steps) for p in seen} == {(2, 3)}
    closing = [p.validation_accuracy for p in seen if p.validation_accuracy is not None]
    assert closing == [record.validation_accuracy for record in result.history]


def test_the_logged_rates_follow_the_schedule():
    rates = settings(epochs=3, lr=0.01, ssm_lr=0.002, warmup_fraction=1 / 3)  # 3 steps an epoch: 3 of 9 rise
    history = train(classifier(), dataset(12), rates).history
    factors = [1.0, (1 + np.cos(np.pi * 2 / 6)) / 2, (1 + np.cos(np.pi * 5 / 6)) / 2]  # steps 3, 6, 9 of 9
    assert [record.lr for record in history] == pytest.approx([0.01 * f for f in factors])
    assert [record.ssm_lr for record in history] == pytest.approx([0.002 * f for f in factors])


def test_the_first_step_has_the_first_rate_of_the_warmup():
    model, weights = classifier(), []
    before = model.head.weight.detach().clone()
    train(
        model,
        dataset(),
        settings(epochs=1, lr=0.01, weight_decay=0.0, warmup_fraction=2 / 3),  # 4 of 6 steps rise
        on_progress=lambda _: weights.append(model.head.weight.detach().clone()),
    )
    moved = (weights[0] - before).abs().max().item()
    assert moved == pytest.approx(0.01 / 4, rel=1e-3)  # Adam's first step is the rate times the sign


def test_the_seed_decides_the_run_and_the_callers_random_numbers_go_on():
    def weights(seed: int) -> dict[str, torch.Tensor]:
        model = classifier(dropout=0.3)
        train(model, dataset(), settings(epochs=1, seed=seed))
        return model.state_dict()

    torch.manual_seed(11)
    outer, outer_python, threads = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    first = weights(1)
    assert torch.equal(torch.get_rng_state(), outer)
    assert random.getstate() == outer_python
    assert torch.get_num_threads() == threads
    torch.manual_seed(12)  # must not matter
    again, other = weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("samples", [9, 10])
def test_batch_norm_never_sees_a_batch_of_one_sample(samples):
    model, sizes = classifier(norm="batch"), []
    model.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])) if m.training else None)
    train(model, dataset(samples), settings(epochs=2, batch_size=4))
    assert sizes == ([4, 4] * 2 if samples == 9 else [4, 4, 2] * 2)


def test_a_loss_that_is_not_finite_stops_with_its_place_and_saves_nothing(tmp_path):
    wild = settings(lr=1e25, ssm_lr=1e-3, clip_norm=None, warmup_fraction=0.0)
    with pytest.raises(S4opError, match=r"the loss is (nan|inf) at epoch 1, step [2-6] of 6; .* lower rates"):
        train(classifier(), dataset(), wild, run_dir=tmp_path)
    assert not (tmp_path / SNAPSHOT_NAME).exists()


def test_gradients_that_are_not_finite_stop_before_they_reach_the_weights():
    model = classifier()
    model.head.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(S4opError, match=r"the norm of the gradients is (nan|inf) at epoch 1, step 1 of 6"):
        train(model, dataset(), SETTINGS)
    assert all(t.isfinite().all() for t in model.state_dict().values())


def test_a_loss_that_breaks_later_leaves_the_last_good_snapshot(tmp_path):
    model = classifier()

    def spoil(progress):
        if (progress.epoch, progress.step) == (2, 3):
            with torch.no_grad():
                next(model.parameters()).fill_(float("nan"))

    with pytest.raises(S4opError, match="epoch 2, step 4 of 6"):
        train(model, dataset(), SETTINGS, run_dir=tmp_path, on_progress=spoil)
    resumed = classifier()
    train(resumed, dataset(), SETTINGS, run_dir=tmp_path, resume=True)
    assert all(t.isfinite().all() for t in resumed.state_dict().values())
