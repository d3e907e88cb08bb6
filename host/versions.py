"""What made a model file: the versions of the packages, and the commit of this code."""

from __future__ import annotations

import functools
import platform
import subprocess
from pathlib import Path

import onnxruntime
import torch

import edge_s4op

__all__ = ["git_commit", "versions"]


def versions() -> dict[str, str]:
    """Versions of this package, torch, ONNX Runtime and Python."""
    return {
        "edge_s4op": edge_s4op.__version__,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


@functools.lru_cache(maxsize=1)
def git_commit() -> str | None:
    """The commit of the checkout this code runs from; None when it was installed without one."""
    here = Path(__file__)
    try:
        for question in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(
                ["git", *question], cwd=here.parent, capture_output=True, text=True, check=True, timeout=10
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
