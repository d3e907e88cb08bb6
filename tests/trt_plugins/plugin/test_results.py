"""What enqueue computes with CPU kernels, called as TensorRT calls it, against the float64 reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_s4op.reference import ssm_conv
from tests.trt_plugins.plugin.harness import FIELDS, Harness, Layer
from trt_plugins.cpu.kernel_library import Tactic, Weights, random_weights

CHANNELS, KEPT, BATCH, LENGTH, MODES = 4, (0, 2, 3), 2, 150, 8
WORKSPACE = 1 << 20


def _weights() -> Weights:
    return random_weights(np.random.default_rng(0), KEPT, CHANNELS, LENGTH, MODES)


def _layer(dtype: Any, batch: int = BATCH) -> Layer:
    return Layer(dtype=np.dtype(dtype).name, batch=str(batch), length=LENGTH, taps=LENGTH, size=MODES)


class Case:
    """Inputs on disk, and what should come out."""

    def __init__(self, folder: Path, dtype: Any, batch: int = BATCH) -> None:
        weights = _weights()
        self.dtype, self.layer, self.output = dtype, _layer(dtype, batch), folder / "y"
        self.x = np.random.default_rng(1).normal(size=(batch, CHANNELS, LENGTH)).astype(dtype)
        self.files = [folder / str(i) for i in range(5)]
        arrays = (self.x, weights.k, weights.d, weights.poles, weights.residues)
        for path, array in zip(self.files, arrays, strict=True):
            assert array is not None
            array.tofile(path)
        self.expected = ssm_conv(self.x, weights.k, weights.d, KEPT, with_gelu=True)

    def enqueue(self, plugin: Harness, name: str) -> Any:
        return plugin.enqueue(name, self.layer, self.files, self.output, self.x.nbytes, WORKSPACE)

    def error(self) -> float:
        """Relative RMS error of what was written."""
        y: npt.NDArray[Any] = np.fromfile(self.output, self.dtype).reshape(self.x.shape)
        difference = y.astype(np.float64) - self.expected
        return float(np.sqrt(np.mean(difference**2) / np.mean(self.expected**2)))


def _ran(plugin: Harness, case: Case, name: str) -> float:
    reply = case.enqueue(plugin, name)
    assert (reply.result, reply.log) == (0, ()), reply
    return case.error()


@pytest.mark.parametrize("shapes_first", [False, True])
@pytest.mark.parametrize(
    ("tactic", "dtype"), [(tactic, dtype) for tactic in Tactic for dtype in tactic.dtypes]
)
def test_every_tactic_matches_the_reference(
    plugin: Harness, tmp_path: Path, tactic: Tactic, dtype: Any, shapes_first: bool
):
    case = Case(tmp_path, dtype)
    plugin.made("p", {**FIELDS, "allow_tf32": "int32=1"})
    calls = [("tactic", "p", int(tactic)), ("shape_change", "p", *case.layer.tensors())]
    for call in reversed(calls) if shapes_first else calls:
        assert plugin.value(*call) == 0
    assert _ran(plugin, case, "p") <= tactic.error_limit(np.dtype(dtype).type)


def test_engine_s_plugin_computes_the_same(plugin: Harness, tmp_path: Path):
    case = Case(tmp_path, np.float32)
    plugin.made("p")
    assert plugin.value("recreate", "loaded", "p") is True
    assert plugin.value("attach", "q", "loaded") is True
    assert plugin.value("shape_change", "q", *case.layer.tensors()) == 0  # no tactic chosen: the exact one
    assert _ran(plugin, case, "q") <= Tactic.FFT.error_limit(np.float32)


def test_shapes_may_change_between_runs(plugin: Harness, tmp_path: Path):
    plugin.made("p")
    for batch in (3, 1, 2):
        case = Case(tmp_path, np.float32, batch)
        assert plugin.value("shape_change", "p", *case.layer.tensors()) == 0
        assert _ran(plugin, case, "p") <= Tactic.FFT.error_limit(np.float32)


def test_a_tactic_left_from_another_format_is_no_error_before_it_runs(plugin: Harness, tmp_path: Path):
    half, single = Case(tmp_path, np.float16), Case(tmp_path, np.float32)
    plugin.made("p")
    assert plugin.value("shape_change", "p", *half.layer.tensors()) == 0
    assert plugin.value("tactic", "p", Tactic.SCAN) == 0  # half only
    assert plugin.value("configure", "p", *single.layer.tensors()) == 0
    assert plugin.value("shape_change", "p", *single.layer.tensors()) == 0
    reply = single.enqueue(plugin, "p")
    assert reply.result != 0
    assert "tactic 2 cannot do batch 2, length 150" in reply.log[0]
    assert plugin.value("tactic", "p", Tactic.FFT) == 0
    assert _ran(plugin, single, "p") <= Tactic.FFT.error_limit(np.float32)


def test_enqueue_without_or_with_other_shapes_is_refused(plugin: Harness, tmp_path: Path):
    case = Case(tmp_path, np.float32)
    plugin.made("p")
    reply = case.enqueue(plugin, "p")
    assert reply.result != 0
    assert "enqueue without the shapes" in reply.log[0]
    assert plugin.value("shape_change", "p", *_layer(np.float32, 5).tensors()) == 0
    reply = case.enqueue(plugin, "p")
    assert reply.result != 0
    assert "other shapes than onShapeChange" in reply.log[0]
    assert not case.output.exists()
