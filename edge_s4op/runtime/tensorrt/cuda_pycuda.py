"""A device through PyCUDA: its context, streams, events, memory and copies. Graphs stay the driver's.

PyCUDA makes and destroys things in the context on top of a stack of its own, one for each thread. From a
thread other than the context's first, an object whose context is not on that stack is leaked; and a thread
that ends with something on its stack aborts the process. So the context is on it while one is made or
destroyed, and at no other time.

Source: PyCUDA's src/cpp/cuda.hpp, 2026.1 (context_stack, scoped_context_activation, primary_context).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_void_p
from typing import Any

import numpy as np

from edge_s4op.errors import InferenceError
from edge_s4op.runtime.protocol import Array
from edge_s4op.runtime.tensorrt.cuda import EVENT_BLOCKING_SYNC, STREAM_NON_BLOCKING, Device, Driver

__all__ = ["PycudaDevice", "load_pycuda"]

_log = logging.getLogger("edge_s4op.tensorrt")


def load_pycuda() -> Any | None:
    """PyCUDA with its module `driver`; None where it is not installed, or does not import (logged)."""
    try:
        import pycuda
        import pycuda.driver
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == "pycuda"):
            _log.warning("pycuda does not import, the CUDA driver is called directly: %s", error)
        return None
    return pycuda


class PycudaDevice(Device):
    """See Device. What PyCUDA cannot destroy it tells on stderr, instead of raising."""

    def __init__(self, driver: Driver, pycuda: Any) -> None:
        self._cuda = pycuda.driver
        self.access = f"pycuda {pycuda.VERSION_TEXT}"
        self._streams: dict[int, Any] = {}  # by their handle, which is TensorRT's too
        self._events: dict[int, Any] = {}  # by id(): PyCUDA does not give away their handle
        self._memory: dict[int, Any] = {}  # by device pointer
        self._pinned: dict[int, Any] = {}  # by host address
        super().__init__(driver)

    def _retain(self) -> int:
        self._call(self._cuda.init)
        self._primary = self._call(self._call(self._cuda.Device, 0).retain_primary_context)
        return int(self._primary.handle)

    def _release(self) -> None:
        # Detaching releases the context only where it is on the thread's stack, and leaves it on CUDA's.
        self._call(self._primary.push)
        self._call(self._primary.detach)
        if self._cuda.Context.get_current() is None:
            self._driver.call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def create_stream(self) -> int:
        with self._pushed():
            stream = self._cuda.Stream(STREAM_NON_BLOCKING)
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        with self._pushed():
            del self._streams[stream]  # the last reference

    def synchronize(self, stream: int) -> None:
        self._call(self._streams[stream].synchronize)

    def create_event(self, *, blocking: bool = False) -> int:
        with self._pushed():
            event = self._cuda.Event(EVENT_BLOCKING_SYNC if blocking else 0)
        self._events[id(event)] = event
        return id(event)

    def destroy_event(self, event: int) -> None:
        with self._pushed():
            del self._events[event]  # the last reference

    def record(self, event: int, stream: int) -> None:
        self._call(self._events[event].record, self._streams[stream])

    def wait_for(self, event: int) -> None:
        self._call(self._events[event].synchronize)

    def elapsed_ms(self, began: int, ended: int) -> float:
        return float(self._call(self._events[began].time_till, self._events[ended]))

    def allocate(self, size_bytes: int) -> int:
        with self._pushed():
            memory = self._cuda.mem_alloc(max(size_bytes, 1))
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, pointer: int) -> None:
        with self._pushed():
            self._memory.pop(pointer).free()

    def allocate_pinned(self, size_bytes: int) -> Array:
        with self._pushed():
            array = self._cuda.pagelocked_empty(max(size_bytes, 1), np.uint8)
        self._pinned[array.ctypes.data] = array.base
        pinned: Array = array[:size_bytes]
        return pinned

    def free_pinned(self, array: Array) -> None:
        with self._pushed():
            self._pinned.pop(array.ctypes.data).free()

    def copy_to_device(self, pointer: int, array: Array, size_bytes: int, stream: int) -> None:
        self._call(self._cuda.memcpy_htod_async, pointer, array[:size_bytes], self._streams[stream])

    def copy_to_host(self, array: Array, pointer: int, size_bytes: int, stream: int) -> None:
        self._call(self._cuda.memcpy_dtoh_async, array[:size_bytes], pointer, self._streams[stream])

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._cuda.Error as error:
            raise InferenceError(f"CUDA: {error}") from error

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        """The context on PyCUDA's stack of this thread; afterwards current, and the stack as before."""
        self._call(self._primary.push)
        try:
            yield
        except self._cuda.Error as error:
            raise InferenceError(f"CUDA: {error}") from error
        finally:
            self._call(self._primary.pop)
            self.make_current()  # the thread's stack may have a context of somebody else
