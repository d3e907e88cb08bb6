"""What TensorRT may rely on: names, formats, shapes, tactics, serialisation. No GPU needed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from edge_s4op import op
from tests.trt_plugins.plugin.harness import FIELDS, Harness, Layer

LAYERS = [Layer("s4d"), Layer("s4")]
FFT, SCAN, TOEPLITZ, SCAN_TF32, TOEPLITZ_TF32 = 1, 2, 3, 4, 5


def test_creator_is_what_the_files_name(plugin: Harness):
    name, version, namespace, interface, fields = plugin.value("creator")
    assert (name, version, namespace) == (op.NAME, op.PLUGIN_VERSION, op.PLUGIN_NAMESPACE)
    assert interface == "PLUGIN CREATOR_V3ONE"
    assert tuple(field for field, _ in fields) == op.ATTRIBUTES


def test_plugin_names_itself_like_its_creator(plugin: Harness):
    name, version, namespace, _, _, outputs = plugin.value("identity", plugin.made("p"))
    assert (name, version, namespace, outputs) == (op.NAME, op.PLUGIN_VERSION, op.PLUGIN_NAMESPACE, "1")


def test_attributes_may_be_int32_or_int64_or_left_to_the_node(plugin: Harness):
    expected = plugin.value("fields", plugin.made("p"))
    wide = {name: value.replace("int32", "int64") for name, value in FIELDS.items()}
    assert plugin.value("fields", plugin.made("q", wide)) == expected
    bare = {name: FIELDS[name] for name in ("channels", "num_channels", "gelu")}
    assert plugin.value("fields", plugin.made("r", bare)) == expected


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.kind)
def test_formats_are_linear_and_only_x_and_y_may_be_half(plugin: Harness, layer: Layer):
    plugin.made("p")
    inputs = len(layer.shapes())
    types = ("float32", "float16", "bfloat16", "int8", "int32", "int64")
    for x, position, found, form in product(
        ("float32", "float16"), range(inputs + 1), types, ("linear", "hwc8", "chw32")
    ):
        tensors = replace(layer, dtype=x).tensors()
        tensors[position] = f"{found}:{tensors[position].split(':')[1]}:{form}"
        wanted = {0: ("float32", "float16"), inputs: (x,)}.get(position, ("float32",))
        expected = form == "linear" and found in wanted
        assert plugin.value("format", "p", position, *tensors) is expected, (x, position, found, form)


def test_output_has_the_type_of_x(plugin: Harness):
    plugin.made("p")
    assert plugin.value("type", "p", "float32", *["float32"] * 4) == [0, 0]  # nvinfer1::DataType::kFLOAT
    assert plugin.value("type", "p", "float16", *["float32"] * 5) == [0, 1]  # kHALF


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.kind)
def test_output_has_the_shape_of_x_known_or_not(plugin: Harness, layer: Layer):
    plugin.made("p")
    shapes = list(layer.shapes().values())
    assert plugin.value("shape", "p", *shapes) == [0, [2, 4, 256]]
    assert plugin.value("shape", "p", "?x4x256", *shapes[1:]) == [0, [-1, 4, 256]]
    unknown = ["x".join("?" for _ in shape.split("x")) for shape in shapes]
    assert plugin.value("shape", "p", *unknown) == [0, [-1, -1, -1]]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Layer(dtype="float32"), [FFT]),
        (Layer(dtype="float16"), [FFT, SCAN, TOEPLITZ]),
        (Layer(dtype="float16", length=2048, taps=2048), [FFT, SCAN]),
        (Layer(dtype="float16", length=64, taps=64), [FFT, TOEPLITZ]),
        (Layer("s4", dtype="float16"), [FFT, TOEPLITZ]),
        (Layer("s4", dtype="float16", length=2048, taps=2048), [FFT]),
        (Layer(dtype="float16", batch="1/4/8"), [FFT, SCAN, TOEPLITZ]),
    ],
)
def test_tactics_are_those_that_can_do_the_shapes(plugin: Harness, layer: Layer, expected: list[int]):
    plugin.made("p")
    assert plugin.value("configure", "p", *layer.tensors()) == 0
    assert plugin.value("tactics", "p") == expected


def test_tf32_is_offered_only_when_asked_for(harness_program: Path, cpu_plugin: Path):
    def tactics(**env: str) -> list[int]:
        with Harness(harness_program, cpu_plugin, env=env) as harness:
            harness.made("p")
            assert harness.value("configure", "p", *Layer().tensors()) == 0
            return harness.value("tactics", "p")

    assert tactics() == tactics(S4OP_ALLOW_TF32="0") == [FFT]
    assert tactics(S4OP_ALLOW_TF32="1") == [FFT, SCAN_TF32, TOEPLITZ_TF32]


def test_tf32_is_part_of_the_engine(harness_program: Path, cpu_plugin: Path):
    with Harness(harness_program, cpu_plugin, env={"S4OP_ALLOW_TF32": "1"}) as harness:
        fields = dict(harness.value("fields", harness.made("p")))
    assert fields["allow_tf32"] == [1]
    with Harness(harness_program, cpu_plugin) as harness:  # another process, without the variable
        allowed = {**FIELDS, "allow_tf32": "int32=1", "kernel_build": "char=cpu"}
        assert harness.create("engine", allowed, phase="runtime").result is True
        assert harness.value("tactic", "engine", SCAN_TF32) == 0
        reply = harness.call("tactic", harness.made("plain"), SCAN_TF32)
        assert reply.result != 0
        assert "TF32" in reply.log[0]


def test_workspace_covers_every_tactic_and_batch_of_the_profile(plugin: Harness):
    plugin.made("p")
    long = Layer(dtype="float16", length=20000, taps=20000)  # longer than one transform: needs memory
    smallest = plugin.value("workspace", "p", *replace(long, batch="1").tensors())
    largest = plugin.value("workspace", "p", *replace(long, batch="8").tensors())
    assert 0 < smallest < largest
    assert plugin.value("workspace", "p", *replace(long, batch="1/1/8").tensors()) == largest


def test_engine_restores_the_plugin(plugin: Harness):
    plugin.made("p")
    before = dict(plugin.value("fields", "p"))
    assert before == {
        "channels": [0, 2, 3],
        "num_channels": [4],
        "gelu": [1],
        "allow_tf32": [0],
        "kernel_build": "cpu",
    }
    assert plugin.value("recreate", "q", "p") is True
    plugin.value("destroy", "p")  # the fields were copied
    assert dict(plugin.value("fields", "q")) == before


def test_engine_of_other_kernels_is_refused(plugin: Harness):
    for build in ("char=0123456789abcdef", None):
        fields = {**FIELDS, **({"kernel_build": build} if build else {})}
        reply = plugin.create("p", fields, phase="runtime")
        assert reply.result is False
        assert "build the engine again" in reply.log[0]


def test_clone_is_independent_and_keeps_everything(plugin: Harness):
    plugin.made("p")
    tensors = Layer(dtype="float16").tensors()
    assert plugin.value("configure", "p", *tensors) == 0
    assert plugin.value("tactic", "p", TOEPLITZ) == 0
    assert plugin.value("clone", "q", "p") is True
    identity, fields = plugin.value("identity", "p"), plugin.value("fields", "p")
    plugin.value("destroy", "p")
    assert plugin.value("identity", "q") == identity
    assert plugin.value("fields", "q") == fields
    assert plugin.value("tactics", "q") == [FFT, SCAN, TOEPLITZ]


def test_timing_cache_id_changes_with_what_changes_the_time(plugin: Harness):
    def identity(**changes: str) -> str:
        name = plugin.made("p", {**FIELDS, **changes})
        found = plugin.value("identity", name)[3]
        plugin.value("destroy", name)
        return str(found)

    plain = identity()
    assert identity(channels="int32=0,1,2") == plain  # which ones are kept does not matter
    others = [
        identity(channels="int32=0,2"),
        identity(num_channels="int32=5"),
        identity(gelu="int32=0"),
        identity(allow_tf32="int32=1"),
    ]
    assert len({plain, *others}) == 5
    assert "cpu" in plain  # the kernels' build
