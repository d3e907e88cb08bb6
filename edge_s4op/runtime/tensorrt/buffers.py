"""Memory of one engine's inputs and outputs: pinned on the host, and its twin on the device."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from edge_s4op.artifact import TensorInfo
from edge_s4op.runtime.feeds import numpy_dtype
from edge_s4op.runtime.protocol import Array
from edge_s4op.runtime.tensorrt.cuda import Device

__all__ = ["Buffer", "allocate_buffer", "free_buffer"]


@dataclass(frozen=True)
class Buffer:
    """One tensor for up to `batch` sequences. `host` has the full batch; rows of fewer come first."""

    info: TensorInfo
    pinned: Array  # uint8, all of it
    host: Array  # the same memory, typed and shaped
    pointer: int

    def rows(self, batch: int) -> Array:
        """The part that holds `batch` sequences; contiguous, since the batch is the first dimension."""
        return self.host[:batch] if self.info.shape[:1] == (-1,) else self.host


def allocate_buffer(device: Device, info: TensorInfo, batch: int) -> Buffer:
    """Memory for a tensor of `batch` sequences. Raises InferenceError when there is none."""
    shape = tuple(batch if size == -1 else size for size in info.shape)
    dtype: np.dtype[Any] = numpy_dtype(info.datatype)
    size_bytes = prod(shape) * dtype.itemsize
    pinned = device.allocate_pinned(size_bytes)
    try:
        pointer = device.allocate(size_bytes)
    except Exception:
        device.free_pinned(pinned)
        raise
    return Buffer(info, pinned, pinned.view(dtype).reshape(shape), pointer)


def free_buffer(device: Device, buffer: Buffer) -> None:
    device.free(buffer.pointer)
    device.free_pinned(buffer.pinned)
