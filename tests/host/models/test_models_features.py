"""A model whose channels are masked computes what the model without them computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from host.models import Classifier, compact, compact_config, load_checkpoint, save_checkpoint
from host.models.count import count_macs, count_parameters
from tests.host.models.cut_samples import (
    FEATURES,
    KEPT,
    LENGTH,
    STATES,
    VARIANTS,
    cut_model,
    sample_inputs,
    whole_model,
)

VARIANT = ("kind", "norm", "prenorm", "inputs", "padded")
POSITIONS = ((0, 1, 2, 3, 4), (1, 3), (4,))  # of KEPT among FEATURES


def numel(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(VARIANT, VARIANTS)
@torch.no_grad()
def test_masked_equals_compacted(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = whole_model(kind, norm, prenorm, inputs, padded)
    batch = sample_inputs(model.config, 5)
    before = model(*batch)
    model.set_kept_features(FEATURES)
    small, after = compact(model), model(*batch)
    torch.testing.assert_close(small(*batch), after, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(before, after, rtol=1e-2)
    assert small.config.d_model == small.head.in_features == len(FEATURES)
    assert numel(small) == count_parameters(model) < numel(model)


@pytest.mark.parametrize(VARIANT, VARIANTS)
@torch.no_grad()
def test_channels_operators_and_states_go_together(
    kind: str, norm: str, prenorm: bool, inputs: str, padded: bool
):
    model = cut_model(kind, norm, prenorm, inputs, padded)
    small, batch = compact(model), sample_inputs(model.config, 5)
    torch.testing.assert_close(small(*batch), model(*batch), rtol=1e-6, atol=1e-6)
    assert (model.kept_operators(), small.kept_operators()) == (KEPT, POSITIONS)
    assert small.config.features == FEATURES
    assert small.config.full_d_model == 8
    assert model.states() == small.states() == small.config.states == STATES
    assert numel(small) == count_parameters(model) == count_parameters(small)


@pytest.mark.parametrize(VARIANT, [variant for variant in VARIANTS if not variant[-1]])
@torch.no_grad()
def test_stepping_equals_convolving(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = cut_model(kind, norm, prenorm, inputs)
    (x,) = sample_inputs(model.config, 3)
    for each in (model, compact(model)):
        stepper = each.stepper()
        state = stepper.initial_state(3)
        for t in range(LENGTH):
            logits, state = stepper.step(x[:, t], state)
        torch.testing.assert_close(logits, each(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "norm", "prenorm"), [("s4d", "layer", True), ("s4", "batch", False)])
@torch.no_grad()
def test_a_removed_channel_is_zero_everywhere(kind: str, norm: str, prenorm: bool):
    model = cut_model(kind, norm, prenorm)
    seen: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        block.ssm.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    model(*sample_inputs(model.config, 2))
    removed = [channel for channel in range(8) if channel not in FEATURES]
    assert len(seen) == 9
    assert all(torch.all(h[:, removed] == 0) and torch.all(h[:, FEATURES].abs().amax(-1) > 0) for h in seen)


@torch.no_grad()
def test_a_compacted_model_is_masked_and_compacted_again():
    once = compact(cut_model("s4d", "layer", False))
    once.set_kept_features((1, 3, 4))  # channels 2, 5 and 7 of the unpruned model
    assert once.kept_operators() == ((1, 3, 4), (1, 3), (4,))
    twice, batch = compact(once), sample_inputs(once.config, 4)
    torch.testing.assert_close(twice(*batch), once(*batch), rtol=1e-6, atol=1e-6)
    assert twice.config.original_channels() == (2, 5, 7)
    assert (twice.config.d_model, twice.config.full_d_model) == (3, 8)
    assert twice.config.kept == ((0, 1, 2), (0, 1), (2,))


@pytest.mark.parametrize("gate_shape", [(8,), (4, 8)])
@pytest.mark.parametrize(("norm", "prenorm"), [("layer", True), ("layer", False), ("batch", False)])
@torch.no_grad()
def test_a_gate_of_zero_is_the_mask_and_of_one_is_nothing(
    gate_shape: tuple[int, ...], norm: str, prenorm: bool
):
    model = whole_model("s4d", norm, prenorm)
    batch = sample_inputs(model.config, 4)
    whole = model(*batch)
    model.feature_gate = torch.ones(gate_shape)
    torch.testing.assert_close(model(*batch), whole, rtol=1e-5, atol=1e-6)
    for channel in set(range(8)) - set(FEATURES):
        model.feature_gate[..., channel] = 0
    faded, model.feature_gate = model(*batch), None
    model.set_kept_features(FEATURES)
    torch.testing.assert_close(faded, model(*batch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(VARIANT, [variant for variant in VARIANTS if variant[3] == "continuous"])
def test_training_goes_on_under_the_masks(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool):
    model = cut_model(kind, norm, prenorm, inputs, padded, dropout=0.2)
    small, frozen = compact(model), model.blocks[1].mix.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model.train()(*sample_inputs(model.config, 6)).square().sum().backward()
        optimizer.step()
    gradient = model.blocks[1].mix.weight.grad[..., 0]  # (2H, H)
    assert torch.all(gradient[:, [1, 4, 6]] == 0)
    assert torch.all(gradient[[1, 4, 6, 9, 12, 14]] == 0)
    assert torch.all(gradient[[0, 2, 8, 10]][:, list(FEATURES)].abs().sum(dim=1) > 0)
    assert torch.equal(model.blocks[1].mix.weight[1], frozen[1])
    assert all(parameter.isfinite().all() for parameter in model.state_dict().values())
    batch = sample_inputs(model.eval().config, 5)
    with torch.no_grad():
        found = compact(model)(*batch)
        torch.testing.assert_close(found, model(*batch), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, small(*batch), rtol=1e-3)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@torch.no_grad()
def test_masks_and_cut_models_come_back_from_checkpoints(kind: str, tmp_path: Path):
    model = cut_model(kind, "batch")
    batch = sample_inputs(model.config, 3)
    for name, each in (("masked", model), ("cut", compact(model))):
        save_checkpoint(tmp_path / name, each)
        again, _ = load_checkpoint(tmp_path / name)
        assert torch.equal(again(*batch), each(*batch))
        assert (again.kept_features(), again.states()) == (each.kept_features(), each.states())
        assert again.kept_operators() == each.kept_operators()


@torch.no_grad()
def test_weights_from_before_the_masks_are_of_a_whole_model(tmp_path: Path):
    model = whole_model()
    save_checkpoint(tmp_path, model)
    old = load_file(tmp_path / "model.safetensors")
    old = {name: t for name, t in old.items() if not name.endswith(("feature_mask", "kept_modes"))}
    assert len(old) == len(model.state_dict()) - 4
    again = Classifier(model.config).eval()
    again.load_state_dict(old)
    batch = sample_inputs(model.config, 2)
    assert torch.equal(again(*batch), model(*batch))


def test_macs_and_parameters_by_hand():
    model = cut_model("s4d", "layer")
    config = compact_config(model)
    mixing = 3 * (2 * 5 * 5 * 70)
    taps = 3 * 32 * 32  # three chunks of 32
    states = sum(count * (3 * (2 * n * 32 + 2 * n)) for count, n in zip((5, 2, 1), STATES, strict=True))
    assert count_macs(config, config.kept) == 2 * 5 * 70 + mixing + 8 * taps + states + 5 * 3
    operators = sum(count * (2 + 2 * n) for count, n in zip((5, 2, 1), STATES, strict=True))
    glu_and_norm = 3 * ((2 * 5 * 5 + 2 * 5) + 2 * 5)
    assert count_parameters(model) == (2 * 5 + 5) + operators + glu_and_norm + (5 * 3 + 3)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((), r"one or more channels within \[0, 8\), found none"),
        ((0, 8), r"within \[0, 8\), found \[8\]"),
        ((-1, 0), r"found \[-1\]"),
        ((0, 1), r"layer 2 would keep no operator: keep the channel of one of \[7\]"),
    ],
)
def test_features_that_cannot_be_kept_are_refused(features: tuple[int, ...], message: str):
    model = whole_model()
    model.set_kept_operators(((0, 1), (1, 5), (7,)))
    with pytest.raises(ValueError, match=message):
        model.set_kept_features(features)
    assert model.kept_features() == tuple(range(8))
    assert model.kept_operators() == ((0, 1), (1, 5), (7,))


def test_an_operator_cannot_come_back_without_its_channel():
    model = cut_model()
    with pytest.raises(ValueError, match=r"layer 1: operators \[1, 6\] have no channel: it was removed"):
        model.set_kept_operators(((0,), (1, 2, 6), (7,)))
    assert model.kept_operators() == KEPT
