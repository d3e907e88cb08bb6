import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edge_s4op.errors import CheckpointError, UsageError
from host.training import Distillation, TrainResult, train
from host.training.metrics import METRICS_NAME
from host.training.snapshot import SNAPSHOT_NAME, read_snapshot
from tests.forked import Copies, copies_of
from tests.host.training.killed_run import RENAME
from tests.host.training.training_samples import (
    GRADUAL,
    SETTINGS,
    classifier,
    dataset,
    extras,
    misleading_dataset,
)

LAYER = {"norm": "layer", "dropout": 0.3}
BATCH = {"norm": "batch", "dropout": 0.3, "prenorm": True}


@pytest.fixture(scope="module")
def copies() -> Iterator[Copies]:
    with copies_of("tests.host.training.killed_run") as running:
        yield running


def unbroken(
    tmp_path: Path, model: dict[str, object], more: str = "plain"
) -> tuple[dict[str, torch.Tensor], TrainResult]:
    whole = classifier(**model)
    result = train(whole, dataset(), SETTINGS, run_dir=tmp_path / "unbroken", **extras(more))
    return whole.state_dict(), result


def without_seconds(result: TrainResult) -> list[dict[str, object]]:
    return [record.model_dump(exclude={"seconds"}) for record in result.history]


def logged_epochs(run_dir: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (run_dir / METRICS_NAME).read_text().splitlines()]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("model", "where", "saved", "more"),
    [
        (LAYER, "mid-epoch", 2, "plain"),
        (BATCH, "mid-epoch", 2, "plain"),
        (BATCH, RENAME, 1, "plain"),
        (LAYER, "mid-epoch", 2, "distilled"),
        (BATCH, RENAME, 1, "gradual"),  # while masks still change
        (LAYER, "mid-epoch", 2, "both"),
    ],
)
def test_a_killed_run_resumed_ends_exactly_as_an_unbroken_one(copies, tmp_path, model, where, saved, more):
    killed = tmp_path / "killed"
    status, errors = copies.run(killed, model, where, torch.get_num_threads(), more)
    assert status == -signal.SIGKILL, errors
    assert len(read_snapshot(killed).state.history) == saved
    resumed = classifier(seed=77, **model)  # other initial weights: the snapshot brings its own
    result = train(resumed, dataset(), SETTINGS, run_dir=killed, resume=True, **extras(more))
    weights, reference = unbroken(tmp_path, model, more)
    assert weights.keys() == resumed.state_dict().keys()
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert without_seconds(result) == without_seconds(reference)
    last, expected = read_snapshot(killed), read_snapshot(tmp_path / "unbroken")
    for part in ("model", "best", "optimizer"):  # so would every further epoch be
        for name, tensor in getattr(expected, part).items():
            assert torch.equal(getattr(last, part)[name], tensor), f"{part}.{name}"
    assert (last.state.random, last.state.shuffle) == (expected.state.random, expected.state.shuffle)
    assert logged_epochs(killed) == [1, 2, 3, 4]
    assert sorted(path.name for path in killed.glob("*.*")) == [METRICS_NAME, SNAPSHOT_NAME]


def test_a_run_interrupted_after_its_best_epoch_still_ends_with_its_weights(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 12, "lr": 0.03, "ssm_lr": 0.03, "warmup_fraction": 0.0})
    whole, resumed, data = classifier(), classifier(), misleading_dataset()
    result = train(whole, data, settings)
    assert result.best_epoch < 10

    def interrupt(progress):
        if (progress.epoch, progress.step) == (11, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(resumed, data, settings, run_dir=tmp_path, on_progress=interrupt)
    again = train(resumed, data, settings, run_dir=tmp_path, resume=True)
    assert again.best_epoch == result.best_epoch
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in resumed.state_dict().items())


def test_a_run_interrupted_between_two_masks_goes_on_with_whatever_masks_its_model_has(tmp_path):
    whole, resumed, slow = classifier(), classifier(), {"on_step": dataclasses.replace(GRADUAL, fraction=1)}
    train(whole, dataset(), SETTINGS, **slow)

    def interrupt(progress):
        if (progress.epoch, progress.step) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(resumed, dataset(), SETTINGS, run_dir=tmp_path, on_progress=interrupt, **slow)
    assert resumed.kept_operators() != GRADUAL.kept
    train(resumed, dataset(), SETTINGS, run_dir=tmp_path, resume=True, **slow)
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in resumed.state_dict().items())


def test_resuming_before_the_first_snapshot_starts_from_the_beginning(tmp_path):
    model = classifier(**LAYER)
    train(model, dataset(), SETTINGS, run_dir=tmp_path / "new", resume=True)
    weights, _ = unbroken(tmp_path, LAYER)
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())


