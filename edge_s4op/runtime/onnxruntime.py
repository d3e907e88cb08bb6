"""ONNX Runtime on the CPU: the file as it is, SSMConv by our library, without it by its function body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]

from edge_s4op.artifact import Artifact, Manifest
from edge_s4op.errors import CorruptArtifactError, InferenceError, UsageError
from edge_s4op.messages import Layers
from edge_s4op.runtime.feeds import check_feeds
from edge_s4op.runtime.onnxruntime_plugin import find_plugin, instruction_set
from edge_s4op.runtime.onnxruntime_profile import profile_layers
from edge_s4op.runtime.options import RunnerOptions
from edge_s4op.runtime.protocol import Array, Runner

__all__ = ["VERSION", "OnnxRuntimeRunner", "open_onnxruntime"]

VERSION: str = ort.__version__

_SESSION_CONFIG = {
    # Written down so that no upgrade changes them. At two threads (24 layers of 64 x 256 by 256 x 256)
    # not spinning costs 1.5x in p10 and p50, and stopping to spin after each run 1.15x to 1.3x: waking
    # a thread takes as long as a small layer.
    "session.intra_op.allow_spinning": "1",
    "session.inter_op.allow_spinning": "0",
    "session.force_spinning_stop": "0",
}


def open_onnxruntime(artifact: Artifact, options: RunnerOptions) -> Runner:
    """Load `artifact` into ONNX Runtime.

    Raises CorruptArtifactError when it refuses the file, UsageError for a CUDA graph or a plugin that cannot
    be used.
    """
    if options.cuda_graph:
        raise UsageError(
            "the backend 'onnxruntime' has no CUDA graph: it runs on the CPU",
            fix="leave the CUDA graph to the backend, or choose the backend tensorrt",
        )
    plugin = _plugin_for(artifact, options)
    try:
        session = _open_session(artifact.content, _session_options(options, plugin))
    except Exception as error:  # its exceptions share no base but Exception
        raise CorruptArtifactError(
            f"artifact {artifact.sha256[:12]}: ONNX Runtime {VERSION} refuses it: {_one_line(error)}",
            fix="export the model again, or update onnxruntime on the device",
        ) from error
    return OnnxRuntimeRunner(session, artifact, options, plugin)


class OnnxRuntimeRunner:
    """A model in an ONNX Runtime session. `run` may be called from several threads at once.

    ONNX Runtime documents InferenceSession.run as thread-safe; concurrent runs share one thread pool.
    """

    def __init__(self, session: Any, artifact: Artifact, options: RunnerOptions, plugin: Path | None) -> None:
        self._session = session
        self._artifact, self._options, self._plugin = artifact, options, plugin
        self._manifest = artifact.manifest
        self._outputs = [info.name for info in artifact.manifest.outputs]

    @property
    def backend(self) -> str:
        return "onnxruntime"

    @property
    def backend_version(self) -> str:
        return VERSION

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        """Run one batch; outputs by name.

        Raises BadInferenceInputError for feeds the manifest does not allow, InferenceError when ONNX
        Runtime fails (no memory, ...) or the runner is closed.
        """
        session = self._session  # a local reference: close() in another thread lets this run finish
        if session is None:
            raise InferenceError("this runner is closed", fix="open the artifact again")
        check_feeds(self._manifest, feeds)
        try:
            outputs = session.run(self._outputs, dict(feeds))
        except Exception as error:  # its exceptions share no base but Exception
            raise InferenceError(f"ONNX Runtime {VERSION} failed: {_one_line(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))

    def layers(
        self, feeds: Mapping[str, np.ndarray], *, should_stop: Callable[[], bool] | None = None
    ) -> Layers:
        """Where the time goes, from a session of its own under ONNX Runtime's profiler.

        Raises BadInferenceInputError, InferenceError.
        """
        if self._session is None:
            raise InferenceError("this runner is closed", fix="open the artifact again")
        check_feeds(self._manifest, feeds)
        options, content = _session_options(self._options, self._plugin), self._artifact.content
        stop = should_stop or (lambda: False)
        try:
            return profile_layers(content, options, feeds, lambda: self.run(feeds), _open_session, stop)
        except InferenceError:
            raise
        except Exception as error:  # its exceptions share no base but Exception
            raise InferenceError(f"ONNX Runtime {VERSION} cannot profile: {_one_line(error)}") from error

    def close(self) -> None:
        """Let go of the session; runs under way in other threads still finish."""
        self._session = None


def _open_session(content: bytes, options: Any) -> Any:
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _plugin_for(artifact: Artifact, options: RunnerOptions) -> Path | None:
    """The library for `artifact`'s SSMConv nodes. It takes float32: others run by their function body."""
    manifest = artifact.manifest
    if manifest.precision != "fp32" or not manifest.kept_operators or manifest.streaming is not None:
        return None
    plugin = find_plugin(options.plugin)
    if plugin is not None:
        instruction_set(plugin)  # its errors are clearer than ONNX Runtime's, which blames the file
    return plugin


def _session_options(wanted: RunnerOptions, plugin: Path | None) -> Any:
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they reach us as exceptions
    spins = {"session.intra_op.allow_spinning": "0"} if wanted.spin_wait is False else {}
    for key, value in (_SESSION_CONFIG | spins).items():
        options.add_session_config_entry(key, value)
    if plugin is not None:
        options.register_custom_ops_library(str(plugin))
    return options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
