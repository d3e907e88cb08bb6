"""Seeding a run, saving where its random numbers stand, and leaving the caller's as they were."""

from __future__ import annotations

import base64
import contextlib
import random
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["random_state", "restore_random_state", "seeded", "state_from_text", "text_from_state"]


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed Python's and torch's generators (CPU, and `device` if CUDA); on leaving, put them back.

    Other CUDA devices and NumPy are not touched: nothing in training draws from them.
    """
    outer = random_state(device)
    try:
        random.seed(seed)
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        restore_random_state(outer, device)


def random_state(device: torch.device) -> dict[str, Any]:
    """Where the global generators stand, as JSON values."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "torch": text_from_state(torch.get_rng_state()),
    }
    if device.type == "cuda":
        state["cuda"] = text_from_state(torch.cuda.get_rng_state(device))
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the global generators to what `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state_from_text(str(state["torch"])))
    if device.type == "cuda":
        torch.cuda.set_rng_state(state_from_text(str(state["cuda"])), device)


def text_from_state(state: torch.Tensor) -> str:
    """Base64 of a generator's state (uint8 tensor)."""
    return base64.b64encode(state.numpy().tobytes()).decode()


def state_from_text(text: str) -> torch.Tensor:
    """The uint8 tensor `text_from_state` wrote."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
