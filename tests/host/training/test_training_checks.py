import dataclasses

import numpy as np
import pytest
import torch

from edge_s4op.errors import DataError
from host.data.dataset import Split
from host.training import train
from host.training.checks import check_dataset, steps_per_epoch
from tests.host.training.training_samples import SEQ_LEN, SETTINGS, classifier, dataset, dataset_of, sines

TOKENS = Split(np.arange(8 * SEQ_LEN).reshape(8, SEQ_LEN) % 5, np.arange(8) % 2, None)


def tokens(**changes: object):
    return dataset_of(TOKENS, TOKENS, d_input=None, vocab_size=5, **changes)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"d_input": 3}, "input channels; expected 3; found 1"),
        ({"num_classes": 5}, "number of classes; expected 5; found 2"),
        ({"seq_len": 32}, "sequence length; expected 32; found 16"),
        ({"padded": True}, "padding; expected True; found False"),
        ({"d_input": None, "vocab_size": 9}, "expected tokens; found continuous samples"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_before_the_first_step(model, message):
    built, steps = classifier(**model), []
    before = {name: t.clone() for name, t in built.state_dict().items()}
    with pytest.raises(DataError, match=message):
        train(built, dataset(), SETTINGS, on_progress=steps.append)
    assert steps == []
    assert all(torch.equal(before[name], t) for name, t in built.state_dict().items())


@pytest.mark.parametrize(
    ("vocab_size", "message"), [(None, "expected continuous samples; found tokens"), (9, "vocabulary size")]
)
def test_tokens_need_a_model_of_their_vocabulary(vocab_size, message):
    config = classifier(d_input=None if vocab_size else 1, vocab_size=vocab_size).config
    with pytest.raises(DataError, match=message):
        check_dataset(config, tokens())


def test_a_token_model_trains_on_tokens():
    model = classifier(d_input=None, vocab_size=5)
    assert train(model, tokens(), SETTINGS.model_copy(update={"epochs": 1})).epochs_run == 1


def test_arrays_that_contradict_their_dataset_are_refused():
    config = classifier(d_input=None, vocab_size=5).config
    beyond = dataclasses.replace(tokens(), train=dataclasses.replace(TOKENS, x=TOKENS.x + 1))
    with pytest.raises(DataError, match="training split: a token is out of range; expected 0 to 4; found 1"):
        check_dataset(config, beyond)
    labels = dataclasses.replace(dataset(), validation=dataclasses.replace(sines(4, 0), y=np.arange(4)))
    with pytest.raises(DataError, match="validation split: a label is out of range"):
        check_dataset(classifier().config, labels)


def test_an_empty_split_is_refused():
    empty = Split(np.zeros((0, SEQ_LEN, 1), np.float32), np.zeros(0, np.int64), None)
    with pytest.raises(DataError, match="validation split is empty"):
        check_dataset(classifier().config, dataclasses.replace(dataset(), validation=empty))


@pytest.mark.parametrize(
    ("norm", "samples", "steps"),
    [("layer", 8, 2), ("layer", 9, 3), ("batch", 8, 2), ("batch", 9, 2), ("batch", 10, 3), ("batch", 3, 1)],
)
def test_an_epoch_counts_the_batches_it_uses(norm, samples, steps):
    assert steps_per_epoch(classifier(norm=norm).config, samples, 4) == steps


@pytest.mark.parametrize(("samples", "batch_size"), [(1, 4), (8, 1)])
def test_batch_norm_refuses_single_samples(samples, batch_size):
    with pytest.raises(DataError, match=r"batch norm .* one sample"):
        steps_per_epoch(classifier(norm="batch").config, samples, batch_size)
