"""Where ONNX Runtime's time goes, by our layers: nothing is lost, nothing counted twice."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from edge_s4op.errors import BadInferenceInputError, InferenceError
from edge_s4op.messages import Layers
from edge_s4op.runtime import RunnerOptions, open_runner
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.layer_names import OTHER, layer_of_node, layers_message
from edge_s4op.runtime.onnxruntime_plugin import built_plugin
from edge_s4op.runtime.onnxruntime_profile import layers_of_profile
from edge_s4op.runtime.protocol import ProfiledRunner
from tests.edge_s4op import tiny

torch = pytest.importorskip("torch", reason="exporting a model needs torch: install the host extra")

from host.export import export_model  # noqa: E402
from host.export_streaming import export_streaming  # noqa: E402
from tests.host.export_samples import VARIANTS, sample_model  # noqa: E402

BLOCK = {"channels_first", "ssm", "mix", "residual", "norm"}


BUILT = built_plugin()
PLUGINS = [None] if BUILT is None else [None, BUILT]


def profiled(plugin: Path | None = None, **config: Any) -> Layers:
    artifact = export_model(sample_model(**config))
    runner = open_runner(artifact, options=RunnerOptions(plugin=plugin))
    assert isinstance(runner, ProfiledRunner)
    return runner.layers(random_feeds(artifact.manifest, 1))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: "body" if p is None else "library")
@pytest.mark.parametrize(("kind", "norm", "prenorm", "inputs", "padded"), VARIANTS[::5])
def test_all_time_belongs_to_layers_of_ours(
    kind: str, norm: str, prenorm: bool, inputs: str, padded: bool, plugin: Path | None
) -> None:
    layers = profiled(plugin, kind=kind, norm=norm, prenorm=prenorm, inputs=inputs, padded=padded)
    names = [row.name for row in layers.layers]
    assert {f"block{i}/ssm" for i in range(3)} | {f"block{i}/mix" for i in range(3)} < set(names)
    assert all(name in ("encoder", "head") or name.split("/")[1] in BLOCK for name in names if name != OTHER)
    assert sum(row.share for row in layers.layers) == pytest.approx(1)
    assert sum(row.share for row in layers.layers if row.name != OTHER) >= 0.9
    assert layers.total_ms == pytest.approx(sum(row.median_ms for row in layers.layers))


def test_the_convolution_of_a_long_sequence_is_the_layer_that_runs_it() -> None:
    rows = {row.name: row for row in profiled(length=2048).layers}
    assert "Scan" in rows["block0/ssm"].operators
    assert "Conv" in rows["block0/mix"].operators
    assert all("Scan" not in row.operators for name, row in rows.items() if not name.endswith("/ssm"))


@pytest.mark.skipif(BUILT is None, reason="SSMConv's library is not built: a C++ compiler builds it")
def test_the_library_runs_a_layer_as_one_operator() -> None:
    rows = {row.name: row for row in profiled(BUILT, length=2048).layers}
    assert list(rows["block0/ssm"].operators) == ["SSMConv"]
    assert not any("Scan" in row.operators for row in rows.values())


def test_a_streaming_files_branch_is_told_by_its_layers() -> None:
    artifact = export_streaming(sample_model())
    runner = open_runner(artifact)
    assert isinstance(runner, ProfiledRunner)
    names = [row.name for row in runner.layers(random_feeds(artifact.manifest, 1)).layers]
    assert {"block0/ssm", "block0/mix", "block2/ssm"} <= set(names)
    assert OTHER not in names


def event(name: str, operator: str, ts: int, dur: int) -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": ts,
        "dur": dur,
        "args": {"op_name": operator},
    }


def run_event(ts: int, dur: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def looped(loop_us: int, inner_us: int = 100, run_us: int = 9990) -> list[list[dict[str, Any]]]:
    """Events of one run: an encoder, a loop of two nodes, GLU."""
    return [
        event("encoder/matmul", "MatMul", 0, 500),
        event("Mul_1", "Mul", 600, inner_us),
        event("Mul_1", "Mul", 600 + inner_us, inner_us),
        event("Scan_70", "Scan", 500, loop_us),
        event("block0/mix/image", "Reshape", 9550, 20),
        event("ReorderInput", "ReorderInput", 9600, 50),
        event("block0/mix/value_nchwc", "Conv", 9700, 200),
        run_event(0, run_us),
    ]


def table_of(runs: list[Any], plain_us: float = 9990) -> dict[str, dict[str, float]]:
    content = export_model(sample_model()).content
    later = [[{**e, "ts": e["ts"] + i * 20_000} for e in events] for i, events in enumerate(runs)]
    layers = layers_of_profile([e for events in later for e in events], content, plain_us)
    assert layers.runs == len(runs) - 1
    return {row.name: row.operators for row in layers.layers}


def test_what_a_loop_runs_is_in_the_loops_time_and_the_first_run_warms_up() -> None:
    assert table_of([looped(9000), looped(1000), looped(3000)]) == {
        "encoder": {"MatMul": 0.5},
        "block0/ssm": {"Scan": 2.0},
        "block0/mix": {"Conv": 0.2, "ReorderInput": 0.05, "Reshape": 0.02},
    }


def test_what_recording_a_loops_nodes_costs_is_taken_off() -> None:
    """700 us more than without a profiler, over seven records: two of them in the loop."""
    table = table_of([looped(3000), looped(3000)], plain_us=9290)
    assert table["block0/ssm"] == {"Scan": 2.8}
    assert table["block0/mix"]["Conv"] == 0.2


def test_a_loop_keeps_what_its_nodes_took() -> None:
    table = table_of([looped(3000, inner_us=700)] * 2, plain_us=1)
    assert table["block0/ssm"] == {"Scan": 1.4}


def test_a_layer_that_ran_in_some_runs_only_counts_as_nothing_in_the_others() -> None:
    layers = layers_message("x", [[("a", "f", 1.0), ("b", "g", 4.0)], [("a", "f", 3.0)], [("a", "f", 2.0)]])
    assert [(row.name, row.median_ms) for row in layers.layers] == [("a", 2.0), ("b", 0.0)]


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("block0/mix/value", "block0/mix"),
        ("block12/ssm", "block12/ssm"),
        ("head/linear", "head"),
        ("encoder/matmul", "encoder"),
        ("/net/mlp/Gelu", "net/mlp"),
        ("y", "y"),
    ],
)
def test_a_layer_is_the_beginning_of_its_nodes_names(node: str, layer: str) -> None:
    assert layer_of_node(node) == layer


def test_the_profile_leaves_no_file_and_the_runner_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    artifact = tiny.linear_artifact()
    runner, feeds = open_runner(artifact), random_feeds(artifact.manifest, 1)
    before = runner.run(feeds)["logits"]
    assert isinstance(runner, ProfiledRunner)
    assert runner.layers(feeds).runs >= 5
    assert list(tmp_path.iterdir()) == []
    assert (runner.run(feeds)["logits"] == before).all()


def test_a_profile_can_be_cancelled_and_refuses_wrong_input() -> None:
    artifact = tiny.linear_artifact()
    runner = open_runner(artifact)
    assert isinstance(runner, ProfiledRunner)
    feeds = random_feeds(artifact.manifest, 1)
    with pytest.raises(InferenceError, match="cancelled"):
        runner.layers(feeds, should_stop=lambda: True)
    with pytest.raises(BadInferenceInputError):
        runner.layers({})
    runner.close()
    with pytest.raises(InferenceError, match="closed"):
        runner.layers(feeds)
