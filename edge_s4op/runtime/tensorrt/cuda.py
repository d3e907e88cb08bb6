"""CUDA: the driver called directly, and through PyCUDA where that is installed (`cuda_pycuda`).

The driver (libcuda.so.1) is there wherever CUDA runs, its C functions keep their ABI from CUDA 11.4 on,
and it captures graphs, which PyCUDA does not; cuda-python must match the CUDA release of the driver. We
share the device's primary context, which is TensorRT's too.

Source: CUDA Driver API reference; types and constants as in cuda.h of CUDA 12.6 and 13.0.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_s4op.errors import InferenceError
from edge_s4op.runtime.protocol import Array

__all__ = ["Device", "Driver", "Gpu", "Graph", "gpu_facts", "open_device"]

LIBRARY = "libcuda.so.1"

_SCHED_SPIN = 1  # CU_CTX_SCHED_SPIN: waiting costs CPU time, not latency
_SCHED_MASK = 7  # CU_CTX_SCHED_MASK
STREAM_NON_BLOCKING, EVENT_BLOCKING_SYNC = 1, 1
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads go on as they like
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16  # CU_DEVICE_ATTRIBUTE_...

_log = logging.getLogger("edge_s4op.tensorrt")

# Handles and device pointers are 64 bits wide; ctypes would cut an undeclared int to 32.
_ARGUMENTS: dict[str, list[Any]] = {
    "cuInit": [c_uint],
    "cuDriverGetVersion": [c_void_p],
    "cuDeviceGetCount": [c_void_p],
    "cuDeviceGet": [c_void_p, c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDeviceGetAttribute": [c_void_p, c_int, c_int],
    "cuDeviceTotalMem_v2": [c_void_p, c_int],
    "cuDevicePrimaryCtxSetFlags_v2": [c_int, c_uint],
    "cuDevicePrimaryCtxGetState": [c_int, c_void_p, c_void_p],
    "cuDevicePrimaryCtxRetain": [c_void_p, c_int],
    "cuDevicePrimaryCtxRelease_v2": [c_int],
    "cuCtxSetCurrent": [c_void_p],
    "cuCtxPopCurrent_v2": [c_void_p],
    "cuStreamCreate": [c_void_p, c_uint],
    "cuStreamDestroy_v2": [c_void_p],
    "cuStreamSynchronize": [c_void_p],
    "cuStreamBeginCapture_v2": [c_void_p, c_int],
    "cuStreamEndCapture": [c_void_p, c_void_p],
    "cuGraphInstantiateWithFlags": [c_void_p, c_void_p, c_ulonglong],
    "cuGraphLaunch": [c_void_p, c_void_p],
    "cuGraphExecDestroy": [c_void_p],
    "cuGraphDestroy": [c_void_p],
    "cuEventCreate": [c_void_p, c_uint],
    "cuEventDestroy_v2": [c_void_p],
    "cuEventRecord": [c_void_p, c_void_p],
    "cuEventSynchronize": [c_void_p],
    "cuEventElapsedTime": [c_void_p, c_void_p, c_void_p],
    "cuMemAlloc_v2": [c_void_p, c_size_t],
    "cuMemFree_v2": [c_ulonglong],
    "cuMemHostAlloc": [c_void_p, c_size_t, c_uint],
    "cuMemFreeHost": [c_void_p],
    "cuMemcpyHtoDAsync_v2": [c_ulonglong, c_void_p, c_size_t, c_void_p],
    "cuMemcpyDtoHAsync_v2": [c_void_p, c_ulonglong, c_size_t, c_void_p],
    "cuGetErrorString": [c_int, c_void_p],
}


@dataclass(frozen=True)
class Gpu:
    """What an engine depends on, beside TensorRT; `cuda` is the newest CUDA the driver can run."""

    name: str
    compute_capability: str
    multiprocessors: int
    memory_bytes: int
    cuda: str


@dataclass(frozen=True)
class Graph:
    """A captured and instantiated CUDA graph: its handle."""

    handle: int


def gpu_facts(library: str = LIBRARY) -> Gpu | None:
    """The first GPU, or None where there is no driver or no device. Makes no context."""
    try:
        return _gpu(Driver(library))
    except InferenceError:
        return None


def open_device(library: str = LIBRARY) -> Device:
    """The first GPU's primary context. Raises InferenceError ("no CUDA device") where there is none.

    Through PyCUDA where it imports, which always talks to `LIBRARY`; else through the driver alone.
    """
    from edge_s4op.runtime.tensorrt import cuda_pycuda  # which imports this module

    driver = Driver(library)
    pycuda = cuda_pycuda.load_pycuda() if library == LIBRARY else None
    device = Device(driver) if pycuda is None else cuda_pycuda.PycudaDevice(driver, pycuda)
    _log.info("CUDA through %s", device.access)
    return device


class Device:
    """Streams, events, memory and graphs of one GPU; numbers are handles, device pointers are ints.

    A thread calls `make_current` before anything else. Every failure is an InferenceError.
    """

    access = "driver"  # what makes streams, events, memory and copies

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.gpu = _gpu(driver)
        # May be refused where somebody made the context first: then it waits the way they chose.
        driver.status("cuDevicePrimaryCtxSetFlags_v2", 0, _SCHED_SPIN)
        self._context: int | None = self._retain()
        flags, active = c_uint(), c_int()
        driver.call("cuDevicePrimaryCtxGetState", 0, byref(flags), byref(active))
        self.spins = flags.value & _SCHED_MASK == _SCHED_SPIN

    def make_current(self) -> None:
        """Use this device on the calling thread."""
        self._driver.call("cuCtxSetCurrent", self._context)

    def close(self) -> None:
        """Let go of the context; what was made in it must be gone."""
        if self._context is not None:
            self._context = None
            self._release()

    def _retain(self) -> int:
        return self._driver.handle("cuDevicePrimaryCtxRetain", 0)

    def _release(self) -> None:
        self._driver.call("cuDevicePrimaryCtxRelease_v2", 0)

    def create_stream(self) -> int:
        return self._driver.handle("cuStreamCreate", STREAM_NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        self._driver.call("cuStreamDestroy_v2", stream)

    def synchronize(self, stream: int) -> None:
        self._driver.call("cuStreamSynchronize", stream)

    def create_event(self, *, blocking: bool = False) -> int:
        """An event; who waits for a `blocking` one sleeps, for others as the context does."""
        return self._driver.handle("cuEventCreate", EVENT_BLOCKING_SYNC if blocking else 0)

    def destroy_event(self, event: int) -> None:
        self._driver.call("cuEventDestroy_v2", event)

    def record(self, event: int, stream: int) -> None:
        self._driver.call("cuEventRecord", event, stream)

    def wait_for(self, event: int) -> None:
        self._driver.call("cuEventSynchronize", event)

    def elapsed_ms(self, began: int, ended: int) -> float:
        """Time between two recorded events, ms (resolution about 0.5 us)."""
        elapsed = c_float()
        self._driver.call("cuEventElapsedTime", byref(elapsed), began, ended)
        return float(elapsed.value)

    def allocate(self, size_bytes: int) -> int:
        """Device memory; at least one byte, so that the pointer is one."""
        pointer = c_ulonglong()
        self._driver.call("cuMemAlloc_v2", byref(pointer), max(size_bytes, 1))
        return int(pointer.value)

    def free(self, pointer: int) -> None:
        self._driver.call("cuMemFree_v2", pointer)

    def allocate_pinned(self, size_bytes: int) -> Array:
        """Host memory the GPU reads without a copy in between, as uint8; give it to `free_pinned`."""
        pointer = c_void_p()
        self._driver.call("cuMemHostAlloc", byref(pointer), max(size_bytes, 1), 0)
        buffer = (ctypes.c_uint8 * size_bytes).from_address(pointer.value or 0)
        return np.ctypeslib.as_array(buffer)

    def free_pinned(self, array: Array) -> None:
        self._driver.call("cuMemFreeHost", array.ctypes.data)

    def copy_to_device(self, pointer: int, array: Array, size_bytes: int, stream: int) -> None:
        self._driver.call("cuMemcpyHtoDAsync_v2", pointer, array.ctypes.data, size_bytes, stream)

    def copy_to_host(self, array: Array, pointer: int, size_bytes: int, stream: int) -> None:
        self._driver.call("cuMemcpyDtoHAsync_v2", array.ctypes.data, pointer, size_bytes, stream)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts on `stream`, as a graph; it is not executed.

        Whatever `enqueue` raises ends the capture and is raised again.
        """
        self._driver.call("cuStreamBeginCapture_v2", stream, _CAPTURE_THREAD_LOCAL)
        graph = c_void_p()
        try:
            enqueue()
        except BaseException:
            # The stream must leave capture mode. What broke the capture makes this call fail as well.
            if self._driver.status("cuStreamEndCapture", stream, byref(graph)) == 0 and graph.value:
                self._driver.status("cuGraphDestroy", graph)
            raise
        self._driver.call("cuStreamEndCapture", stream, byref(graph))
        try:
            return Graph(self._driver.handle("cuGraphInstantiateWithFlags", graph, 0))
        finally:
            self._driver.call("cuGraphDestroy", graph)

    def launch(self, graph: Graph, stream: int) -> None:
        self._driver.call("cuGraphLaunch", graph.handle, stream)

    def destroy_graph(self, graph: Graph) -> None:
        self._driver.call("cuGraphExecDestroy", graph.handle)


