"""Collects the nodes and weights of an ONNX graph, in single or half precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from edge_s4op.artifact import Precision
from edge_s4op.errors import ExportError

__all__ = ["GraphNodes"]


class GraphNodes:
    """Nodes and initializers so far; names are paths, so that a profile reads like the model.

    `elem_type` is the type of activations and their weights: FP32, or FP16 (`half`).
    """

    def __init__(self, precision: Precision) -> None:
        self.half = precision == "fp16"
        self.elem_type = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, path: str, op_type: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add one node; returns the name of its output, `path` unless told otherwise."""
        output = output or path
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=path, **attributes))
        return output

    def as_float(self, path: str, x: str) -> str:
        """`x`, an activation, in FP32: itself, or behind a Cast named `path`."""
        return self.add(path, "Cast", x, to=TensorProto.FLOAT) if self.half else x

    def as_activation(self, path: str, x: str) -> str:
        """`x`, FP32, in the type of activations: itself, or behind a Cast named `path`."""
        return self.add(path, "Cast", x, to=TensorProto.FLOAT16) if self.half else x

    def weight(self, path: str, value: Tensor | np.ndarray) -> str:
        """An initializer of the type of activations. Raises ExportError for what FP16 cannot hold."""
        array = _array(value)
        if not self.half:
            return self._keep(path, array.astype(np.float32))
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.any(np.isinf(half) & np.isfinite(array)):
            raise ExportError(
                f"{path}: a weight is too large for fp16",
                expected=f"magnitudes up to {np.finfo(np.float16).max:g}",
                found=f"{np.abs(array).max():g}",
                fix="export this model in fp32",
            )
        return self._keep(path, half)

    def float_weight(self, path: str, value: Tensor | np.ndarray) -> str:
        """An initializer that is FP32 in every precision."""
        return self._keep(path, _array(value).astype(np.float32))

    def shape(self, path: str, value: Sequence[int]) -> str:
        """An INT64 initializer: a shape, axes, positions."""
        return self._keep(path, np.asarray(value, np.int64))

    def _keep(self, path: str, array: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), path))
        return path


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
