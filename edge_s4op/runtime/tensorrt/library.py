"""TensorRT's Python module, whichever is installed: `tensorrt`, else `tensorrt_rtx`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from edge_s4op.errors import UsageError

__all__ = ["has_plugin_layers", "load", "make_logger", "name", "version"]

# TensorRT-RTX has the same API, but no plugin layers; it also builds on a machine without a GPU.
_NAMES = ("tensorrt", "tensorrt_rtx")


def load() -> Any:
    """The module. Raises UsageError when neither is installed."""
    module = _module()
    if module is None:
        raise UsageError(
            "TensorRT cannot be imported",
            expected=" or ".join(_NAMES),
            fix="it comes with JetPack; elsewhere install tensorrt",
        )
    return module


def version() -> str | None:
    """For example "10.3.0", or "rtx-1.7.1.116"; None where no TensorRT can be imported."""
    module = _module()
    if module is None:
        return None
    return f"rtx-{module.__version__}" if name() == "tensorrt_rtx" else str(module.__version__)


def name() -> str:
    """Name of the module. Raises UsageError when neither is installed."""
    return str(load().__name__)


def has_plugin_layers() -> bool:
    """Whether a network may hold an IPluginV3: TensorRT 10.0 and later, but not TensorRT-RTX."""
    return name() == "tensorrt" and hasattr(load().LayerType, "PLUGIN_V3")


def make_logger(sink: Callable[[str], None]) -> Any:
    """An ILogger that hands errors and warnings to `sink`, one line each, as "E: ..." or "W: ..."."""
    trt = load()
    letters = {trt.ILogger.INTERNAL_ERROR: "E", trt.ILogger.ERROR: "E", trt.ILogger.WARNING: "W"}

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in letters:
                sink(f"{letters[severity]}: {' '.join(message.split())}")

    return Logger()


@functools.cache
def _module() -> Any:
    for candidate in _NAMES:
        try:
            module = importlib.import_module(candidate)
        except (ImportError, OSError):  # OSError: a wheel whose shared libraries are missing
            continue
        if hasattr(module, "Builder"):  # PyPI's `tensorrt` may be a shell without its libraries
            return module
    return None
