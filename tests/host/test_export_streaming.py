"""Pushed sample by sample == the whole sequence by convolution: the streaming file and PyTorch."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edge_s4op.artifact import Artifact, Preprocessing, write_artifact
from edge_s4op.errors import ExportError, UsageError
from edge_s4op.runtime import open_runner
from edge_s4op.runtime.streaming import StreamModel, open_stream_model
from host.export import export_model, relative_difference
from host.export_streaming import export_streaming
from host.models import Classifier, compact, count_parameters
from host.onnx_nodes import GraphNodes
from host.streaming_graph import streaming_model
from host.streaming_nodes import Branch
from host.streaming_pooling import Pooling
from host.streaming_recurrence import _low_rank_form
from tests.host.export_samples import VARIANTS, sample_batch, sample_model
from tests.host.models.cut_samples import cut_model, sample_inputs

WINDOW = 9
PARTS = ([70], [1] * 70, [1, 2, 3, 60, 4], [35, 1, 34])

STREAMS_WITH_ONNXRUNTIME_ALONE = """
import sys
import numpy, onnxruntime
assert "torch" not in sys.modules and "onnx" not in sys.modules and "edge_s4op" not in sys.modules
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
types = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}
samples, *states = session.get_inputs()
feeds = {state.name: numpy.zeros((3, *state.shape[1:]), types[state.type]) for state in states}
for sample in numpy.load(sys.argv[2]).swapaxes(0, 1):
    logits, *after = session.run(None, {samples.name: sample[:, None], **feeds})
    feeds = dict(zip(feeds, after))
numpy.save(sys.argv[3], logits)
"""


def streamed(stream: StreamModel, x: np.ndarray, parts: Sequence[int]) -> np.ndarray:
    """Logits after all of x (B, T, ...), pushed in `parts`."""
    state, start = stream.new_state(len(x)), 0
    for count in parts:
        logits, state = stream.push(state, x[:, start : start + count])
        start += count
    assert start == x.shape[1] == state.samples
    return logits


def opened(artifact: Artifact) -> StreamModel:
    return open_stream_model(open_runner(artifact, threads=1))


@torch.no_grad()
def features(model: Classifier, x: torch.Tensor) -> torch.Tensor:
    """What the mean is taken of, (B, H, L), by PyTorch's convolutions."""
    h = model.encoder(x).transpose(1, 2)
    for block in model.blocks:
        h = block(h)
    return h


@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS)
@pytest.mark.parametrize("cut", [False, True])
@torch.no_grad()
def test_any_split_of_the_pushes_gives_the_logits_of_the_whole(
    kind: str, norm: str, prenorm: bool, inputs: str, padded: bool, cut: bool
) -> None:
    if cut:
        model = cut_model(kind, norm, prenorm, inputs, padded)
    else:
        model = sample_model(kind, inputs, norm=norm, prenorm=prenorm, padded=padded)
    stream = opened(export_streaming(model))
    x = sample_inputs(model.config, 3)[0]
    expected = model(x, torch.full((3,), 70) if padded else None).numpy()
    for parts in PARTS:
        assert relative_difference(streamed(stream, x.numpy(), parts), expected) < 1e-5, parts


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@torch.no_grad()
def test_logits_after_every_sample_are_of_the_samples_so_far(kind: str) -> None:
    model = sample_model(kind, padded=True)
    stream = opened(export_streaming(model))
    x = sample_batch(model.config, 2)
    state = stream.new_state(2)
    for count in range(1, 71):
        logits, state = stream.push(state, x[:, count - 1 : count].numpy())
        expected = model(x, torch.full((2,), count)).numpy()
        assert relative_difference(logits, expected) < 1e-5, count


@pytest.mark.parametrize(
    ("kind", "norm", "inputs"),
    list(itertools.product(["s4d", "s4"], ["layer", "batch"], ["continuous", "tokens"])),
)
@torch.no_grad()
def test_a_sliding_mean_is_of_the_last_samples_or_of_those_there_are(
    kind: str, norm: str, inputs: str
) -> None:
    model = sample_model(kind, inputs, norm=norm)
    stream = opened(export_streaming(model, window=WINDOW))
    x = sample_batch(model.config, 2)
    h = features(compact(model), x)
    for parts in ([1] * 70, [3] * 23, [4, 20, 1, 9, 10]):
        state, seen = stream.new_state(2), 0
        for count in parts:
            logits, state = stream.push(state, x[:, seen : seen + count].numpy())
            seen += count
            expected = model.head(h[..., max(0, seen - WINDOW) : seen].mean(-1)).numpy()
            assert relative_difference(logits, expected) < 1e-5, seen