def test_resuming_a_finished_run_returns_its_result_without_a_step(tmp_path):
    weights, reference = unbroken(tmp_path, LAYER)
    model, steps = classifier(seed=77, **LAYER), []
    result = train(
        model, dataset(), SETTINGS, run_dir=tmp_path / "unbroken", resume=True, on_progress=steps.append
    )
    assert (result, steps) == (reference, [])
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())
    assert logged_epochs(tmp_path / "unbroken") == [1, 2, 3, 4]


def test_saving_does_not_change_the_run(tmp_path):
    weights, _ = unbroken(tmp_path, BATCH)
    model = classifier(**BATCH)
    train(model, dataset(), SETTINGS)
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("finished")
    train(classifier(), dataset(), SETTINGS, run_dir=run_dir)
    return run_dir


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "config.lr differ; expected config.lr=0.01; found config.lr=0.5"),
        ({"epochs": 9, "seed": 4}, "config.epochs, config.seed differ"),
    ],
)
def test_resuming_with_other_settings_says_which(finished, changes, message):
    with pytest.raises(CheckpointError, match=message):
        train(classifier(), dataset(), SETTINGS.model_copy(update=changes), run_dir=finished, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 0.5}, r"model.dropout differ; expected model.dropout=0.0; found model.dropout=0.5"),
        ({"d_model": 8}, "model.d_model"),
    ],
)
def test_resuming_another_model_says_what_differs(finished, changes, message):
    model = classifier(**changes)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        train(model, dataset(), SETTINGS, run_dir=finished, resume=True)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_resuming_with_other_masks_is_refused(finished):
    model = classifier()
    model.blocks[1].ssm.set_mask(torch.tensor([True, False, True, True]))
    with pytest.raises(CheckpointError, match=r"model.kept differ.*found .*\[0, 2, 3\]"):
        train(model, dataset(), SETTINGS, run_dir=finished, resume=True)


def test_resuming_on_other_data_is_refused_even_under_the_same_name(finished):
    with pytest.raises(CheckpointError, match=r"dataset\.train, dataset\.validation differ"):
        train(classifier(), dataset(seed=5), SETTINGS, run_dir=finished, resume=True)
    other_name = dataclasses.replace(dataset(), name="cosines")
    with pytest.raises(CheckpointError, match=r"dataset\.name=sines; found dataset\.name=cosines"):
        train(classifier(), other_name, SETTINGS, run_dir=finished, resume=True)


@pytest.mark.parametrize(
    ("begun", "asked", "message"),
    [
        ("plain", "distilled", r"objective\.kind, .*found objective\.kind=distillation"),
        ("distilled", "plain", r"objective\.kind, .*expected objective\.kind=distillation"),
        (
            "distilled",
            {"objective": Distillation(classifier(seed=9), 2.0, 0.7)},
            r"objective.temperature diff",
        ),
        ("distilled", {"objective": Distillation(classifier(seed=8), 3.0, 0.7)}, "teacher_sha256 differ"),
        ("gradual", {"on_step": dataclasses.replace(GRADUAL, fraction=0.25)}, r"on_step\.fraction differ"),
        ("gradual", {"on_step": dataclasses.replace(GRADUAL, leaving=((1, 3), (0, 3, 2)))}, "leaving differ"),
    ],
)
def test_resuming_with_another_objective_or_hook_is_refused(tmp_path, begun, asked, message):
    settings = SETTINGS.model_copy(update={"epochs": 1})
    train(classifier(), dataset(), settings, run_dir=tmp_path, **extras(begun))
    again = extras(asked) if isinstance(asked, str) else asked
    model = classifier()
    if begun == "gradual":
        model.set_kept_operators(GRADUAL.kept)  # masks given do not matter: the hook's do
    with pytest.raises(CheckpointError, match=message):
        train(model, dataset(), settings, run_dir=tmp_path, resume=True, **again)


def test_a_new_run_does_not_overwrite_an_old_one(finished):
    before = (finished / SNAPSHOT_NAME).read_bytes()
    with pytest.raises(UsageError, match="already holds a training run; continue with --resume"):
        train(classifier(), dataset(), SETTINGS, run_dir=finished)
    assert (finished / SNAPSHOT_NAME).read_bytes() == before


def test_resuming_needs_a_folder():
    with pytest.raises(UsageError, match="no run folder"):
        train(classifier(), dataset(), SETTINGS, resume=True)


def test_masked_operators_stay_masked_through_training_and_resuming(tmp_path):
    def masked():
        model = classifier()
        model.blocks[0].ssm.set_mask(torch.tensor([False, True, True, False]))
        return model

    model, again = masked(), masked()
    train(model, dataset(), SETTINGS, run_dir=tmp_path)
    train(again, dataset(), SETTINGS, run_dir=tmp_path, resume=True)
    assert model.kept_operators() == again.kept_operators() == ((1, 2), (0, 1, 2, 3))
