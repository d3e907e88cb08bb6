import json

import pytest
import torch

from edge_s4op.errors import CheckpointError, StorageError
from host.training import train
from host.training.metrics import METRICS_NAME
from host.training.snapshot import SNAPSHOT_NAME, read_snapshot, write_snapshot
from tests.host.training.training_samples import SETTINGS, classifier, dataset

ONE_EPOCH = SETTINGS.model_copy(update={"epochs": 1})


@pytest.fixture
def run_dir(tmp_path):
    train(classifier(norm="batch"), dataset(), ONE_EPOCH, run_dir=tmp_path)
    return tmp_path


def test_a_snapshot_reads_back_as_it_was_written(run_dir, tmp_path):
    snapshot = read_snapshot(run_dir)
    write_snapshot(tmp_path / "copy", snapshot)
    copy = read_snapshot(tmp_path / "copy")
    assert copy.state == snapshot.state
    for part in ("model", "best", "optimizer"):
        old, new = getattr(snapshot, part), getattr(copy, part)
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_snapshot_holds_weights_buffers_and_both_moments_of_every_parameter(run_dir):
    snapshot, model = read_snapshot(run_dir), classifier(norm="batch")
    assert snapshot.model.keys() == snapshot.best.keys() == model.state_dict().keys()
    moments = [name for name in snapshot.optimizer if name.endswith((".exp_avg", ".exp_avg_sq"))]
    assert len(moments) == 2 * len(list(model.parameters()))


@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.99])
def test_a_truncated_snapshot_is_refused(run_dir, keep):
    path = run_dir / SNAPSHOT_NAME
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r"snapshot\.safetensors: not a training snapshot"):
        train(classifier(norm="batch"), dataset(), ONE_EPOCH, run_dir=run_dir, resume=True)


def test_some_other_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / SNAPSHOT_NAME)
    with pytest.raises(CheckpointError, match="not a training snapshot"):
        read_snapshot(tmp_path)


def test_what_a_kill_left_half_written_is_cleared(run_dir):
    leftover = run_dir / f".{SNAPSHOT_NAME}.abc"
    leftover.write_bytes(b"half")
    train(classifier(norm="batch"), dataset(), ONE_EPOCH, run_dir=run_dir, resume=True)
    assert not leftover.exists()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        train(classifier(), dataset(), ONE_EPOCH, run_dir=tmp_path / "file")


def test_metrics_hold_one_line_an_epoch_and_lose_half_a_line_on_resuming(run_dir):
    path = run_dir / METRICS_NAME
    whole = path.read_text()
    (line,) = whole.splitlines()
    assert json.loads(line)["epoch"] == 1
    path.write_text(whole + '{"epoch": 2, "train_lo')
    train(classifier(norm="batch"), dataset(), ONE_EPOCH, run_dir=run_dir, resume=True)
    assert path.read_text() == whole


def test_tensorboard_gets_the_same_figures(run_dir):
    pytest.importorskip("tensorboard", reason="optional and not installed: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    (point,) = events.Scalars("validation_accuracy")
    record = json.loads((run_dir / METRICS_NAME).read_text())
    assert (point.step, point.value) == (1, pytest.approx(record["validation_accuracy"]))
