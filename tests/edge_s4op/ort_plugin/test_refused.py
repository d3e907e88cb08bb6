"""What is not an SSMConv is refused, by name and shape; nothing is read or written outside a tensor."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.edge_s4op.one_node import one_node_model
from tests.edge_s4op.ort_plugin.sessions import open_session

ROOT = Path(__file__).parents[3]
LENGTH, CHANNELS, TOTAL = 40, [0, 2, 3], 5


def changed(kind: str, **shapes: Sequence[int]) -> onnx.ModelProto:
    """A model whose weights have other shapes. Without its function, so that nothing runs in its place."""
    model, _ = one_node_model(kind, LENGTH, CHANNELS, TOTAL, gelu=True)
    del model.functions[:]
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            zeros = np.zeros(tuple(shapes[tensor.name]), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    return model


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("s4d", {"k": (2, 40)}, "input k: expected shape [3, 40], found [2, 40]"),
        ("s4d", {"k": (3,)}, "input k: expected shape [3, 1], found [3]"),
        ("s4d", {"k": (3, 0)}, "input k: expected shape [3, 1], found [3, 0]"),
        ("s4d", {"d": (4,)}, "input d: expected shape [3], found [4]"),
        ("s4d", {"d": (3, 1)}, "input d: expected shape [3], found [3, 1]"),
        ("s4d", {"poles": (3, 8)}, "input poles or a: expected shape [3, 1, 2], found [3, 8]"),
        ("s4d", {"poles": (3, 8, 3)}, "input poles or a: expected shape [3, 8, 2], found [3, 8, 3]"),
        ("s4d", {"poles": (3, 0, 2)}, "input poles or a: expected shape [3, 1, 2], found [3, 0, 2]"),
        ("s4d", {"residues": (3, 7, 2)}, "input residues or b: expected shape [3, 8, 2], found [3, 7, 2]"),
        ("s4", {"a": (3, 16, 15)}, "input poles or a: expected shape [3, 16, 16], found [3, 16, 15]"),
        ("s4", {"b": (3, 15)}, "input residues or b: expected shape [3, 16], found [3, 15]"),
        ("s4", {"c": (2, 16)}, "input c: expected shape [3, 16], found [2, 16]"),
    ],
)
def test_weights_that_do_not_belong_together(
    library: Path, kind: str, shapes: dict[str, Sequence[int]], message: str
) -> None:
    with pytest.raises(Exception, match=re.escape(f"SSMConv: {message}")):
        open_session(changed(kind, **shapes), library)


@pytest.mark.parametrize("channels", [[0, 2, 5], [-1, 2, 3], [2, 0, 3], [2, 2, 3]])
def test_channels_out_of_order_or_range(library: Path, channels: list[int]) -> None:
    model = changed("s4d")
    next(a for a in model.graph.node[0].attribute if a.name == "channels").ints[:] = channels
    with pytest.raises(Exception, match=re.escape(f"ascending numbers below 5, found {channels}")):
        open_session(model, library)


@pytest.mark.parametrize("name", ["channels", "num_channels", "gelu"])
def test_an_attribute_that_is_missing(library: Path, name: str) -> None:
    model = changed("s4d")
    kept = [a for a in model.graph.node[0].attribute if a.name != name]
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.extend(kept)
    with pytest.raises(Exception, match=f"SSMConv: attribute {name} is missing"):
        open_session(model, library)


def test_more_states_than_there_is_room_for(library: Path) -> None:
    model = changed("s4d", poles=(3, (1 << 14) + 1, 2), residues=(3, (1 << 14) + 1, 2))
    with pytest.raises(Exception, match="SSMConv: expected at most 16384 states, found 16385"):
        open_session(model, library)


def test_more_channels_than_there_is_room_for(library: Path) -> None:
    model = _any_shape(changed("s4d"))
    next(a for a in model.graph.node[0].attribute if a.name == "num_channels").i = 1 << 40
    with pytest.raises(Exception, match="num_channels: expected at most 1048576, found 1099511627776"):
        open_session(model, library)


def test_an_input_that_is_left_out(library: Path) -> None:
    """A name "" is valid ONNX for an optional input. In a process of its own: it would take ours along."""
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from tests.edge_s4op.ort_plugin.sessions import run\n"
        "from tests.edge_s4op.ort_plugin.test_refused import changed\n"
        "model = changed('s4d'); model.graph.node[0].input.append('')\n"
        "run(model, Path(sys.argv[1]), x=np.zeros((1, 5, 40), np.float32))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, library], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done
    assert "SSMConv: input 5 has no name" in done.stderr


@pytest.mark.parametrize("inputs", [3, 4])
def test_too_few_inputs(library: Path, inputs: int) -> None:
    model = changed("s4d")
    del model.graph.node[0].input[inputs:]
    with pytest.raises(Exception, match=r"(?i)input"):
        open_session(model, library)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 40), r"input x: expected shape \[B, 5, L\], found \[1, 4, 40\]"),
        ((5, 40), r"input x: expected shape \[B, 5, L\], found \[5, 40\]"),
        ((1, 1, 5, 40), r"input x: expected shape \[B, 5, L\], found \[1, 1, 5, 40\]"),
    ],
)
def test_samples_of_another_shape(library: Path, shape: tuple[int, ...], message: str) -> None:
    session = open_session(_any_shape(changed("s4d")), library)
    with pytest.raises(Exception, match=message):
        session.run(None, {"x": np.zeros(shape, np.float32)})
    y = session.run(None, {"x": np.zeros((1, 5, 40), np.float32)})[0]  # and goes on
    np.testing.assert_array_equal(y, 0)


def test_a_kernel_of_too_few_taps(library: Path) -> None:
    session = open_session(_any_shape(changed("s4d", k=(3, 5))), library)
    assert session.run(None, {"x": np.zeros((1, 5, 5), np.float32)})[0].shape == (1, 5, 5)
    with pytest.raises(Exception, match="input k: expected the kernel's first 16 taps, found 5"):
        session.run(None, {"x": np.zeros((1, 5, 40), np.float32)})


@pytest.mark.parametrize("shape", [(0, 5, 40), (2, 5, 0)])
def test_nothing_gives_nothing(library: Path, shape: tuple[int, ...]) -> None:
    session = open_session(_any_shape(changed("s4d")), library)
    assert session.run(None, {"x": np.zeros(shape, np.float32)})[0].shape == shape


def _any_shape(model: onnx.ModelProto) -> onnx.ModelProto:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    return model
