"""A checkpoint comes back as it was saved, and a wrong one says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edge_s4op.errors import CheckpointError
from host.models import Classifier, ModelConfig, compact, load_checkpoint, save_checkpoint


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(kind="s4", num_classes=3, seq_len=20, d_input=1, d_model=4, d_state=8, depth=2)
    model = Classifier(config).eval()
    model.set_kept_operators(((0, 1, 2), (3,)))
    return model


def _edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


def test_masked_and_compacted_models_come_back(model: Classifier, tmp_path: Path):
    x = torch.randn(2, 20, 1)
    for name, each in (("masked", model), ("compacted", compact(model))):
        save_checkpoint(tmp_path / name, each, {"epoch": 3})
        again, extra = load_checkpoint(tmp_path / name)
        assert extra == {"epoch": 3}
        assert again.config == each.config
        assert again.kept_operators() == ((0, 1, 2), (3,))
        assert not again.training
        assert torch.equal(again(x), each(x))


def test_a_missing_checkpoint_says_what_is_expected(tmp_path: Path):
    with pytest.raises(
        CheckpointError, match=r"cannot read .*config\.json.*model\.safetensors and config\.json"
    ):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("change", [{"d_model": 8}, {"depth": 3}, {"kind": "s4d"}, {"norm": "batch"}])
def test_a_config_of_another_model_is_refused(model: Classifier, tmp_path: Path, change: dict[str, object]):
    save_checkpoint(tmp_path, model)
    _edit(tmp_path, **change)
    with pytest.raises(CheckpointError, match="the weights do not match the config"):
        load_checkpoint(tmp_path)


def test_a_config_that_cut_out_a_kept_operator_is_refused(model: Classifier, tmp_path: Path):
    save_checkpoint(tmp_path, compact(model))
    _edit(tmp_path, kept=[[0, 1, 2], [1]])
    with pytest.raises(CheckpointError, match="layer 1's mask keeps operators"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("change", [{"d_state": 7}, {"kind": "mamba"}, {"depths": 3}])
def test_an_invalid_config_is_refused(model: Classifier, tmp_path: Path, change: dict[str, object]):
    save_checkpoint(tmp_path, model)
    _edit(tmp_path, **change)
    with pytest.raises(CheckpointError, match="not a model config"):
        load_checkpoint(tmp_path)


def test_weights_of_another_save_are_noticed(model: Classifier, tmp_path: Path):
    save_checkpoint(tmp_path / "a", model)
    with torch.no_grad():
        model.head.bias += 1
    save_checkpoint(tmp_path / "b", model)
    (tmp_path / "a" / "model.safetensors").replace(tmp_path / "b" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is not the file config\.json was written with"):
        load_checkpoint(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"format": 2}', b"[1]"])
def test_a_torn_config_is_refused(model: Classifier, tmp_path: Path, content: bytes):
    save_checkpoint(tmp_path, model)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)
