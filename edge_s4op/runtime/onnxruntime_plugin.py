"""SSMConv's library for ONNX Runtime on the CPU: where it is and which instructions it runs with.

ONNX Runtime takes an operator that a library defines before the function of that name within the file. The
library (sources: edge_s4op/ort_plugin) is compiled when the package is installed; without it the same file
runs by its function body, at other latencies.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import os
from pathlib import Path
from typing import Any, Literal

from edge_s4op.errors import S4opError, UsageError
from edge_s4op.files import sha256_of_file

__all__ = ["ISA_VARIABLE", "VARIABLE", "built_plugin", "find_plugin", "instruction_set", "plugin_fact"]

VARIABLE = "S4OP_ORT_PLUGIN"
ISA_VARIABLE = "S4OP_MAX_CPU_ISA"  # the library reads it
WITHOUT = "none"

_FOLDER = Path(__file__).resolve().parents[1] / "ort_plugin"
_LIBRARY = "libs4op_ssm_conv"
_FUNCTION_BODY = "function body"


def find_plugin(wanted: Path | Literal["auto"] | None = "auto") -> Path | None:
    """The library to run with; None: without one, by function bodies.

    "auto" is the one that VARIABLE names ("none": none), else the one compiled with the package, if any.
    Raises UsageError for one that is named and is not there.
    """
    if wanted is None:
        return None
    if isinstance(wanted, Path):
        return _existing(wanted)
    named = os.environ.get(VARIABLE)
    if named == WITHOUT:
        return None
    return _existing(Path(named)) if named else built_plugin()


def built_plugin() -> Path | None:
    """The library compiled with the package; None: there was no compiler."""
    places = (_FOLDER / f"{_LIBRARY}{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def instruction_set(library: Path) -> str:
    """What `library` computes with here: "avx512", "avx2", "sse2", "neon" or "generic".

    Raises UsageError when it cannot be loaded or does not know the value of ISA_VARIABLE.
    """
    try:
        ask = _load(library).s4op_instruction_set
    except (OSError, AttributeError) as error:
        raise UsageError(
            f"the SSMConv library {library} cannot be loaded: {error}",
            expected="SSMConv for ONNX Runtime, compiled for this machine",
            fix=f"install the package again, or set {VARIABLE}={WITHOUT} to run without it",
        ) from error
    ask.restype = ctypes.c_char_p
    name = ask()
    if name is None:
        raise UsageError(
            f"{ISA_VARIABLE} names no instruction set of this architecture",
            expected="sse2, avx2 or avx512 on x86-64, neon on ARM",
            found=os.environ.get(ISA_VARIABLE),
            fix="unset it: the widest one this processor has is taken",
        )
    return str(name.decode())


def plugin_fact() -> str:
    """How SSMConv runs in ONNX Runtime here: the instruction set, "function body" without the library.

    With the hash of a library that is not the package's own. One that cannot be used is "unusable": opening
    a runner says why.
    """
    try:
        library = find_plugin()
        if library is None:
            return _FUNCTION_BODY
        name = instruction_set(library)
        return name if library == built_plugin() else f"{name}, library {sha256_of_file(library)[:12]}"
    except (S4opError, OSError):
        return "unusable"


@functools.lru_cache(maxsize=4)
def _load(library: Path) -> Any:
    return ctypes.CDLL(str(library))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(
            f"there is no SSMConv library {path}",
            fix=f"unset {VARIABLE}: the one compiled with the package is taken",
        )
    return path.resolve()
