"""Scores of conjugate pairs say what the operator loses, and the best pairs stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_s4op.errors import UnknownNameError, UsageError
from host.models import SSMLayer, apply_plan
from host.pruning import PrunePlan
from host.pruning.states import MODE_SCORES, balanced, choose_modes, hinf, set_kept_modes
from tests.host.models.cut_samples import whole_model

CHANNELS, PAIRS = 3, 6


def trained_layer(kind: str) -> SSMLayer:
    torch.manual_seed(2)
    layer = SSMLayer(CHANNELS, kind=kind, d_state=2 * PAIRS, dt_min=1e-2).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    return layer


@torch.no_grad()
def kernel(layer: SSMLayer, without: int | None = None) -> np.ndarray:
    kept = torch.ones(CHANNELS, PAIRS, dtype=torch.bool)
    if without is not None:
        kept[:, without] = False
    layer.set_kept_modes(kept)
    found = layer.operators.kernel(1 << 13).numpy()
    layer.set_kept_modes(torch.ones(CHANNELS, PAIRS))
    return found


@pytest.mark.parametrize(("kind", "rtol"), [("s4d", 1e-5), ("s4", 0.02)])
def test_hinf_is_the_peak_of_the_lost_part_s_spectrum(kind: str, rtol: float):
    layer = trained_layer(kind)
    scores = hinf(layer).numpy()
    for pair in range(PAIRS):
        lost = kernel(layer) - kernel(layer, without=pair)
        peaks = np.abs(np.fft.rfft(lost, n=1 << 18)).max(axis=1)
        np.testing.assert_allclose(scores[:, pair], peaks, rtol=rtol)


def test_hinf_finds_a_peak_that_is_sharper_than_any_grid():
    layer = SSMLayer(1, d_state=2)
    with torch.no_grad():
        layer.operators.log_dt.zero_()
        layer.operators.log_a_real.fill_(np.log(1e-6))
        layer.operators.a_imag.fill_(1.2345)
    pole_re, pole_im, res_re, res_im = layer.operators.discrete()
    a, r = torch.polar(pole_re.exp(), pole_im), torch.complex(res_re, res_im)
    w = 1 / (a / a.abs())
    at_resonance = (r / (1 - a * w) + r.conj() / (1 - a.conj() * w)).abs()
    torch.testing.assert_close(hinf(layer), at_resonance, rtol=1e-4, atol=0)


def test_balanced_is_the_pair_s_largest_hankel_singular_value():
    layer = trained_layer("s4d")
    scores = balanced(layer).numpy()
    for pair in (0, PAIRS - 1):
        own = kernel(layer) - kernel(layer, without=pair)
        size = 1000
        for row in range(CHANNELS):
            hankel = np.lib.stride_tricks.sliding_window_view(own[row, : 2 * size - 1], size)
            largest = np.sqrt(np.linalg.eigvalsh(hankel @ hankel)[-1])
            np.testing.assert_allclose(scores[row, pair], largest, rtol=1e-4)
    assert np.all(scores <= hinf(layer).numpy() * (1 + 1e-9))
    assert np.all(hinf(layer).numpy() <= 4 * scores)


@torch.no_grad()
def test_balanced_of_s4_comes_from_the_blocks_of_its_gramians():
    layer = trained_layer("s4")
    a, b, c = (value.numpy() for value in layer.operators.discrete())
    scores = balanced(layer).numpy()
    for row in range(CHANNELS):
        reach, read = np.zeros_like(a[row]), np.zeros_like(a[row])
        state, seen = b[row], c[row]
        for _ in range(6000):
            reach += np.outer(state, state)
            read += np.outer(seen, seen)
            state, seen = a[row] @ state, seen @ a[row]
        for pair in range(PAIRS):
            block = np.ix_([pair, PAIRS + pair], [pair, PAIRS + pair])
            largest = np.sqrt(np.linalg.eigvals(reach[block] @ read[block]).real.max())
            np.testing.assert_allclose(scores[row, pair], largest, rtol=1e-6)


@pytest.mark.parametrize("score", MODE_SCORES.names())
@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_what_is_chosen_beats_the_opposite_choice(kind: str, score: str):
    torch.manual_seed(4)
    layer = SSMLayer(16, kind=kind, d_state=32)
    with torch.no_grad():
        whole = layer.operators.kernel(1024)
        (best,) = choose_modes(layer, [8], score)
        assert best.sum(dim=1).tolist() == [8] * 16
        assert layer.states() == 32, "the model is left as it was"
        errors = []
        for kept in (best, ~best):
            set_kept_modes(layer, [kept])
            errors.append(torch.linalg.norm(whole - layer.operators.kernel(1024)))
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("score", MODE_SCORES.names())
@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_what_is_masked_stays_masked(kind: str, score: str):
    model = whole_model(kind)
    set_kept_modes(model, choose_modes(model, [6, 6, 6], score))
    first = [block.ssm.operators.kept_modes.clone() for block in model.blocks]
    set_kept_modes(model, choose_modes(model, [2, 6, 4], score))
    for block, before in zip(model.blocks, first, strict=True):
        assert torch.all(before | ~block.ssm.operators.kept_modes)
    assert model.states() == (4, 12, 8)


@pytest.mark.parametrize("score", MODE_SCORES.names())
def test_a_plan_takes_states_and_gives_them_back(score: str):
    model = whole_model()
    full = PrunePlan.full([8] * 3)
    apply_plan(model, PrunePlan(full.num_channels, full.kept, states=(16, 8, 2)), mode_score=score)
    assert model.states() == (16, 8, 2)
    expected = choose_modes(whole_model(), [8, 4, 1], score)
    for block, kept in zip(model.blocks, expected, strict=True):
        assert torch.equal(block.ssm.operators.kept_modes, kept)
    apply_plan(model, full)
    assert model.states() == (16, 16, 16)


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ([8, 8], r"do not fit the model; expected one for each of 3 layers; found \[8, 8\]"),
        ([8, 0, 8], r"layer 1: .*expected an even number within \[2, 16\].*found 0"),
        ([8, 8, 9], r"layer 2: .*within \[2, 16\].*found 18"),
    ],
)
def test_numbers_of_modes_that_do_not_fit_are_refused(modes: list[int], message: str):
    with pytest.raises(UsageError, match=message):
        choose_modes(whole_model(), modes)


def test_an_unknown_score_and_parameters_that_are_not_finite_are_refused():
    model = whole_model()
    with pytest.raises(UnknownNameError, match="hinf"):
        choose_modes(model, [4, 4, 4], "h-inf")
    with torch.no_grad():
        model.blocks[2].ssm.operators.c[0, 0, 0] = float("nan")
    with pytest.raises(UsageError, match=r"layer 2: .* not finite"):
        choose_modes(model, [4, 4, 4])
