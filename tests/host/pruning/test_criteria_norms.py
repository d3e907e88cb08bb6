"""h2, hinf and magnitude against kernels summed and transformed by brute force, and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from edge_s4op import reference
from host.models import Classifier
from host.models.layer import SSMLayer
from host.pruning.criteria.norms import h2_norms, hinf_norms
from tests.host.models.cut_samples import whole_model
from tests.host.pruning.criteria_samples import own_model, scores_of

LONG = 1 << 13  # operators of dt >= 0.01 have decayed to 1e-17 by then


def off_initial_layer(kind: str, d_state: int) -> SSMLayer:
    torch.manual_seed(7)
    layer = SSMLayer(5, kind=kind, d_state=d_state, dt_min=1e-2, dt_max=0.3)  # dt A passes whole turns
    with torch.no_grad():
        for parameter in layer.operators.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
        layer.operators.log_a_real.clamp_(min=math.log(0.4))
    return layer


def oracle_kernel(layer: SSMLayer, length: int) -> np.ndarray:
    own = {name: p.detach().double() for name, p in layer.operators.named_parameters()}
    own |= {name: torch.view_as_complex(own[name]) for name in ("p", "b", "c") if name in own}
    values = {name: value.numpy() for name, value in own.items()}
    if layer.kind == "s4":
        return reference.s4_kernel(**values, length=length)
    return reference.s4d_kernel(*reference.s4d_discrete(**values), length)


def difference(layer: SSMLayer, length: int) -> np.ndarray:
    """Impulse response of the operator minus the pass-through's, (H, length)."""
    response = oracle_kernel(layer, length)
    response[:, 0] += layer.d.detach().double().numpy() - 1
    return response


KINDS = pytest.mark.parametrize("kind", ["s4d", "s4"])
STATES = pytest.mark.parametrize("d_state", [2, 16, 64])


@KINDS
@STATES
@pytest.mark.parametrize("horizon", [1, 2, 3, 64, 150, 1000, None])
def test_h2_is_the_energy_of_the_impulse_response(kind: str, d_state: int, horizon: int | None):
    layer = off_initial_layer(kind, d_state)
    expected = np.sqrt((difference(layer, LONG)[:, :horizon] ** 2).sum(axis=1))
    np.testing.assert_allclose(h2_norms(layer, horizon), expected, rtol=1e-9)


@KINDS
@STATES
def test_hinf_is_the_largest_gain_at_any_frequency(kind: str, d_state: int):
    layer = off_initial_layer(kind, d_state)
    spectrum = np.abs(np.fft.rfft(difference(layer, LONG), 1 << 20)).max(axis=1)
    np.testing.assert_allclose(hinf_norms(layer), spectrum, rtol=1e-6)
    assert (hinf_norms(layer).numpy() >= spectrum * (1 - 1e-9)).all()


def test_hinf_tells_nearly_equal_peaks_apart():
    """All resonances of an operator about as high: which is highest shows only when all are refined."""
    torch.manual_seed(25)  # here an operator's second peak on the grid is the first between its points
    layer = SSMLayer(16, kind="s4d", d_state=16, dt_min=1e-2, dt_max=0.3).double()
    own = layer.operators
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
        own.log_a_real.clamp_(min=math.log(0.4))
        pole_re, _, res_re, res_im = own.discrete()
        own.c /= (torch.hypot(res_re, res_im) / -torch.expm1(pole_re))[..., None]
    spectrum = np.abs(np.fft.rfft(difference(layer, LONG), 1 << 16)).max(axis=1)
    np.testing.assert_allclose(hinf_norms(layer), spectrum, rtol=2e-4)
    assert (hinf_norms(layer).numpy() >= spectrum * (1 - 1e-9)).all()


@KINDS
def test_hinf_finds_a_resonance_far_narrower_than_any_grid(kind: str):
    """A pole 1e-7 from the unit circle: its peak is |residue| / 1e-7 and 1e-7 rad wide."""
    torch.manual_seed(1)
    layer = SSMLayer(3, kind=kind, d_state=2).double()
    own = layer.operators
    with torch.no_grad():
        own.log_dt.fill_(0.0)
        own.log_a_real.fill_(math.log(1e-7))
        own.a_imag.copy_(torch.tensor([[0.7], [1.1], [2.9]]))
        own.c.copy_(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]], [[0.5, 0.5]]]))
        if kind == "s4":
            own.p.zero_()
            own.b.copy_(torch.tensor([1.0, 0.0]))
    if kind == "s4d":
        poles = torch.complex(*own.discrete()[:2])
        sizes = torch.complex(*own.discrete()[2:]).abs()
        expected = (sizes / (1 - poles.real.exp()))[:, 0]
    else:  # G(w) = dt 2 Re.. / |1 + w| (s - A)^-1, near s = i a_imag
        lam = torch.complex(torch.full((3,), -1e-7, dtype=torch.float64), own.a_imag[:, 0])
        residue = torch.view_as_complex(own.c[:, 0]).abs() / (1 - lam / 2).abs()
        pole = (1 + lam / 2) / (1 - lam / 2)
        expected = residue / (1 - pole.abs())
    torch.testing.assert_close(hinf_norms(layer), expected.detach(), rtol=1e-5, atol=0)


