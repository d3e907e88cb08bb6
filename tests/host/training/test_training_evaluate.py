import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_s4op.errors import DataError, UsageError
from host.data.dataset import Split
from host.training import evaluate, resolve_device
from tests.host.training.training_samples import SEQ_LEN, classifier, sines


def padded_split(fill: float) -> Split:
    """13 samples of 4 to 16 real positions; what lies beyond is `fill`."""
    split = sines(13, seed=1)
    lengths = np.arange(4, 17, dtype=np.int64)
    real = np.arange(SEQ_LEN)[None, :, None] < lengths[:, None, None]
    return dataclasses.replace(split, x=np.where(real, split.x, np.float32(fill)), lengths=lengths)


def test_accuracy_and_loss_are_those_of_all_samples_at_once():
    model, split = classifier().eval(), sines(13, seed=1)
    with torch.no_grad():
        logits = model(torch.from_numpy(split.x))
    labels = torch.from_numpy(split.y)
    score = evaluate(model, split, batch_size=5, device="cpu")  # 5 + 5 + 3: a plain mean of batches is wrong
    assert score.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert score.loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_what_stands_in_the_padding_does_not_count():
    model = classifier(padded=True)
    zeros, noise = (evaluate(model, padded_split(fill), device="cpu") for fill in (0.0, 100.0))
    assert noise.accuracy == zeros.accuracy
    assert noise.loss == pytest.approx(zeros.loss, rel=1e-5)


def test_the_lengths_do_count():
    model, split = classifier(padded=True), padded_split(0.0)
    full = dataclasses.replace(split, lengths=np.full(13, SEQ_LEN, np.int64))
    assert evaluate(model, split, device="cpu").loss != pytest.approx(
        evaluate(model, full, device="cpu").loss, rel=1e-5
    )


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_leaves_mode_weights_and_random_numbers_alone(training):
    model = classifier(dropout=0.5, norm="batch").train(training)
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    random = torch.get_rng_state()
    first, second = (evaluate(model, sines(6, seed=2), device="cpu") for _ in range(2))
    assert first == second  # dropout off
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(weights[name], t) for name, t in model.state_dict().items())


def test_a_split_of_other_channels_is_refused():
    two = dataclasses.replace(sines(4, 0), x=np.zeros((4, SEQ_LEN, 2), np.float32))
    with pytest.raises(DataError, match=r"expected float32 samples of shape \(16, 1\); found .*\(16, 2\)"):
        evaluate(classifier(), two, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="'cuda' is not available"):
        evaluate(classifier(), sines(4, 0), device="cuda")
    with pytest.raises(UsageError, match=r"amp .* CUDA only"):
        resolve_device("auto", amp=True)
