"""The library computes what the float64 oracle computes, in every instruction set this processor has."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_s4op import op, reference
from edge_s4op.runtime.onnxruntime_plugin import ISA_VARIABLE, built_plugin, instruction_set
from tests.edge_s4op.one_node import one_node_model, relative_rms
from tests.edge_s4op.ort_plugin.sessions import open_session, run

BUILT = built_plugin()
HERE = None if BUILT is None else instruction_set(BUILT)
# What this processor has; others run on others.
SETS = {"avx512": ["avx512", "avx2", "sse2"], "avx2": ["avx2", "sse2"]}.get(HERE or "", [HERE])
# Chunks (16 and 64 samples) and groups of them (up to 48), whole and one sample more or less.
LENGTHS = [1, 2, 15, 16, 17, 63, 64, 65, 150, 511, 512, 513, 767, 768, 769, 1024, 1460, 3072, 4100]
CHANNELS = [0, 2, 3]


@pytest.fixture(params=SETS)
def any_library(request: pytest.FixtureRequest, library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ISA_VARIABLE, request.param)
    assert instruction_set(library) == request.param
    return library


def samples(batch: int, channels: int, length: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, channels, length)).astype(np.float32)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", LENGTHS)
def test_any_length(any_library: Path, kind: str, length: int) -> None:
    model, weights = one_node_model(kind, length, CHANNELS, 5, gelu=True)
    x = samples(2, 5, length)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], CHANNELS, with_gelu=True)
    assert relative_rms(run(model, any_library, x=x), expected) < 5e-6


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("modes", [1, 3, 16, 17, 32, 40])
def test_any_number_of_states(any_library: Path, kind: str, modes: int) -> None:
    model, weights = one_node_model(kind, 700, CHANNELS, 5, gelu=False, modes=modes)
    x = samples(1, 5, 700)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], CHANNELS, with_gelu=False)
    assert relative_rms(run(model, any_library, x=x), expected) < 5e-6


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("channels", [[0], [4], [1, 3], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_subset_any_batch(library: Path, channels: list[int], gelu: bool, batch: int) -> None:
    model, weights = one_node_model("s4d", 100, channels, 5, gelu)
    x = samples(batch, 5, 100)
    y = run(model, library, x=x)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], channels, with_gelu=gelu)
    assert relative_rms(y, expected) < 5e-6
    if not gelu:
        passed = [c for c in range(5) if c not in channels]
        np.testing.assert_array_equal(y[:, passed], x[:, passed])


def test_gelu_is_exact_to_float32(any_library: Path) -> None:
    """Of passed-through channels, whose values are ours to choose; in the tail, too, where it is small."""
    x = np.concatenate([np.linspace(-8, 8, 4001), [0.0, -0.0, 1e-30, -1e-30, 30, -30, 3e38, -3e38]])
    x = x.astype(np.float32)
    model, _ = one_node_model("s4d", x.size, [0], 2, gelu=True)
    y = run(model, any_library, x=np.stack([np.zeros_like(x), x])[None])[0, 1]
    np.testing.assert_allclose(y, reference.gelu(x), rtol=5e-7, atol=6e-8)


def test_nan_and_infinity_come_through(any_library: Path) -> None:
    model, _ = one_node_model("s4d", 40, [0], 2, gelu=True)
    x = np.zeros((1, 2, 40), np.float32)
    x[0, :, 20], x[0, 1, 21], x[0, 1, 22] = np.nan, np.inf, -np.inf
    y = run(model, any_library, x=x)
    assert np.isfinite(y[0, 0, :16]).all()
    assert np.isnan(y[0, 0, 20:]).all()
    np.testing.assert_array_equal(y[0, 1, [20, 21]], [np.nan, np.inf])
    np.testing.assert_array_equal(np.delete(y[0, 1], [20, 21, 22]), 0)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(library: Path, threads: int) -> None:
    model, _ = one_node_model("s4d", 600, list(range(0, 70, 2)), 70, gelu=True)
    x = samples(2, 70, 600)
    np.testing.assert_array_equal(run(model, library, threads, x=x), run(model, library, x=x))


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_a_batch_changes_nothing(any_library: Path, kind: str) -> None:
    model, _ = one_node_model(kind, 1000, CHANNELS, 5, gelu=True)
    x = samples(3, 5, 1000)
    alone = np.concatenate([run(model, any_library, x=row[None]) for row in x])
    np.testing.assert_array_equal(run(model, any_library, x=x), alone)


def test_callers_may_share_a_session(library: Path) -> None:
    model, _ = one_node_model("s4", 300, CHANNELS, 5, gelu=True)
    session = open_session(model, library, threads=2)
    inputs = [samples(1 + i % 3, 5, 300) * (i + 1) for i in range(40)]
    expected = [run(model, library, x=x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run(None, {"x": x})[0], inputs))
    for y, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, other)


def test_sessions_come_and_go(library: Path) -> None:
    """The library is loaded by whoever needs it, and ONNX Runtime keeps no pointer into one that is gone."""
    x = samples(1, 5, 100)
    models = [one_node_model(kind, 100, CHANNELS, 5, gelu=True)[0] for kind in ("s4d", "s4")]
    first = [run(model, None, x=x) for model in models]
    for _ in range(20):
        for model, expected in zip(models, first, strict=True):
            np.testing.assert_allclose(run(model, library, x=x), expected, rtol=1e-4, atol=1e-5)
        gc.collect()


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_weights_may_be_inputs(library: Path, kind: str) -> None:
    """As in a file that computes them: the matrices are made anew at every run."""
    model, weights = one_node_model(kind, 100, CHANNELS, 5, gelu=True)
    del model.graph.initializer[:]
    for name in ("k", "d", *op.STATE_INPUTS[kind]):
        model.graph.input.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, weights[name].shape)
        )
    session, x = open_session(model, library), samples(2, 5, 100)
    for scale in (1, 2):
        k, d = weights["k"], weights["d"] * scale
        expected = reference.ssm_conv(x, k, d, CHANNELS, with_gelu=True)
        y = session.run(None, {"x": x, **weights, "d": d})[0]
        assert relative_rms(y, expected) < 5e-6


def test_shapes_are_known_behind_the_node(library: Path) -> None:
    model, _ = one_node_model("s4d", 100, CHANNELS, 5, gelu=True)
    copy = helper.make_node("Identity", ["between"], ["y"])
    model.graph.node[0].output[0] = "between"
    model.graph.node.append(copy)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    session = open_session(model, library)
    assert session.get_outputs()[0].shape == ["batch", 5, 100]


@pytest.mark.parametrize("shape", [None, [None, 5, 100], ["batch", 5, None]])
def test_an_unknown_shape_stays_unknown(library: Path, shape: list[int | str | None] | None) -> None:
    """Taken for a scalar, or a size of -1, what comes behind would be refused."""
    model, weights = one_node_model("s4d", 100, CHANNELS, 5, gelu=False)
    model.graph.node[0].output[0] = "between"
    model.graph.node.append(helper.make_node("MatMul", ["between", "ones"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((100, 1), np.float32), "ones"))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    x = samples(2, 5, 100)
    expected = reference.ssm_conv(x, weights["k"], weights["d"], CHANNELS, with_gelu=False).sum(-1)
    np.testing.assert_allclose(run(model, library, x=x)[..., 0], expected, rtol=1e-4, atol=1e-4)