@torch.no_grad()
def test_a_window_wider_than_the_sequence_is_the_whole_mean() -> None:
    model = sample_model()
    stream = opened(export_streaming(model, window=100))
    x = sample_batch(model.config, 2)
    assert relative_difference(streamed(stream, x.numpy(), [1, 69]), model(x).numpy()) < 1e-5


@pytest.mark.parametrize("window", [None, WINDOW])
def test_streams_of_different_age_share_a_run(window: int | None) -> None:
    model = sample_model()
    stream = opened(export_streaming(model, window=window))
    x = sample_batch(model.config, 3).numpy()
    ages = (1, 5, 12)
    states = [stream.push(stream.new_state(), x[i : i + 1, :age])[1] for i, age in enumerate(ages)]
    logits, after = stream.push_many(states, x[:, -2:])
    for index, age in enumerate(ages):
        row = x[index : index + 1]
        alone = streamed(stream, np.concatenate([row[:, :age], row[:, -2:]], axis=1), [age, 1, 1])
        assert relative_difference(logits[index : index + 1], alone) < 1e-5
        assert after[index].samples == age + 2


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("constant", [False, True])
@torch.no_grad()
def test_long_sequences_do_not_drift(kind: str, constant: bool) -> None:
    """Of operators that remember 20,000 samples; a constant input makes every rounding the same."""
    length = 16384
    model = sample_model(kind, length=length, dt_min=1e-4, dt_max=1e-3)
    stream = opened(export_streaming(model))
    x = torch.ones(1, length, 2) if constant else sample_batch(model.config, 1)
    found = streamed(stream, x.numpy(), [1, length - 1])
    assert relative_difference(found, model(x).numpy()) < (2e-5 if constant else 2e-6)


def test_a_running_mean_forgets_no_sample_of_an_endless_stream() -> None:
    """At a total of 3e7, where float32 numbers lie 2 apart, a thousand samples of 0.1 are 100 more."""
    session, count, pushes = _pooling_alone(), 300_000_000, 1000
    feeds = {
        "pool/total": np.full((1, 1), 3e7, np.float32),
        "pool/lost": np.zeros((1, 1), np.float32),
        "pool/count": np.full((1, 1), count),
    }
    for _ in range(pushes):
        mean, *after = session.run(None, {"each": np.full((1, 1), 0.1, np.float32), **feeds})
        feeds = dict(zip(feeds, after, strict=True))
    grown = feeds["pool/total"].astype(np.float64) - feeds["pool/lost"] - 3e7
    np.testing.assert_allclose(grown, [[0.1 * pushes]], rtol=1e-5)
    assert feeds["pool/count"] == count + pushes
    np.testing.assert_allclose(mean, 0.1, rtol=1e-6)


