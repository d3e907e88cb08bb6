"""What is known of the GPU and its software without opening it: from Linux's files.

Opening it would take a hundred megabytes or more of a Jetson's memory, in a process that may never use it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from edge_s4op.errors import S4opError
from edge_s4op.files import sha256_of_file

__all__ = ["gpu_name", "gpu_versions"]

_TENSORRT = "tensorrt"
_DRIVER = re.compile(r"NVRM version:.*?\s(\d+(?:\.\d+)+)\s")
_L4T = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_CUDA_JSON = re.compile(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"')
_CUDA_TEXT = re.compile(r"CUDA Version ([\d.]+)")
_CHIPS = re.compile(rb"nvidia,(tegra\d+)")


def gpu_name(root: Path = Path("/")) -> str | None:
    """The card's name, several joined by " + "; of a Jetson its chip, "tegra234"; None if there is none."""
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for file in files for line in _text(file).splitlines()]
    names = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key == "Model"]
    if known := " + ".join(name for name in names if name):
        return known
    chip = _CHIPS.search(_bytes(root / "proc/device-tree/compatible"))
    return chip.group(1).decode() if chip else None


def gpu_versions(backends: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """The driver, CUDA, L4T on a Jetson, and the plugin where TensorRT is a backend that can load it."""
    driver = _DRIVER.search(_text(root / "proc/driver/nvidia/version"))
    l4t = _L4T.search(_text(root / "etc/nv_tegra_release"))
    plugin = _plugin_hash() if _TENSORRT in backends else None
    found = {
        "nvidia-driver": driver and driver.group(1),
        "cuda": _cuda_version(root),
        "l4t": l4t and f"{l4t.group(1)}.{l4t.group(2)}",
        "ssm-conv-plugin": plugin and plugin[:12],
    }
    return {name: version for name, version in found.items() if version}


def _cuda_version(root: Path) -> str | None:
    """Of the toolkit: a JSON file since CUDA 11.1, a line of text before; else of the runtime library."""
    folder = root / "usr/local/cuda"
    known = _CUDA_JSON.search(_text(folder / "version.json")) or _CUDA_TEXT.search(
        _text(folder / "version.txt")
    )
    return known.group(1) if known else _runtime_library_version(folder)


def _runtime_library_version(folder: Path) -> str | None:
    names = [path.name for path in folder.glob("**/libcudart.so.*") if path.parent.name in ("lib", "lib64")]
    versions = [name.removeprefix("libcudart.so.") for name in names]
    return max(versions, key=len, default=None)  # "12" is a link to "12.6.68"


def _plugin_hash() -> str | None:
    """SHA-256 of the library that engines are built with, its version in all but name."""
    from edge_s4op.runtime.tensorrt.plugin import choose_plugin

    try:
        path = choose_plugin("auto").path
        if path is None:
            return None
        state = path.stat()
        return _hash_of(path, state.st_mtime_ns, state.st_size)
    except (S4opError, OSError):  # an engine build says what is wrong; these are only facts
        return None


@functools.lru_cache(maxsize=4)
def _hash_of(path: Path, mtime_ns: int, size_bytes: int) -> str:
    return sha256_of_file(path)


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", errors="replace")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
