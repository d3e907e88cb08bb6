"""Run an engine: pinned buffers, one stream, events around each part, CUDA graphs where they can be had."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge_s4op.artifact import Artifact, Manifest
from edge_s4op.errors import BadInferenceInputError, BuildError, InferenceError
from edge_s4op.messages import EngineInfo, Layers
from edge_s4op.runtime.feeds import check_feeds, numpy_dtype
from edge_s4op.runtime.layer_names import layers_message
from edge_s4op.runtime.options import RunnerOptions
from edge_s4op.runtime.protocol import Array, PartTimes
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.buffers import Buffer, allocate_buffer, free_buffer
from edge_s4op.runtime.tensorrt.contexts import Contexts, enqueue, set_shapes
from edge_s4op.runtime.tensorrt.cuda import Device, Graph
from edge_s4op.runtime.tensorrt.cuda_graphs import CudaGraphs
from edge_s4op.runtime.tensorrt.graph import node_names
from edge_s4op.runtime.tensorrt.layers import layer_of, metadata_of, profiled
from edge_s4op.runtime.tensorrt.records import EngineRecord

__all__ = ["TensorRTRunner"]

_EVENTS = 4  # before the copy in, after it, after the computation, after the copy out


class TensorRTRunner:
    """A model in a TensorRT engine. Runs from several threads take turns.

    Serves batches of 1 to `options.batch`. Buffers are made for the largest once, and stay where they are
    until `close`: what a graph was captured with stays valid. A batch size that comes back is replayed as a
    graph (see CudaGraphs); the run after which one is captured takes longer.
    """

    def __init__(
        self, device: Device, engine: Any, record: EngineRecord, artifact: Artifact, options: RunnerOptions
    ) -> None:
        self._device, self._record, self._manifest = device, record, artifact.manifest
        self._content, self._engine = artifact.content, engine
        self._lock = threading.Lock()
        self._spins = _spins(device, options.spin_wait)
        self._shaped_for, self._enqueue_ms, self._is_open = 0, 0.0, True
        self._replayed: bool | None = None  # whether the last run was; None: there was none
        with contextlib.ExitStack() as resources:
            self._stream = device.create_stream()
            resources.callback(device.destroy_stream, self._stream)
            self._events = [self._event(resources) for _ in range(_EVENTS - 1)]
            self._events.append(self._event(resources, blocking=not self._spins))  # what is waited for
            self._inputs = [self._buffer(info, resources) for info in self._manifest.inputs]
            self._outputs = [self._buffer(info, resources) for info in self._manifest.outputs]
            self._check_types()
            self._contexts = Contexts(device, engine, self._inputs, self._outputs, resources)
            self._context: Any = self._contexts.make()
            self._graphs = CudaGraphs(device, self._stream, self._contexts, options.cuda_graph)
            self._resources = resources.pop_all()

    @property
    def backend(self) -> str:
        return "tensorrt"

    @property
    def backend_version(self) -> str:
        return str(library.version())

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        """Run one batch; outputs by name.

        Raises BadInferenceInputError for feeds the manifest does not allow or a batch the engine was
        not built for, InferenceError when TensorRT or CUDA fails or the runner is closed.
        """
        check_feeds(self._manifest, feeds)
        batch = self._batch_of(feeds)
        with self._lock:
            if not self._is_open:
                raise InferenceError("this runner is closed", fix="open the artifact again")
            self._device.make_current()
            graph = self._graphs.find(batch)
            if graph is None:
                self._shape(batch)
            self._execute(feeds, batch, graph)
            outputs = {buffer.info.name: buffer.rows(batch).copy() for buffer in self._outputs}
            if graph is None:
                self._graphs.ran_without(batch, self._record.key[:12])
            return outputs

    def part_times(self) -> PartTimes:
        """Where the time of the last run went. Raises InferenceError when there was none."""
        with self._lock:
            if not self._is_open or self._replayed is None:
                raise InferenceError("no run to tell the parts of")
            self._device.make_current()
            pairs = zip(self._events, self._events[1:], strict=False)
            h2d, compute, d2h = (self._device.elapsed_ms(began, ended) for began, ended in pairs)
            return PartTimes(h2d_ms=h2d, compute_ms=compute, d2h_ms=d2h, enqueue_ms=self._enqueue_ms)

    def engine_info(self) -> EngineInfo:
        """The engine and how it runs."""
        refusal = self._graphs.refusal
        notes = [self._record.note, refusal and f"no CUDA graph: {refusal}"]
        return EngineInfo(
            engine_sha256=self._record.engine_sha256,
            key=self._record.key,
            plugin=None if self._record.spec.plugin is None else str(self._record.spec.plugin),
            note="; ".join(note for note in notes if note) or None,
            cuda_graph=self._replayed is True,
            spin_wait=self._spins,
            size_bytes=self._record.size_bytes,
        )

    def layers(
        self, feeds: Mapping[str, np.ndarray], *, should_stop: Callable[[], bool] | None = None
    ) -> Layers:
        """Where the time goes, from 20 runs of its own under TensorRT's profiler, by our layers.

        Slower than `run`: no graph, and TensorRT times each layer by itself. Raises BadInferenceInputError,
        InferenceError.
        """
        check_feeds(self._manifest, feeds)
        batch = self._batch_of(feeds)
        with self._lock:
            if not self._is_open:
                raise InferenceError("this runner is closed", fix="open the artifact again")
            self._device.make_current()
            runs = profiled(
                self._contexts.make(),
                lambda context: self._run_eagerly(context, feeds, batch),
                should_stop or (lambda: False),
            )
            metadata, nodes = metadata_of(self._engine), node_names(self._content)
        layers = {name: layer_of(name, metadata.get(name, ""), nodes) for run in runs for name, _ in run}
        named = [[(layers[name], name, ms) for name, ms in run] for run in runs]
        return layers_message("TensorRT IProfiler", named)

    def close(self) -> None:
        """Let go of the engine and its memory; a run under way in another thread is waited for."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._device.make_current()
            self._graphs.close()
            self._contexts.close()
            self._context = self._engine = None  # TensorRT frees its memory before the context goes
            self._resources.close()
            self._device.close()

    def _event(self, resources: contextlib.ExitStack, *, blocking: bool = False) -> int:
        event = self._device.create_event(blocking=blocking)
        resources.callback(self._device.destroy_event, event)
        return event

    def _buffer(self, info: Any, resources: contextlib.ExitStack) -> Buffer:
        buffer = allocate_buffer(self._device, info, self._record.spec.batch)
        resources.callback(free_buffer, self._device, buffer)
        return buffer

    def _check_types(self) -> None:
        trt = library.load()
        for info in (*self._manifest.inputs, *self._manifest.outputs):
            found = np.dtype(trt.nptype(self._engine.get_tensor_dtype(info.name)))
            if found != numpy_dtype(info.datatype):
                raise BuildError(
                    f"the engine's tensor {info.name!r} has another type",
                    reason="refused",
                    expected=numpy_dtype(info.datatype),
                    found=found,
                    fix="use TensorRT 10.0 or later, which keeps the types of the file",
                )

    def _batch_of(self, feeds: Mapping[str, Array]) -> int:
        batch = max((feeds[i.name].shape[0] for i in self._manifest.inputs if -1 in i.shape), default=1)
        if batch > self._record.spec.batch:
            raise BadInferenceInputError(
                "the batch is larger than this engine takes",
                expected=f"at most {self._record.spec.batch}",
                found=batch,
                fix="send smaller batches, or open the model for this batch",
            )
        return batch

    def _shape(self, batch: int) -> None:
        if batch != self._shaped_for:
            self._shaped_for = 0  # of no size, should TensorRT refuse this one
            set_shapes(self._context, self._inputs, batch)
            self._shaped_for = batch

    def _execute(self, feeds: Mapping[str, Array], batch: int, graph: Graph | None) -> None:
        self._replayed = None
        for buffer in self._inputs:
            buffer.rows(batch)[...] = feeds[buffer.info.name]
        device, stream, events = self._device, self._stream, self._events
        device.record(events[0], stream)
        for buffer in self._inputs:
            device.copy_to_device(buffer.pointer, buffer.pinned, buffer.rows(batch).nbytes, stream)
        device.record(events[1], stream)
        began = time.perf_counter()
        if graph is not None:
            device.launch(graph, stream)
        else:
            enqueue(self._context, stream)
        self._enqueue_ms = (time.perf_counter() - began) * 1000
        device.record(events[2], stream)
        for buffer in self._outputs:
            device.copy_to_host(buffer.pinned, buffer.pointer, buffer.rows(batch).nbytes, stream)
        device.record(events[3], stream)
        device.wait_for(events[3])
        self._replayed = graph is not None

    def _run_eagerly(self, context: Any, feeds: Mapping[str, Array], batch: int) -> None:
        set_shapes(context, self._inputs, batch)
        for buffer in self._inputs:
            buffer.rows(batch)[...] = feeds[buffer.info.name]
            self._device.copy_to_device(
                buffer.pointer, buffer.pinned, buffer.rows(batch).nbytes, self._stream
            )
        enqueue(context, self._stream)
        self._device.synchronize(self._stream)


def _spins(device: Device, wanted: bool | None) -> bool:
    """Whether the host will wait by spinning. Raises InferenceError where that is wanted and cannot be."""
    if wanted and not device.spins:
        raise InferenceError(
            "this process cannot wait for the device by spinning: its context was made to wait otherwise",
            fix="open the model without spin_wait, or before other CUDA libraries make the context",
        )
    return device.spins if wanted is None else wanted