class Driver:
    """The driver's functions, initialised; a nonzero status becomes an InferenceError."""

    def __init__(self, library: str) -> None:
        try:
            self._library = ctypes.CDLL(library)  # a call through it releases the interpreter lock
            for name, arguments in _ARGUMENTS.items():
                getattr(self._library, name).argtypes = arguments
        except (OSError, AttributeError) as error:
            raise _no_device(f"the CUDA driver cannot be loaded: {error}") from error
        status = self.status("cuInit", 0)
        if status != 0:
            raise _no_device(f"cuInit: {self._text(status)}")

    def status(self, function: str, *arguments: Any) -> int:
        return int(getattr(self._library, function)(*arguments))

    def call(self, function: str, *arguments: Any) -> None:
        status = self.status(function, *arguments)
        if status != 0:
            raise InferenceError(f"CUDA: {function} failed: {self._text(status)}")

    def handle(self, function: str, *arguments: Any) -> int:
        """Call a function that writes one handle through its first argument."""
        made = c_void_p()
        self.call(function, byref(made), *arguments)
        return int(made.value or 0)

    def _text(self, status: int) -> str:
        text = c_char_p()
        self.status("cuGetErrorString", status, byref(text))
        return f"{text.value.decode() if text.value else 'unknown error'} ({status})"


def _gpu(driver: Driver) -> Gpu:
    count, cuda, memory = c_int(), c_int(), c_size_t()
    driver.call("cuDeviceGetCount", byref(count))
    if count.value == 0:
        raise _no_device("the driver sees no GPU")
    label = ctypes.create_string_buffer(256)
    driver.call("cuDeviceGetName", label, len(label), 0)
    driver.call("cuDriverGetVersion", byref(cuda))
    driver.call("cuDeviceTotalMem_v2", byref(memory), 0)
    return Gpu(
        name=label.value.decode(errors="replace"),
        compute_capability=f"{_attribute(driver, _MAJOR)}.{_attribute(driver, _MINOR)}",
        multiprocessors=_attribute(driver, _MULTIPROCESSORS),
        memory_bytes=int(memory.value),
        cuda=f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
    )


def _attribute(driver: Driver, attribute: int) -> int:
    value = c_int()
    driver.call("cuDeviceGetAttribute", byref(value), attribute, 0)
    return value.value


def _no_device(found: str) -> InferenceError:
    return InferenceError(
        "no CUDA device",
        expected="an NVIDIA GPU and its driver",
        found=found,
        fix="run this on the device, in a container with access to its GPU; or use the backend onnxruntime",
    )
