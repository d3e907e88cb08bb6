"""Engines really built, by whichever TensorRT is installed, and refusals in its own words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edge_s4op import op
from edge_s4op.artifact import Artifact
from edge_s4op.errors import BuildError
from edge_s4op.runtime import RunnerOptions
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.build import check_plugin_layers, configure, parse, plugin_layers
from edge_s4op.runtime.tensorrt.cuda import gpu_facts
from edge_s4op.runtime.tensorrt.engines import build_engine
from edge_s4op.runtime.tensorrt.graph import inline_functions, strip_functions
from edge_s4op.runtime.tensorrt.plugin import load_plugin
from edge_s4op.runtime.tensorrt.records import BuildSpec
from tests.edge_s4op import tiny

pytestmark = pytest.mark.usefixtures("trt")


@pytest.mark.parametrize("kind", ["s4d", "s4", "s4d-padded", "s4d-fp16", "s4-padded-fp16"])
def test_an_exported_file_builds_with_its_functions_inlined(
    exported: Callable[[str], Artifact], kind: str, tmp_path: Path
):
    seen: list[tuple[str, float | None]] = []
    options = RunnerOptions(
        batch=4, engine_dir=tmp_path, plugin=None, on_progress=lambda *stage: seen.append(stage)
    )
    engine = build_engine(exported(kind), options, gpu_facts())
    assert engine.record.size_bytes == len(engine.content) > 10_000
    assert engine.record.plugin_layers == 0
    assert engine.record.network_layers > 100
    assert "SSMConv runs as standard operators" in (engine.record.note or "")
    shares = [share for stage, share in seen if stage == "building engine" and share is not None]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] > 0.5


@pytest.mark.parametrize("tf32", [False, True])
def test_float32_products_are_rounded_to_tf32_only_when_asked(
    exported: Callable[[str], Artifact], trt: Any, tf32: bool, tmp_path: Path
):
    artifact = exported("s4d")
    builder = trt.Builder(library.make_logger(lambda line: None))
    network = parse(builder, builder.logger, inline_functions(artifact.content).SerializeToString())
    spec = BuildSpec(
        artifact_sha256=artifact.sha256,
        tensorrt="",
        gpu="none",
        cuda="none",
        batch=4,
        memory_bytes=64 << 20,
        tf32=tf32,
        plugin=None,
        plugin_sha256=None,
    )
    config = configure(builder, network, artifact.manifest, spec, tmp_path / "timing.cache")
    assert config.get_flag(trt.BuilderFlag.TF32) is tf32
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 64 << 20
    assert config.num_optimization_profiles == 1


def test_a_file_without_ssm_conv_needs_no_note(tmp_path: Path):
    engine = build_engine(tiny.linear_artifact(), RunnerOptions(engine_dir=tmp_path), gpu_facts())
    assert engine.record.note is None


def test_every_objection_of_the_parser_is_reported(tmp_path: Path):
    with pytest.raises(BuildError, match="Nowhere") as caught:
        build_engine(tiny.refused_artifact(), RunnerOptions(engine_dir=tmp_path), gpu_facts())
    assert caught.value.reason == "refused"
    assert "cannot read the model" in str(caught.value)
    assert any(line.startswith("E: ") for line in caught.value.log)
    assert not list(tmp_path.glob("*.engine"))


def test_without_plugin_and_functions_both_nodes_are_named(exported: Callable[[str], Artifact], trt: Any):
    with pytest.raises(BuildError, match=r"'block0/ssm' \(SSMConv\).*'block1/ssm' \(SSMConv\)"):
        _network(trt, strip_functions(exported("s4d").content))


def test_a_network_that_took_the_functions_for_the_plugin_is_refused(
    exported: Callable[[str], Artifact], trt: Any
):
    network = _network(trt, inline_functions(exported("s4d").content))
    with pytest.raises(BuildError, match=r"expected 2 plugin layer\(s\).*found 0"):
        check_plugin_layers(plugin_layers(network), expected=2)
    check_plugin_layers(plugin_layers(network), expected=0)


def test_the_parser_would_take_the_function_and_say_nothing(exported: Callable[[str], Artifact], trt: Any):
    """Why functions are stripped: a file as exported parses without any plugin."""
    model = onnx.load_model_from_string(exported("s4d").content)
    assert sum(map(op.is_ssm_conv, model.graph.node)) == 2
    assert plugin_layers(_network(trt, model)) == 0


def _network(trt: Any, model: onnx.ModelProto) -> Any:
    logger = library.make_logger(lambda line: None)
    builder = trt.Builder(logger)
    return parse(builder, logger, model.SerializeToString())


def test_a_library_that_is_no_plugin_is_refused(tmp_path: Path):
    path = tmp_path / "libplugin.so"
    path.write_bytes(b"not a library")
    with pytest.raises(BuildError, match=r"libplugin\.so cannot be loaded.*`make plugin`") as caught:
        load_plugin(path)
    assert caught.value.reason == "refused"
