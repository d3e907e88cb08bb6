"""Convolution == recurrence == float64 oracle, for S4D and S4, in float32 and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_s4op import reference
from host.models.convolution import causal_convolution
from host.models.hippo import legs_dplr
from host.models.s4 import S4Operators
from host.models.s4d import S4DOperators

LENGTHS = [1, 2, 63, 64, 150, 1024, 4096]
TOLERANCE = {
    ("s4d", "float32"): 1e-5,
    ("s4", "float32"): 1e-4,
    ("s4d", "float64"): 1e-10,
    ("s4", "float64"): 1e-10,
}
CHANNELS, D_STATE = 4, 64


def relative_rms(found: torch.Tensor, expected: np.ndarray) -> float:
    difference = found.detach().double().numpy() - expected
    return float(np.sqrt((difference**2).mean() / (expected**2).mean()))


def _numpy(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def _complex(parameter: torch.Tensor) -> np.ndarray:
    return torch.view_as_complex(parameter.detach().double()).numpy()


def _operators(kind: str, dtype: str) -> S4DOperators | S4Operators:
    torch.manual_seed(3)
    made = {"s4d": S4DOperators, "s4": S4Operators}[kind](CHANNELS, D_STATE, 1e-3, 1e-1)
    with torch.no_grad():
        for parameter in made.parameters():  # off the initial point: what training would find
            parameter.mul_(1 + 0.05 * torch.randn_like(parameter))
    return made.to(getattr(torch, dtype))


def _oracle_kernel(own: S4DOperators | S4Operators, length: int) -> np.ndarray:
    if isinstance(own, S4DOperators):
        parameters = (_numpy(own.log_dt), _numpy(own.log_a_real), _numpy(own.a_imag), _complex(own.c))
        return reference.s4d_kernel(*reference.s4d_discrete(*parameters), length)
    parameters = (_numpy(own.log_dt), _numpy(own.log_a_real), _numpy(own.a_imag))
    return reference.s4_kernel(*parameters, _complex(own.p), _complex(own.b), _complex(own.c), length)


@pytest.mark.parametrize(("kind", "dtype"), TOLERANCE)
@pytest.mark.parametrize("length", [*LENGTHS, 16384])
def test_kernel_equals_the_oracle(kind: str, dtype: str, length: int):
    own = _operators(kind, dtype)
    assert relative_rms(own.kernel(length), _oracle_kernel(own, length)) < TOLERANCE[kind, dtype]


@pytest.mark.parametrize(("kind", "dtype"), TOLERANCE)
@pytest.mark.parametrize("length", [*LENGTHS, 16384])
def test_convolution_and_recurrence_equal_the_oracle(kind: str, dtype: str, length: int):
    own = _operators(kind, dtype)
    x = torch.randn(1, CHANNELS, length, dtype=own.log_dt.dtype)
    expected = reference.causal_convolution(_oracle_kernel(own, length), _numpy(x))
    with torch.inference_mode():
        convolved = causal_convolution(x, own.kernel(length))
        recurrence, outputs = own.recurrence(), []
        state = recurrence.initial_state(1)
        for t in range(length):
            y, state = recurrence.step(x[..., t], state)
            outputs.append(y)
    assert relative_rms(convolved, expected) < TOLERANCE[kind, dtype]
    assert relative_rms(torch.stack(outputs, -1), expected) < TOLERANCE[kind, dtype]


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_kernel_of_some_operators_is_a_part_of_the_kernel_of_all(kind: str):
    own = _operators(kind, "float64")
    rows = torch.tensor([0, 3])
    torch.testing.assert_close(own.kernel(77, rows), own.kernel(77)[rows], rtol=1e-12, atol=1e-14)


def test_gradients_equal_those_of_the_direct_einsum():
    from benchmarks.peers import direct_kernel

    own = _operators("s4d", "float64")
    weights = torch.randn(CHANNELS, 150, dtype=torch.float64)
    (own.kernel(150) * weights).sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in own.named_parameters()}
    own.zero_grad()
    (direct_kernel(own.log_dt, own.log_a_real, own.a_imag, own.c, 150) * weights).sum().backward()
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-12)


def test_s4_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    own = S4Operators(2, 4, 1e-2, 1e-1).double()
    names = [name for name, _ in own.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in own.parameters())

    def kernel(*parameters: torch.Tensor) -> torch.Tensor:
        call = torch.func.functional_call
        return call(_Kernel(own), {f"own.{n}": p for n, p in zip(names, parameters, strict=True)}, (20,))

    assert torch.autograd.gradcheck(kernel, values, rtol=1e-5, atol=1e-7)


class _Kernel(torch.nn.Module):
    def __init__(self, own: S4Operators) -> None:
        super().__init__()
        self.own = own

    def forward(self, length: int) -> torch.Tensor:
        return self.own.kernel(length)


def test_dplr_is_hippo_legs():
    """V (Lambda - P P^*) V^* has LegS's eigenvalues -1 .. -N, and B^* P-like sums are preserved."""
    lam, p, b = legs_dplr(8)
    full_lam, full_p = np.concatenate([lam, lam.conj()]), np.concatenate([p, p.conj()])
    eigenvalues = np.linalg.eigvals(np.diag(full_lam) - np.outer(full_p, full_p.conj()))
    np.testing.assert_allclose(np.sort(eigenvalues.real), -np.arange(8, 0, -1), rtol=1e-8)
    np.testing.assert_allclose(eigenvalues.imag, 0, atol=1e-7)
    np.testing.assert_allclose(2 * np.sum(abs(b) ** 2), np.sum(2 * np.arange(8) + 1), rtol=1e-12)
    np.testing.assert_allclose(2 * np.sum(abs(p) ** 2), np.sum(np.arange(8) + 0.5), rtol=1e-12)


def test_s4_starts_as_the_hippo_recurrence():
    """The impulse response of the DPLR form is LegS's own, b through (I - dt/2 A)^-1 and so on."""
    n, dt = np.arange(8), 0.01
    root = np.sqrt(2 * n + 1)
    a = -(np.tril(np.outer(root, root), -1) + np.diag(n + 1.0))
    inverse = np.linalg.inv(np.eye(8) - dt / 2 * a)
    transition, reach = inverse @ (np.eye(8) + dt / 2 * a), inverse @ root * dt
    own = S4Operators(1, 8, dt, dt).double()
    a_found, b_found, _ = own.discrete()
    norms = [np.linalg.norm(np.linalg.matrix_power(transition, t) @ reach) for t in range(0, 500, 50)]
    found = [
        torch.linalg.norm(torch.linalg.matrix_power(a_found[0], t) @ b_found[0]).item() * np.sqrt(2)
        for t in range(0, 500, 50)
    ]
    np.testing.assert_allclose(found, norms, rtol=1e-4)  # float32 parameters; V is unitary
