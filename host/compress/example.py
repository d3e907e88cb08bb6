"""The example that shows what a user's own model takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edge_s4op.errors import UsageError

__all__ = ["Example", "example_inputs", "shown"]

Example = Tensor | Mapping[str, Tensor]
"""Real inputs of a model, one batch: a tensor (called "input"), or tensors by name, in forward's order."""


def example_inputs(example: Example) -> dict[str, Tensor]:
    """The tensors of `example` by name, on the CPU, float32 or int64, of at least two samples.

    A batch of one is doubled: an exporter would take its size for a constant. Raises UsageError for what is
    no tensor with a batch, and for batches of different sizes.
    """
    named = {"input": example} if isinstance(example, Tensor) else dict(example)
    if not named or not all(isinstance(value, Tensor) and value.ndim for value in named.values()):
        raise UsageError(
            "the example is no batch of inputs",
            expected="a tensor (B, ...), or tensors by input name",
            found={name: shown(value) for name, value in named.items()} or "nothing",
        )
    sizes = {name: len(value) for name, value in named.items()}
    if len(set(sizes.values())) > 1 or not all(sizes.values()):
        raise UsageError(
            "the example's inputs have not one batch size",
            expected="the same number of samples, at least one, in every input",
            found=sizes,
        )
    return {name: _doubled(_as_input(name, value)) for name, value in named.items()}


def _as_input(name: str, value: Tensor) -> Tensor:
    value = value.detach().cpu()
    if value.is_floating_point():
        return value.float()
    if value.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        return value.long()
    raise UsageError(
        f"input {name!r} is of a type that a model file cannot take",
        expected="floating point or integer",
        found=value.dtype,
        fix="convert inside forward, for example `mask != 0`",
    )


def _doubled(value: Tensor) -> Tensor:
    return torch.cat([value, value]) if len(value) == 1 else value


def shown(value: object) -> str:
    """Type and shape of `value`, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
