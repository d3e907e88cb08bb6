"""Execution contexts of one engine, which take turns: all compute in the same block of device memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from edge_s4op.errors import InferenceError
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.buffers import Buffer
from edge_s4op.runtime.tensorrt.cuda import Device

__all__ = ["Contexts", "enqueue", "set_shapes"]


class Contexts:
    """Makes contexts that read and write `inputs` and `outputs`.

    The block for activations is as large as the engine's largest batch needs, and there once, however
    many contexts are made; it goes with `resources`. So no two contexts may run at the same time.
    """

    def __init__(
        self,
        device: Device,
        engine: Any,
        inputs: Sequence[Buffer],
        outputs: Sequence[Buffer],
        resources: contextlib.ExitStack,
    ) -> None:
        """Raises InferenceError when there is no memory, or TensorRT is older than 10.1."""
        size_bytes = getattr(engine, "device_memory_size_v2", None)
        if size_bytes is None:
            raise InferenceError(
                "this TensorRT does not say how much memory an engine needs",
                expected="TensorRT 10.1 or later",
                found=library.version(),
                fix="update JetPack to 6.1 or later",
            )
        self._engine, self._inputs, self._outputs = engine, inputs, outputs
        self._size_bytes, self._block = size_bytes, device.allocate(size_bytes)
        resources.callback(device.free, self._block)

    def make(self, batch: int | None = None) -> Any:
        """A new context, for `batch` sequences if given. Raises InferenceError."""
        strategy = library.load().ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise InferenceError(
                "TensorRT made no execution context", fix="the device is out of memory: stop other programs"
            )
        context.set_device_memory(self._block, self._size_bytes)
        for buffer in (*self._inputs, *self._outputs):
            if not context.set_tensor_address(buffer.info.name, buffer.pointer):
                raise InferenceError(f"the engine has no tensor {buffer.info.name!r}")
        if batch is not None:
            set_shapes(context, self._inputs, batch)
        return context

    def close(self) -> None:
        """Let go of the engine; the memory goes with the resources."""
        self._engine = None


def set_shapes(context: Any, inputs: Sequence[Buffer], batch: int) -> None:
    """Make `context` take `batch` sequences. Raises InferenceError when TensorRT refuses."""
    for buffer in inputs:
        if not context.set_input_shape(buffer.info.name, buffer.rows(batch).shape):
            raise InferenceError(f"TensorRT refuses the shape of input {buffer.info.name!r}")


def enqueue(context: Any, stream: int) -> None:
    """Put one run of `context` on `stream`. Raises InferenceError when TensorRT fails."""
    if not context.execute_async_v3(stream):
        raise InferenceError("TensorRT failed to run the engine; its reason is in this process's log")
