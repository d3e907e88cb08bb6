"""Collects the nodes of one branch of a streaming graph."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

__all__ = ["Branch"]


class Branch:
    """The nodes of one branch: their names say what they compute, their outputs' in which branch, too."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_single = name == "single"
        self.nodes: list[onnx.NodeProto] = []

    def add(self, path: str, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add one node; returns the name of its output."""
        return self.add_many(path, op_type, 1, *inputs, **attributes)[0]

    def add_many(self, path: str, op_type: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add one node with `count` outputs; returns their names."""
        outputs = [f"{self.name}/{path}" + (f"/{index}" if index else "") for index in range(count)]
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=path, **attributes))
        return outputs
