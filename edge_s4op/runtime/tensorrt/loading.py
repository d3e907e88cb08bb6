"""From an artifact to a runner: the engine built or found, loaded, and built again if it does not load."""

from __future__ import annotations

import logging
from typing import Any

from edge_s4op.artifact import Artifact, Manifest
from edge_s4op.errors import BuildError
from edge_s4op.runtime.options import RunnerOptions
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.cuda import Device, open_device
from edge_s4op.runtime.tensorrt.engines import Engine, build_engine, discard
from edge_s4op.runtime.tensorrt.plugin import load_plugin
from edge_s4op.runtime.tensorrt.runner import TensorRTRunner

__all__ = ["load_engine", "open_tensorrt"]

_log = logging.getLogger("edge_s4op.tensorrt")


def open_tensorrt(artifact: Artifact, options: RunnerOptions) -> TensorRTRunner:
    """Build the artifact's engine, or take it from the folder, and load it.

    Raises InferenceError where there is no CUDA device (before anything is built), BuildError when no
    engine could be built or loaded, or the file has free sizes beside the batch, StorageError when
    `options.engine_dir` cannot be written to.
    """
    _check_sizes(artifact.manifest)
    device = open_device()
    try:
        device.make_current()
        engine, loaded = load_engine(artifact, options, device)
        runner = TensorRTRunner(device, loaded, engine.record, artifact, options)
    except BaseException:
        device.close()
        raise
    return runner


def load_engine(artifact: Artifact, options: RunnerOptions, device: Device) -> tuple[Engine, Any]:
    """An engine and TensorRT's object of it; one that does not load is built anew, once.

    Raises BuildError when the second one does not load either.
    """
    engine = build_engine(artifact, options, device.gpu)
    loaded, _ = _deserialize(engine)
    if loaded is None:
        _log.warning("engine %s does not load, building it again", engine.record.key[:12])
        discard(engine, options)
        engine = build_engine(artifact, options, device.gpu)
        loaded, lines = _deserialize(engine)
        if loaded is None:
            raise BuildError(
                f"{library.name()} {library.version()} does not load the engine it built",
                reason="refused",
                log=lines,
                found=lines[-1] if lines else "no reason",
            )
    return engine, loaded


def _check_sizes(manifest: Manifest) -> None:
    """Buffers and engines are made for any batch, and for no other size that varies from run to run."""
    for info in manifest.inputs:
        if -1 in info.shape[1:]:
            raise BuildError(
                f"input {info.name!r}: the TensorRT backend takes no size that varies, but the batch",
                reason="refused",
                expected="-1 in the first place of a shape alone",
                found=list(info.shape),
                fix="a streaming file runs in the backend onnxruntime",
            )


def _deserialize(engine: Engine) -> tuple[Any, list[str]]:
    """TensorRT's engine or None, and what it logged."""
    lines: list[str] = []
    if engine.record.spec.plugin is not None:
        load_plugin(engine.record.spec.plugin)
    runtime = library.load().Runtime(library.make_logger(lines.append))
    return runtime.deserialize_cuda_engine(engine.content), lines
