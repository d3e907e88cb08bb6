"""Batches of a split as torch tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from edge_s4op.errors import UsageError
from host.data.values import Split

__all__ = ["Batch", "batches"]


class Batch(NamedTuple):
    """x: float32 (B, L, d_input) or int64 (B, L); y: int64 (B,); lengths: int64 (B,) or None."""

    x: torch.Tensor
    y: torch.Tensor
    lengths: torch.Tensor | None


def batches(
    split: Split,
    batch_size: int,
    *,
    generator: torch.Generator | None,
    device: torch.device | str,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Yield the rows of `split` once, in order, or shuffled where a (CPU) `generator` is given.

    The generator is drawn from once per call, so its state alone decides the order of an epoch.
    Raises UsageError for a batch size below 1.
    """
    if batch_size < 1:
        raise UsageError("the batch size is too small", expected="at least 1", found=batch_size)
    return _batches(split, _order(len(split), generator), batch_size, torch.device(device), drop_last)


def _batches(
    split: Split, order: torch.Tensor, batch_size: int, device: torch.device, drop_last: bool
) -> Iterator[Batch]:
    x, y = torch.from_numpy(split.x), torch.from_numpy(split.y)
    lengths = None if split.lengths is None else torch.from_numpy(split.lengths)
    for rows in torch.split(order, batch_size):
        if drop_last and len(rows) < batch_size:
            return
        of_rows = None if lengths is None else lengths[rows].to(device)
        yield Batch(x[rows].to(device), y[rows].to(device), of_rows)


def _order(count: int, generator: torch.Generator | None) -> torch.Tensor:
    return torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
