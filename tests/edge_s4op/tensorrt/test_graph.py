"""What TensorRT's parser gets to see computes what the file computes, and keeps its layers' names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest

from edge_s4op.artifact import Artifact
from edge_s4op.op import is_ssm_conv
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.tensorrt.graph import (
    count_ssm_conv,
    inline_functions,
    node_names,
    strip_functions,
)


def run(content: bytes, artifact: Artifact) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], random_feeds(artifact.manifest, 3))[0]


def every_node(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from every_node(graph.node)


@pytest.mark.parametrize("kind", ["s4d", "s4", "s4d-padded"])
def test_an_inlined_file_computes_the_same(exported: Callable[[str], Artifact], kind: str):
    artifact = exported(kind)
    model = inline_functions(artifact.content)
    assert not model.functions
    assert not any(map(is_ssm_conv, every_node(model.graph.node)))
    onnx.checker.check_model(model)
    np.testing.assert_allclose(
        run(model.SerializeToString(), artifact), run(artifact.content, artifact), rtol=1e-5, atol=1e-6
    )


def test_inlined_nodes_lie_below_the_node_they_came_from(exported: Callable[[str], Artifact]):
    artifact = exported("s4d")
    before, after = node_names(artifact.content), inline_functions(artifact.content)
    names = [node.name for node in every_node(after.graph.node)]
    assert all(names)
    assert len(names) == len(set(names))
    assert {"/".join(name.split("/")[:2]) for name in names} == {"/".join(n.split("/")[:2]) for n in before}
    assert sum(name.startswith("block0/ssm/") for name in names) > 50


def test_a_stripped_file_has_the_nodes_and_no_functions(exported: Callable[[str], Artifact]):
    artifact = exported("s4")
    model = strip_functions(artifact.content)
    assert not model.functions
    assert sum(map(is_ssm_conv, model.graph.node)) == count_ssm_conv(artifact.content) == 2
    assert [node.name for node in model.graph.node] == list(node_names(artifact.content))
