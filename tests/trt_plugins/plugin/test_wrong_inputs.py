"""Every wrong attribute, shape and type: a message that names it, a null plugin or nonzero, never a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.trt_plugins.plugin.harness import FIELDS, Harness, Layer

ATTRIBUTES = [
    ({"channels": None}, "attribute channels is missing"),
    ({"num_channels": None}, "attribute num_channels is missing"),
    ({"gelu": None}, "attribute gelu is missing"),
    ({"channels": "int32=0,2,4"}, "ascending channels within [0, 4), found 4 behind 2"),
    ({"channels": "int32=-1,2"}, "ascending channels within [0, 4), found -1"),
    ({"channels": "int32=0,2,2"}, "ascending channels within [0, 4), found 2 behind 2"),
    ({"channels": "int32=2,1"}, "ascending channels within [0, 4), found 1 behind 2"),
    ({"channels": "int64=0,4294967297"}, "attribute channels: 4294967297 is out of range"),
    ({"channels": "float32=0,1"}, "attribute channels: expected int32 or int64, found PluginFieldType 1"),
    ({"channels": "int32="}, "attribute channels: expected one number or more, found none"),
    ({"channels": "null="}, "attribute channels: expected one number or more, found none"),
    ({"num_channels": "int32=0"}, "attribute num_channels: expected 1 to 4096, found 0"),
    ({"num_channels": "int32=4097"}, "attribute num_channels: expected 1 to 4096, found 4097"),
    ({"num_channels": "int32=4,4"}, "attribute num_channels: expected one number, found 2"),
    ({"gelu": "int32=2"}, "attribute gelu: expected 0 or 1, found 2"),
    ({"gelu": "char=yes"}, "attribute gelu: expected int32 or int64, found PluginFieldType 6"),
    ({"plugin_version": "char=2"}, 'attribute plugin_version: expected "1", found "2"'),
    ({"plugin_version": "int32=1"}, "attribute plugin_version: expected a string"),
    ({"plugin_namespace": "char=mine"}, 'attribute plugin_namespace: expected "", found "mine"'),
    ({"allow_tf32": "int32=7"}, "attribute allow_tf32: expected 0 or 1, found 7"),
    ({"gellu": "int32=1"}, "unknown attribute gellu"),
]
SHAPES = [
    ({"x": "4x256"}, "input x: expected (?, 4, ?), found (4, 256)"),
    ({"x": "2x5x256"}, "input x: expected (?, 4, ?), found (2, 5, 256)"),
    ({"x": "2x4x0"}, "input x: expected one sample or more"),
    ({"k": "2x256"}, "input k: expected (3, ?), found (2, 256)"),
    ({"k": "3"}, "input k: expected (3, ?), found (3)"),
    ({"k": "3x255"}, "input k: expected 256 taps or more, as many as x has samples, found 255"),
    ({"d": "4"}, "input d: expected (3), found (4)"),
    ({"d": "-"}, "input d: expected (3), found ()"),
    ({"poles": "3x8x3"}, "input poles: expected (3, 8, 2), found (3, 8, 3)"),
    ({"residues": "3x9x2"}, "input residues: expected (3, 8, 2), found (3, 9, 2)"),
    ({"poles": "3x0x2", "residues": "3x0x2"}, "input poles: expected one state or more"),
    ({"poles": "3"}, "input poles: expected (3, ?, 2), found (3)"),
]
DENSE_SHAPES = [
    ({"a": "3x8x7"}, "input a: expected (3, 8, 8), found (3, 8, 7)"),
    ({"b": "2x8"}, "input b: expected (3, 8), found (2, 8)"),
    ({"c": "3x16"}, "input c: expected (3, 8), found (3, 16)"),
]
TYPES = [
    ({"x": "int8:2x4x256", "y": "int8:2x4x256"}, "input x: expected float32 or float16"),
    ({"k": "float16:3x256"}, "input k: expected float32, found float16"),
    ({"residues": "float16:3x8x2"}, "input residues: expected float32, found float16"),
    ({"y": "float16:2x4x256"}, "output y: expected the type of x, float32, found float16"),
    ({"y": "float32:2x4x255"}, "output y: expected the shape of x, (2, 4, 256), found (2, 4, 255)"),
]


def _is_told(log: tuple[str, ...], message: str) -> bool:
    return len(log) == 1 and log[0].startswith("error: SSMConv block0/ssm: ") and message in log[0]


@pytest.mark.parametrize(("change", "message"), ATTRIBUTES, ids=lambda value: str(value)[:60])
def test_wrong_attribute_is_named_and_makes_no_plugin(
    plugin: Harness, change: dict[str, str | None], message: str
):
    fields = {name: value for name, value in {**FIELDS, **change}.items() if value is not None}
    reply = plugin.create("p", fields)
    assert reply.result is False
    assert _is_told(reply.log, message), reply.log


def test_a_field_given_twice_or_none_at_all_makes_no_plugin(plugin: Harness):
    words = [f"{name}:{value}" for name, value in FIELDS.items()]
    reply = plugin.call("create", "p", "build", "block0/ssm", *words, "gelu:int32=0")
    assert reply.result is False
    assert _is_told(reply.log, "attribute gelu is given twice")
    reply = plugin.call("create_from_nothing", "p")
    assert reply.result is False
    assert "no attributes at all" in reply.log[0]


@pytest.mark.parametrize("value", ["yes", "2"])
def test_tf32_variable_must_be_0_or_1(harness_program: Path, cpu_plugin: Path, value: str):
    with Harness(harness_program, cpu_plugin, env={"S4OP_ALLOW_TF32": value}) as plugin:
        reply = plugin.create("p")
    assert reply.result is False
    assert _is_told(reply.log, f'S4OP_ALLOW_TF32: expected 0 or 1, found "{value}"')


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [(Layer("s4d"), *case) for case in SHAPES] + [(Layer("s4"), *case) for case in DENSE_SHAPES],
    ids=lambda value: str(value)[:50] if not isinstance(value, Layer) else value.kind,
)
def test_wrong_shape_is_named_whenever_it_is_seen(
    plugin: Harness, layer: Layer, change: dict[str, str], message: str
):
    plugin.made("p")
    shapes = {**layer.shapes(), **change}
    reply = plugin.call("shape", "p", *shapes.values())  # while the network is made
    assert reply.result[0] != 0
    assert _is_told(reply.log, message), reply.log
    tensors = [f"float32:{shape}" for shape in [*shapes.values(), shapes["x"]]]
    for command in ("configure", "shape_change"):  # while the engine is built, and when it runs
        reply = plugin.call(command, "p", *tensors)
        assert reply.result != 0
        assert _is_told(reply.log, message), reply.log
    assert plugin.value("tactics", "p") == []


@pytest.mark.parametrize(("change", "message"), TYPES, ids=lambda value: str(value)[:50])
def test_wrong_type_is_named(plugin: Harness, change: dict[str, str], message: str):
    plugin.made("p")
    reply = plugin.call("shape_change", "p", *replace(Layer(), wrong=tuple(change.items())).tensors())
    assert reply.result != 0
    assert _is_told(reply.log, message), reply.log


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_wrong_number_of_inputs_is_named(plugin: Harness, count: int):
    plugin.made("p")
    shapes = [*Layer("s4").shapes().values(), "3"][:count]
    reply = plugin.call("shape", "p", *shapes)
    assert reply.result[0] != 0
    assert _is_told(reply.log, f"found {count} inputs"), reply.log


def test_output_type_needs_types_that_fit(plugin: Harness):
    plugin.made("p")
    reply = plugin.call("type", "p", "int32", *["float32"] * 4)
    assert reply.result[0] != 0
    assert _is_told(reply.log, "input x: expected float32 or float16, found int32")


@pytest.mark.parametrize("tactic", [-1, 6, 1000])
def test_tactic_nobody_defined_is_refused(plugin: Harness, tactic: int):
    reply = plugin.call("tactic", plugin.made("p"), tactic)
    assert reply.result != 0
    assert _is_told(reply.log, f"tactic {tactic} does not exist")


def test_errors_go_to_the_context_s_recorder_too(plugin: Harness):
    plugin.made("p")
    assert plugin.value("attach", "q", "p") is True
    reply = plugin.call("shape_change", "q", *replace(Layer(), wrong=(("d", "float32:4"),)).tensors())
    assert reply.result != 0
    assert reply.recorded == ("SSMConv block0/ssm: input d: expected (3), found (4)",)
    assert plugin.call("tactic", "q", 77).recorded != ()
    assert plugin.call("tactic", "p", 77).recorded == ()  # the original was attached to nothing


def test_without_a_logger_errors_go_to_stderr(harness_program: Path, cpu_plugin: Path):
    with Harness(harness_program, cpu_plugin, logger=False) as plugin:
        assert plugin.create("p", {**FIELDS, "gelu": "int32=2"}).result is False
        assert plugin.close() == "SSMConv block0/ssm: attribute gelu: expected 0 or 1, found 2\n"
