"""A device without a GPU: fake_cuda.c as the driver, and an engine that computes in NumPy.

What an engine reads and writes are the addresses it was given, so that a runner which copies too little,
replays a stale graph or frees too early gives wrong numbers or a nonzero status.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_s4op.artifact import Manifest, TensorInfo
from edge_s4op.runtime.feeds import numpy_dtype
from edge_s4op.runtime.tensorrt import library

SOURCE = Path(__file__).with_name("fake_cuda.c")
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

Compute = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def build_driver(folder: Path) -> Path:
    """Compile the driver, or skip."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: `apt-get install gcc` would run this")
    made = folder / "libcuda.so.1"
    flags = ["-std=gnu11", "-O1", "-shared", "-fPIC", "-Wall", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(made), str(SOURCE)], check=True)
    return made


class FakeEngine:
    """Stands for an ICudaEngine: tensors of a manifest, computed by a function of arrays."""

    device_memory_size_v2 = 4096

    def __init__(
        self, driver: Path, manifest: Manifest, compute: Compute, *, capturable: bool = True
    ) -> None:
        self.driver, self.manifest, self.compute = ctypes.CDLL(str(driver)), manifest, compute
        self.capturable, self.contexts_left = capturable, 1000
        self.runs = 0  # on the device: enqueued or replayed
        self.captured: list[int] = []  # batch sizes, in order
        self.contexts: weakref.WeakSet[FakeContext] = weakref.WeakSet()

    def create_execution_context(self, strategy: Any) -> FakeContext | None:
        assert strategy == library.load().ExecutionContextAllocationStrategy.USER_MANAGED
        self.contexts_left -= 1
        if self.contexts_left < 0:
            return None
        context = FakeContext(self)
        self.contexts.add(context)
        return context

    def create_engine_inspector(self) -> FakeInspector:
        return FakeInspector()

    def get_tensor_dtype(self, name: str) -> Any:
        kinds = {"FP32": "FLOAT", "FP16": "HALF", "INT64": "INT64"}
        infos = {info.name: info for info in (*self.manifest.inputs, *self.manifest.outputs)}
        return getattr(library.load().DataType, kinds[infos[name].datatype])


class FakeInspector:
    def get_engine_information(self, _: Any) -> str:
        layers = [{"Name": "fused_1", "Metadata": "[ONNX Layer: products]"}, "reformat_2"]
        return json.dumps({"Layers": layers, "Bindings": ["input", "logits"]})


class FakeContext:
    """Stands for an IExecutionContext; its work is one host function put on the stream.

    As TensorRT, it wants memory, one run after a change of shape before it is captured, and breaks the
    graphs captured from it when its shape changes: they give NaN.
    """

    def __init__(self, engine: FakeEngine) -> None:
        self._engine, self._addresses = engine, dict[str, int]()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._prepared_for: dict[str, tuple[int, ...]] = {}
        self._memory: int | None = None
        self._functions: list[Any] = []  # kept, since a graph calls them again
        self.profiler: Any = None

    def set_device_memory(self, memory: int, size: int) -> None:
        if size >= self._engine.device_memory_size_v2:
            self._memory = memory

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def execute_async_v3(self, stream: int) -> bool:
        handle, shapes = ctypes.c_void_p(stream), dict(self._shapes)  # a graph replays what was enqueued
        capturing = self._engine.driver.isCapturing(handle)
        if self._memory is None or (capturing and not self._can_be_captured()):
            return False
        self._functions.append(_HOST_FUNCTION(lambda _: self._execute(shapes)))
        status = self._engine.driver.launchHost(handle, self._functions[-1], None)
        if capturing:
            self._engine.captured.append(_batch(shapes))
        self._prepared_for = shapes
        if self.profiler is not None:
            for name, ms in (("fused_1", 0.25), ("reformat_2", 0.5), ("fused_1", 0.25)):
                self.profiler.report_layer_time(name, ms)
        return bool(status == 0)

    def _can_be_captured(self) -> bool:
        return self._engine.capturable and self._prepared_for == self._shapes

    def _execute(self, shapes: dict[str, tuple[int, ...]]) -> None:
        manifest = self._engine.manifest
        ctypes.memset(self._memory or 0, 0xFF, self._engine.device_memory_size_v2)
        feeds = {info.name: self._view(info, shapes[info.name]) for info in manifest.inputs}
        for name, value in self._engine.compute(feeds).items():
            info = next(info for info in manifest.outputs if info.name == name)
            output = self._view(info, (_batch(shapes), *info.shape[1:]))
            output[...] = value if self._shapes == shapes else np.nan
        self._engine.runs += 1

    def _view(self, info: TensorInfo, shape: tuple[int, ...]) -> np.ndarray:
        dtype = numpy_dtype(info.datatype)
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[info.name])
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)


def _batch(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return next(iter(shapes.values()))[0]