def test_one_decaying_mode_by_hand():
    """A = -ln 2 / dt, so a = 1/2: k = 2r (1, 1/2, 1/4, ...), r = C (a - 1) / A."""
    layer = SSMLayer(1, kind="s4d", d_state=2, dt_min=0.5, dt_max=0.5).double()
    with torch.no_grad():
        layer.operators.log_a_real.fill_(math.log(math.log(2) / 0.5))
        layer.operators.a_imag.zero_()
        layer.operators.log_dt.fill_(math.log(0.5))
        layer.operators.c.copy_(torch.tensor([[[math.log(2) / 0.5, 3.0]]]))  # r = 0.5 + 3i.., k[0] = 1
        layer.d.fill_(1.0)
    assert h2_norms(layer, 1).item() == pytest.approx(1)
    assert h2_norms(layer, 2).item() == pytest.approx(math.sqrt(1 + 1 / 4))
    assert h2_norms(layer).item() == pytest.approx(math.sqrt(4 / 3))
    assert hinf_norms(layer).item() == pytest.approx(2)  # the sum of k, at frequency 0
    with torch.no_grad():
        layer.d.fill_(0.0)  # e = (0, 1/2, 1/4, ...)
    assert h2_norms(layer).item() == pytest.approx(math.sqrt(1 / 3))
    assert hinf_norms(layer).item() == pytest.approx(1)
    size = 2 * 0.5 * math.hypot(math.log(2) / 0.5, 3)
    assert scores_of("magnitude", layer, None)[0][0] == pytest.approx(math.hypot(size, 1))


@pytest.mark.parametrize("name", ["h2", "hinf", "magnitude"])
@KINDS
def test_ten_times_the_output_is_ten_times_the_norm(name: str, kind: str):
    layer = off_initial_layer(kind, 16).double()
    with torch.no_grad():
        layer.d.fill_(1.0)
        (before,) = scores_of(name, layer, None)
        layer.operators.c[2] *= 10
    (after,) = scores_of(name, layer, None)
    np.testing.assert_allclose(after, before * [1, 1, 10, 1, 1], rtol=1e-9)


@pytest.mark.parametrize("name", ["h2", "hinf", "magnitude"])
@KINDS
def test_without_a_kernel_d_is_what_counts(name: str, kind: str):
    layer = off_initial_layer(kind, 16).double()
    with torch.no_grad():
        layer.operators.c.zero_()
        layer.d.copy_(torch.tensor([1.0, 0.0, -1.0, 3.5, 1.25]))
    np.testing.assert_allclose(scores_of(name, layer, None)[0], [0, 1, 2, 2.5, 0.25], rtol=1e-12, atol=0)


def test_an_operator_that_cancels_the_pass_through_s_first_sample_loses_no_digits():
    layer = off_initial_layer("s4d", 16).double()
    with torch.no_grad():
        layer.operators.c *= 1e-7
        layer.d.copy_(1 - layer.operators.kernel(1)[:, 0])
    expected = np.sqrt((oracle_kernel(layer, LONG)[:, 1:] ** 2).sum(axis=1))
    np.testing.assert_allclose(h2_norms(layer), expected, rtol=1e-7)


@KINDS
def test_h2_looks_as_far_as_the_model_s_sequences_are_long(kind: str):
    def scores(seq_len: int) -> np.ndarray:
        model: Classifier = whole_model(kind, seq_len=seq_len)
        return np.concatenate(scores_of("h2", model, None))

    model = whole_model(kind, seq_len=20)
    expected = [h2_norms(block.ssm, 20).numpy() for block in model.blocks]
    np.testing.assert_array_equal(scores(20), np.concatenate(expected))
    own: Any = own_model()
    expected = [h2_norms(layer, None).numpy() for layer in (own.first, own.second)]
    np.testing.assert_array_equal(np.concatenate(scores_of("h2", own, None)), np.concatenate(expected))


def test_magnitude_multiplies_what_goes_in_with_what_comes_out():
    """S4: B and C can trade a factor without a change of the operator, and so without one of the score."""
    layer = off_initial_layer("s4", 16).double()
    with torch.no_grad():
        layer.d.fill_(1.0)
        (before,) = scores_of("magnitude", layer, None)
        layer.operators.b[1] *= 4
        layer.operators.c[1] /= 4
    np.testing.assert_allclose(scores_of("magnitude", layer, None)[0], before, rtol=1e-12)
    with torch.no_grad():
        layer.operators.b[1] *= 100
    np.testing.assert_allclose(scores_of("magnitude", layer, None)[0], before * [1, 100, 1, 1, 1], rtol=1e-12)