def _pooling_alone() -> onnxruntime.InferenceSession:
    """The pooling of one class, as the branch of single samples has it."""
    pooling, g, branch = Pooling(1, None), GraphNodes("fp32"), Branch("single")
    pooling.keep(g)
    g.shape("samples", [1])
    mean, states = pooling.add(branch, "each")
    code = {"FP32": onnx.TensorProto.FLOAT, "INT64": onnx.TensorProto.INT64}
    types = [code[state.datatype] for state in pooling.states()]
    names = [state.name_in for state in pooling.states()]

    def values(first: str, others: Sequence[str]) -> list[onnx.ValueInfoProto]:
        pairs = [(first, onnx.TensorProto.FLOAT), *zip(others, types, strict=True)]
        return [onnx.helper.make_tensor_value_info(name, kind, ["batch", 1]) for name, kind in pairs]

    inputs, outputs = values("each", names), values(mean, states)
    graph = onnx.helper.make_graph(branch.nodes, "pool", inputs, outputs, g.initializers)
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_file_needs_onnxruntime_and_nothing_else(tmp_path: Path) -> None:
    model = sample_model()
    write_artifact(export_streaming(model), tmp_path / "stream.onnx")
    x = sample_batch(model.config, 3)
    np.save(tmp_path / "x.npy", x.numpy())
    paths = [str(tmp_path / name) for name in ("stream.onnx", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", STREAMS_WITH_ONNXRUNTIME_ALONE, *paths], check=True, cwd=tmp_path)
    with torch.no_grad():
        assert relative_difference(np.load(tmp_path / "y.npy"), model(x).numpy()) < 1e-5


@pytest.mark.parametrize(("kind", "form"), [("s4d", "diagonal"), ("s4", "low_rank")])
@pytest.mark.parametrize("window", [None, WINDOW])
def test_the_file_says_what_it_is(kind: str, form: str, window: int | None) -> None:
    model = sample_model(kind, padded=True)
    artifact = export_streaming(
        model,
        window=window,
        dataset_name="npz:toy",
        preprocessing=Preprocessing(mean=(0.5, 1.0), std=(2.0, 3.0)),
        class_labels=("a", "b", "c"),
        accuracy={"validation": 0.75},
    )
    manifest, offline = artifact.manifest, export_model(model).manifest
    streaming = manifest.streaming
    assert streaming is not None
    assert (streaming.ssm_form, streaming.window) == (form, window)
    assert streaming.pooling == ("running" if window is None else "sliding")
    assert [info.shape for info in manifest.inputs[:4]] == [
        (-1, -1, 2),
        (-1, 8, 2, 8),
        (-1, 2, 2, 8),
        (-1, 1, 2, 8),
    ]
    assert [info.name for info in manifest.inputs[1:]] == [state.name_in for state in streaming.states]
    assert [info.name for info in manifest.outputs] == ["logits", *(s.name_out for s in streaming.states)]
    same = ("model_kind", "kept_operators", "d_model", "d_state", "seq_len", "states", "features")
    assert all(getattr(manifest, name) == getattr(offline, name) for name in same)
    assert manifest.parameters == count_parameters(model)
    assert (manifest.preprocessing.std, manifest.class_labels) == ((2.0, 3.0), ("a", "b", "c"))
    proto = onnx.load_model_from_string(artifact.content)
    assert [(entry.domain, entry.version <= 20) for entry in proto.opset_import] == [("", True)]
    assert not proto.functions


def test_multiply_accumulates_are_of_one_sample() -> None:
    manifest = export_streaming(sample_model()).manifest
    glu, operators, ends = 3 * 2 * 8 * 8, (8 + 2 + 1) * 3 * 16, 2 * 8 + 8 * 3
    assert manifest.macs == glu + operators + ends


def test_s4s_low_rank_step_is_its_dense_matrix() -> None:
    layer = compact(sample_model("s4")).blocks[0].ssm
    form = {name: value.double() for name, value in _low_rank_form(layer).items()}
    dense, _, _ = layer.operators.discrete()
    unit = torch.eye(16, dtype=torch.float64).reshape(16, 1, 2, 8)  # every state, as a (2, M) pair of halves
    step = unit + form["step_re"] * unit + form["step_im"] * unit.flip(2)
    step = step + form["left"] * (form["right"] * unit).sum((2, 3), keepdim=True)
    torch.testing.assert_close(step.flatten(2).permute(1, 2, 0), dense, rtol=1e-12, atol=1e-12)


class Reversed(nn.Module):
    """A model that looks ahead."""

    def __init__(self, inner: Classifier) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.inner(x.flip(1))


def test_what_may_look_ahead_is_not_exported() -> None:
    with pytest.raises(UsageError, match=r"a Reversed cannot be exported for streaming.*export it whole"):
        export_streaming(Reversed(sample_model()))


def test_a_window_has_a_sample() -> None:
    with pytest.raises(UsageError, match="window >= 1; found 0"):
        export_streaming(sample_model(), window=0)


def test_a_model_that_is_not_finite_is_not_exported() -> None:
    model = sample_model()
    with torch.no_grad():
        model.blocks[0].ssm.operators.log_dt[0] = float("nan")
    with pytest.raises(ExportError, match="disagree on random input"):
        export_streaming(model)


@pytest.mark.parametrize("branch", [0, 1])
def test_a_graph_that_computes_something_else_is_not_exported(
    monkeypatch: pytest.MonkeyPatch, branch: int
) -> None:
    import host.export_streaming

    def wrong(model: Classifier, window: int | None) -> onnx.ModelProto:
        proto = streaming_model(model, window)
        choice = next(node for node in proto.graph.node if node.op_type == "If")
        body = choice.attribute[branch].g
        gelu = next(node for node in body.node if node.op_type == "Gelu")
        gelu.op_type = "Relu"
        return proto

    monkeypatch.setattr(host.export_streaming, "streaming_model", wrong)
    with pytest.raises(ExportError, match=r"disagree on random input, at the end of 70 samples; .* 0\.0001"):
        export_streaming(sample_model())


def test_real_sequences_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import host.export_streaming

    seen: list[tuple[int, ...]] = []
    right = host.export_streaming._streamed

    def spy(stream: StreamModel, x: np.ndarray, name: str) -> np.ndarray:
        seen.append(x.shape)
        return right(stream, x, name)

    monkeypatch.setattr(host.export_streaming, "_streamed", spy)
    model = sample_model(padded=True)
    export_streaming(model, example=[np.ones((n, 2), np.float32) for n in (1, 2, 40)])
    assert seen == [(2, 70, 2), (1, 1, 2), (1, 2, 2), (1, 40, 2)]


def test_export_is_reproducible() -> None:
    assert export_streaming(sample_model()).sha256 == export_streaming(sample_model()).sha256
