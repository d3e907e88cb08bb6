"""The classifier: padding does not matter, stepping equals convolving, surgery changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from host.models import Classifier, ModelConfig, compact, count_macs, count_parameters

LENGTH, KEPT = 70, ((0, 1, 2, 3, 4, 5, 6, 7), (1, 5), (7,))
INPUTS: dict[str, dict[str, Any]] = {"continuous": {"d_input": 2}, "tokens": {"vocab_size": 11}}
VARIANTS = list(itertools.product(["s4d", "s4"], ["layer", "batch"], [False, True], INPUTS))


def _model(kind: str, norm: str, prenorm: bool, inputs: str, padded: bool = False) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(
        kind=kind,
        num_classes=3,
        seq_len=LENGTH,
        d_model=8,
        d_state=16,
        depth=3,
        norm=norm,
        prenorm=prenorm,
        padded=padded,
        dropout=0.1,
        **INPUTS[inputs],
    )
    model = Classifier(config)
    lengths = torch.full((16,), LENGTH) if padded else None
    model(_inputs(inputs, 16), lengths)  # batch norm has seen something
    return model.eval()


def _inputs(kind: str, batch: int) -> torch.Tensor:
    return torch.randn(batch, LENGTH, 2) if kind == "continuous" else torch.randint(0, 11, (batch, LENGTH))


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs"), VARIANTS)
@torch.no_grad()
def test_masked_equals_compacted(kind: str, norm: str, prenorm: bool, inputs: str):
    model = _model(kind, norm, prenorm, inputs)
    model.set_kept_operators(KEPT)
    small, x = compact(model), _inputs(inputs, 5)
    assert small.kept_operators() == KEPT
    torch.testing.assert_close(small(x), model(x), rtol=1e-6, atol=1e-6)
    assert sum(p.numel() for p in small.parameters()) == count_parameters(model) == count_parameters(small)


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs"), VARIANTS)
@torch.no_grad()
def test_stepping_equals_convolving(kind: str, norm: str, prenorm: bool, inputs: str):
    model = _model(kind, norm, prenorm, inputs)
    model.set_kept_operators(KEPT)
    x = _inputs(inputs, 4)
    for each in (model, compact(model)):
        stepper = each.stepper()
        state = stepper.initial_state(4)
        for t in range(LENGTH):
            logits, state = stepper.step(x[:, t], state)
        torch.testing.assert_close(logits, each(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs"), VARIANTS)
@torch.no_grad()
def test_what_stands_in_the_padding_does_not_matter(kind: str, norm: str, prenorm: bool, inputs: str):
    model = _model(kind, norm, prenorm, inputs, padded=True)
    lengths = torch.tensor([LENGTH, 1, 33])
    x = _inputs(inputs, 3)
    other = _inputs(inputs, 3)
    positions = torch.arange(LENGTH) < lengths[:, None]
    mixed = torch.where(positions[..., None] if x.ndim == 3 else positions, x, other)
    torch.testing.assert_close(model(mixed, lengths), model(x, lengths), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model(x, lengths), model(x, torch.full((3,), LENGTH)))


def test_a_pruned_operator_gets_no_gradient_and_a_kept_one_does():
    model = _model("s4d", "layer", False, "continuous")
    model.set_kept_operators(KEPT)
    model(_inputs("continuous", 2)).square().sum().backward()
    gradient = model.blocks[1].ssm.operators.c.grad
    assert torch.all(gradient[[0, 2, 3, 4, 6, 7]] == 0)
    assert torch.all(gradient[[1, 5]].abs().amax((1, 2)) > 0)


def test_an_operator_that_was_cut_out_cannot_come_back():
    model = _model("s4d", "layer", False, "continuous")
    model.set_kept_operators(KEPT)
    with pytest.raises(ValueError, match=r"operators \[0\] were cut out"):
        compact(model).set_kept_operators((KEPT[0], (0, 1), (7,)))
    with pytest.raises(ValueError, match="at least one operator"):
        model.set_kept_operators((KEPT[0], KEPT[1], ()))


@pytest.mark.parametrize("padded", [False, True])
def test_lengths_are_asked_for_exactly_when_padded(padded: bool):
    model = _model("s4d", "layer", False, "tokens", padded)
    with pytest.raises(ValueError, match="lengths"):
        model(_inputs("tokens", 2), None if padded else torch.tensor([3, 4]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_input": 1, "vocab_size": 5},
        {},
        {"d_input": 1, "kept": ((0,),)},
        {"d_input": 1, "kept": ((0,), ())},
        {"d_input": 1, "kept": ((0,), (1, 0))},
        {"d_input": 1, "kept": ((0,), (32,))},
        {"d_input": 1, "dt_min": 0.2},
        {"d_input": 1, "d_state": 5},
    ],
)
def test_an_impossible_config_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        ModelConfig(kind="s4d", num_classes=2, seq_len=8, depth=2, **wrong)


def test_macs_by_hand():
    config = ModelConfig(kind="s4d", num_classes=3, seq_len=70, d_input=2, d_model=8, d_state=16, depth=2)
    mixing = 2 * (2 * 8 * 8 * 70)
    operator = 3 * 32 * 32 + 3 * (2 * 16 * 32 + 2 * 16)  # three chunks of 32
    assert count_macs(config, [(0, 1), (3,)]) == 2 * 8 * 70 + mixing + 3 * operator + 8 * 3
