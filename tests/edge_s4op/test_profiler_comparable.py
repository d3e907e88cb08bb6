"""Measurements of different devices, or of one in different states, are refused with what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import DeviceFacts
from edge_s4op.profiler.comparable import differences, require_comparable
from edge_s4op.profiler.device import device_facts
from tests.edge_s4op import board_trees as trees


def facts_of(root: Path, backends: dict[str, str] | None = None, **files: str) -> DeviceFacts:
    return device_facts(backends or {}, trees.build(root, trees.JETPACK_6, files))


def test_the_same_device_is_comparable(tmp_path: Path) -> None:
    require_comparable(facts_of(tmp_path / "a"), facts_of(tmp_path / "b"))


def test_what_differs_is_named(tmp_path: Path) -> None:
    a = facts_of(tmp_path / "a", {"onnxruntime": "1.20"})
    files = {"var/lib/nvpmodel/status": "pmode:0000", "sys/class/devfreq/17000000.gpu/max_freq": "306000000"}
    b = facts_of(tmp_path / "b", {"onnxruntime": "1.21"}, **files)
    found = (
        "power mode: 25W and 15W",
        "clocks of gpu: 306 .. 625 MHz and 306 MHz",
        "version of onnxruntime: 1.20 and 1.21",
    )
    assert differences(a, b) == found
    with pytest.raises(MeasurementError, match="power mode: 25W and 15W"):
        require_comparable(a, b)


def test_fingerprints_of_another_version_differ_by_themselves(tmp_path: Path) -> None:
    a = facts_of(tmp_path)
    (found,) = differences(a, a.model_copy(update={"fingerprint": "0" * 64}))
    assert found.startswith("fingerprint: ")
