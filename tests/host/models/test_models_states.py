"""A masked conjugate pair is no longer there: kernel, recurrence, gradient, parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from edge_s4op import reference
from edge_s4op.errors import CheckpointError
from host.models import ModelConfig, SSMLayer, compact, count_parameters, save_checkpoint
from host.models.checkpoint import load_checkpoint
from host.models.convolution import causal_convolution
from tests.host.models.cut_samples import VARIANTS, sample_inputs, whole_model

CHANNELS, PAIRS, LEFT = 3, 8, 5


def masked_layer(kind: str) -> SSMLayer:
    """Three operators in float64, each without three of its eight pairs, other ones in each."""
    torch.manual_seed(1)
    layer = SSMLayer(CHANNELS, kind=kind, d_state=2 * PAIRS).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    kept = torch.rand(CHANNELS, PAIRS).argsort(dim=1) < LEFT
    assert len(torch.unique(kept, dim=0)) == CHANNELS
    layer.set_kept_modes(kept)
    return layer


def oracle_kernel(layer: SSMLayer, length: int) -> np.ndarray:
    """The kernel of the operators whose masked pairs are taken out of the parameters' arrays."""
    own, rows = layer.operators, []
    for row, kept in enumerate(own.kept_modes.numpy()):
        value = {name: getattr(own, name)[row].detach().numpy() for name in own.parameter_names}
        pairs = {name: value[name][kept][None] for name in ("log_a_real", "a_imag")}
        vectors = [(value[name][kept] @ np.array([1, 1j]))[None] for name in ("p", "b", "c") if name in value]
        common = (value["log_dt"][None], pairs["log_a_real"], pairs["a_imag"])
        if layer.kind == "s4d":
            rows.append(reference.s4d_kernel(*reference.s4d_discrete(*common, *vectors), length))
        else:
            rows.append(reference.s4_kernel(*common, *vectors, length))
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@torch.no_grad()
def test_a_masked_pair_is_as_if_it_had_never_been(kind: str):
    layer = masked_layer(kind)
    expected = oracle_kernel(layer, 150)
    np.testing.assert_allclose(layer.operators.kernel(150).numpy(), expected, rtol=1e-9, atol=1e-12)
    x = torch.randn(2, CHANNELS, 150, dtype=torch.float64)
    recurrence, outputs = layer.operators.recurrence(), []
    state = recurrence.initial_state(2)
    for t in range(150):
        y, state = recurrence.step(x[..., t], state)
        outputs.append(y)
    convolved = causal_convolution(x, torch.from_numpy(expected))
    torch.testing.assert_close(torch.stack(outputs, -1), convolved, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_a_masked_pair_gets_no_gradient_and_a_kept_one_does(kind: str):
    layer = masked_layer(kind)
    layer(torch.randn(2, CHANNELS, 40, dtype=torch.float64)).square().sum().backward()
    kept = layer.operators.kept_modes
    for name in layer.operators.mode_parameter_names:
        gradient = getattr(layer.operators, name).grad.reshape(CHANNELS, PAIRS, -1)
        assert torch.all(gradient[~kept] == 0), name
        assert torch.all(gradient[kept].abs().amax(-1) > 0), name


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS)
@torch.no_grad()
def test_masked_equals_compacted(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = whole_model(kind, norm, prenorm, inputs, padded)
    for block, count in zip(model.blocks, (8, 3, 1), strict=True):
        block.ssm.set_kept_modes(torch.rand(8, 8).argsort(dim=1) < count)
    small, batch = compact(model), sample_inputs(model.config, 5)
    torch.testing.assert_close(small(*batch), model(*batch), rtol=1e-6, atol=1e-6)
    assert small.config.states == small.states() == model.states() == (16, 6, 2)
    assert small.config.d_state == 16
    assert [block.ssm.operators.c.shape[1] for block in small.blocks] == [8, 3, 1]
    assert count_parameters(model) == sum(parameter.numel() for parameter in small.parameters())
    again = compact(small)
    assert again.config == small.config
    assert torch.equal(again(*batch), small(*batch))


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (torch.ones(3, 7), r"shape \(3, 8\), found \(3, 7\)"),
        (torch.zeros(3, 8), r"at least one; found \[0\]"),
        (torch.ones(3, 8).tril(), r"equally many modes, at least one; found \[1, 2, 3\]"),
    ],
)
def test_modes_that_cannot_be_kept_are_refused(kept: torch.Tensor, message: str):
    layer = masked_layer("s4d")
    with pytest.raises(ValueError, match=message):
        layer.set_kept_modes(kept)
    assert layer.states() == 2 * LEFT


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"states": (8,)}, "must list 2 layers"),
        ({"states": (8, 7)}, r"states\[1\] must be even and within \[2, 64\], found 7"),
        ({"states": (0, 8)}, r"states\[0\]"),
        ({"states": (8, 66)}, r"states\[1\]"),
        ({"features": (0, 1)}, "must be set together"),
        ({"full_d_model": 9}, "must be set together"),
        ({"d_model": 2, "features": (1, 0), "full_d_model": 4}, r"2 channels, ascending and within \[0, 4\)"),
        ({"d_model": 2, "features": (0, 4), "full_d_model": 4}, "2 channels"),
        ({"d_model": 2, "features": (0, 1, 2), "full_d_model": 4}, "2 channels"),
    ],
)
def test_an_impossible_config_is_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(kind="s4d", num_classes=2, seq_len=8, d_input=1, depth=2, **wrong)


def test_a_checkpoint_whose_masks_no_model_can_have_is_refused(tmp_path: Path):
    model = whole_model()
    model.blocks[1].ssm.operators.kept_modes[0, 0] = False
    save_checkpoint(tmp_path, model)
    with pytest.raises(CheckpointError, match=r"layer 1's masks leave 8 operators with \[7, 8\] modes"):
        load_checkpoint(tmp_path)
    model = whole_model()
    model.feature_mask[:] = False
    save_checkpoint(tmp_path, model)
    with pytest.raises(CheckpointError, match="layer 0's masks leave 0 operators"):
        load_checkpoint(tmp_path)


def test_a_config_of_other_states_is_refused(tmp_path: Path):
    save_checkpoint(tmp_path, whole_model())
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["states"] = [16, 6, 2]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="the weights do not match the config"):
        load_checkpoint(tmp_path)
