"""Python and C++ name and number the same things alike."""

from __future__ import annotations

import re

from edge_s4op import op
from tests.project import ROOT
from trt_plugins.cpu import kernel_library
from trt_plugins.cpu.kernel_library import Tactic

ATTRIBUTES = (ROOT / "trt_plugins" / "plugin" / "attributes.h").read_text()
KERNELS = (ROOT / "trt_plugins" / "kernels" / "ssm_conv.h").read_text()


def constant(name: str) -> str:
    found = re.search(rf'constexpr char {name}\[\] = "(.*)";', ATTRIBUTES)
    assert found is not None, f"attributes.h has no {name}"
    return found[1]


def names(array: str) -> tuple[str, ...]:
    found = re.search(rf"{array}\[\] = {{(.*)}};", ATTRIBUTES)
    assert found is not None, f"attributes.h has no {array}"
    return tuple(re.findall(r'"(\w+)"', found[1]))


def test_the_operator_has_one_name() -> None:
    found = (constant("kName"), constant("kVersion"), constant("kNamespace"))
    assert found == (op.NAME, op.PLUGIN_VERSION, op.PLUGIN_NAMESPACE)


def test_attributes_are_those_of_the_node() -> None:
    wanted = ("kPluginVersion", "kPluginNamespace", "kChannels", "kNumChannels", "kGelu")
    assert tuple(map(constant, wanted)) == op.ATTRIBUTES


def test_inputs_are_those_of_the_node_in_order() -> None:
    assert names("kInputs") == op.INPUTS
    assert {"s4d": names("kStateInputsS4d"), "s4": names("kStateInputsS4")} == op.STATE_INPUTS


def test_tactics_have_the_numbers_of_the_kernels() -> None:
    body = re.search(r"enum class Tactic : int32_t {(.*?)};", KERNELS, re.DOTALL)
    assert body is not None
    found = {name.upper(): int(number) for name, number in re.findall(r"k(\w+) = (\d+),", body[1])}
    assert found == {tactic.name.replace("_", ""): tactic.value for tactic in Tactic}


def test_problems_have_the_fields_of_the_kernels() -> None:
    """The C interfaces pass a problem as eight integers, in this order."""
    body = re.search(r"struct Problem {(.*?)};", KERNELS, re.DOTALL)
    assert body is not None
    fields = re.findall(r"^  (?:int|Type|bool) (\w+);", body[1], re.MULTILINE)
    expected = ["half" if field == "type" else field for field in fields]
    assert list(kernel_library.Problem.__dataclass_fields__) == expected
