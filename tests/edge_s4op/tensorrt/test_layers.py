"""TensorRT's layers are told by our names, however they were fused; progress never falls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_s4op.artifact import Artifact
from edge_s4op.runtime.layer_names import layer_of_node
from edge_s4op.runtime.tensorrt.build import parse
from edge_s4op.runtime.tensorrt.graph import inline_functions, node_names
from edge_s4op.runtime.tensorrt.layers import layer_of, parse_inspection
from edge_s4op.runtime.tensorrt.library import make_logger
from edge_s4op.runtime.tensorrt.progress import PhaseTree

NODES = (
    "encoder/matmul",
    "block0/ssm",
    "block0/mix/value",
    "block0/mix/gate",
    "block0/residual",
    "head/linear",
)


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        ("block0/ssm", "", "block0/ssm"),
        ("block0/mix/value + block0/mix/gate", "", "block0/mix"),
        ("block0/residual + head/linear", "", "block0/residual+head"),
        ("{ForeignNode[block0/ssm...block0/residual]}", "", "block0/ssm+block0/mix+block0/residual"),
        (
            "__myl_MulAdd_0xab",
            "[ONNX Layer: block0/mix/gate]\x1e[ONNX Layer: head/linear]",
            "block0/mix+head",
        ),
        ("block0/ssm/MatMul12 + (Unnamed Layer* 7) [Shuffle]", "", "block0/ssm"),
        ("PWN(block0/ssm/Exp3)", "", "block0/ssm"),
        ("Reformatting CopyNode for Input Tensor 0 to block0/ssm", "", "block0/ssm"),
        ("__myl_Move_0x12", "", "__myl_Move_0x12"),
        ("block0/ssmlike", "", "block0/ssmlike"),
    ],
)
def test_a_layer_is_what_its_nodes_are(name: str, metadata: str, expected: str):
    assert layer_of(name, metadata, NODES) == expected


def test_every_operator_of_a_real_network_finds_its_layer(exported: Callable[[str], Artifact], trt: Any):
    content = exported("s4d").content
    nodes, logger = node_names(content), make_logger(lambda _: None)
    network = parse(trt.Builder(logger), logger, inline_functions(content).SerializeToString())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    labels = {
        layer_of(layer.name, layer.metadata, nodes) for layer in layers if "[ONNX Layer: " in layer.metadata
    }
    ours = {layer_of_node(node) for node in nodes}
    assert labels >= {"block0/ssm", "block0/mix", "block1/ssm", "head"}
    assert {label for label in labels if not set(label.split("+")) <= ours} == set()


def test_the_inspection_is_read_with_and_without_details():
    assert parse_inspection('{"Layers": [{"Name": "a", "Metadata": "m"}, {"Name": "b"}, "c"]}') == {
        "a": "m",
        "b": "",
        "c": "",
    }


def test_nested_phases_make_one_share():
    tree = PhaseTree()
    tree.start("build", None, 4)
    assert tree.step("build", 0) == 0.25
    tree.start("tactics", "build", 2)
    assert tree.step("tactics", 0) == 0.25 + 0.125
    tree.start("node", "tactics", 2)
    assert tree.step("node", 0) == 0.25 + 0.1875
    tree.finish("node")
    tree.start("node", "tactics", 4)
    assert tree.step("node", 0) == 0.25 + 0.1875, "a share never falls"
    tree.finish("node")
    tree.finish("tactics")
    assert tree.step("build", 3) == 1.0
    assert tree.step("unknown", 0) == 1.0
