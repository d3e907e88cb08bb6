"""The oracle agrees with itself: convolution, recurrence and frequency domain, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edge_s4op import reference


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def _complex(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def _s4d(rng: np.random.Generator, channels: int, modes: int) -> tuple[np.ndarray, ...]:
    log_dt = rng.uniform(np.log(1e-3), np.log(1e-1), channels)
    a_imag = np.pi * np.tile(np.arange(modes), (channels, 1))
    return log_dt, np.full((channels, modes), np.log(0.5)), a_imag, _complex(rng, channels, modes)


@pytest.mark.parametrize("length", [1, 2, 63, 150, 1024])
def test_s4d_convolution_equals_recurrence(rng: np.random.Generator, length: int):
    poles, residues = reference.s4d_discrete(*_s4d(rng, 3, 32))
    x = rng.normal(size=(2, 3, length))
    convolved = reference.causal_convolution(reference.s4d_kernel(poles, residues, length), x)
    assert relative_rms(convolved, reference.s4d_recurrence(poles, residues, x)) < 1e-12


@pytest.mark.parametrize("length", [1, 2, 63, 256])
def test_s4_frequency_domain_equals_recurrence(rng: np.random.Generator, length: int):
    parameters = (*_s4d(rng, 2, 8)[:3], _complex(rng, 2, 8), _complex(rng, 2, 8), _complex(rng, 2, 8))
    kernel = reference.s4_kernel(*parameters, length)
    a, b, c = reference.s4_state_space(*parameters)
    x = rng.normal(size=(2, 2, length))
    expected = reference.state_space_recurrence(a, b, c, x)
    assert relative_rms(reference.causal_convolution(kernel, x), expected) < 1e-12


def test_causal_convolution_is_the_plain_sum(rng: np.random.Generator):
    k, x = rng.normal(size=(2, 5)), rng.normal(size=(3, 2, 9))
    y = reference.causal_convolution(k, x)
    for t in range(9):
        expected = sum(k[:, i] * x[..., t - i] for i in range(5) if t >= i)
        np.testing.assert_allclose(y[..., t], expected, rtol=1e-12, atol=1e-12)


def test_gelu_at_known_values():
    np.testing.assert_allclose(reference.gelu(np.array([0.0, 1.0, -1.0])), [0, 0.8413447461, -0.1586552539])


def test_pruned_channels_pass_through(rng: np.random.Generator):
    x, k = rng.normal(size=(2, 4, 16)), rng.normal(size=(2, 16))
    y = reference.ssm_conv(x, k, np.ones(2), (1, 3), with_gelu=False)
    np.testing.assert_array_equal(y[:, [0, 2]], x[:, [0, 2]])
    np.testing.assert_allclose(y[:, [1, 3]], reference.causal_convolution(k, x[:, [1, 3]]) + x[:, [1, 3]])
