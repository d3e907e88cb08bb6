"""On a machine with TensorRT and a GPU: the engine computes what ONNX Runtime computes, and is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import Artifact
from edge_s4op.messages import MeasurementRequest
from edge_s4op.profiler.measure import measure
from edge_s4op.runtime import RunnerOptions, open_runner
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.tensorrt.cuda import gpu_facts

pytestmark = [
    pytest.mark.usefixtures("trt"),
    pytest.mark.skipif(gpu_facts() is None, reason="no CUDA device: run this on the Jetson or a GPU machine"),
]


@pytest.mark.parametrize("plugin", ["auto", None])
@pytest.mark.parametrize("kind", ["s4d", "s4", "s4d-padded", "s4d-fp16", "s4-fp16"])
def test_an_engine_computes_what_onnx_runtime_computes(
    exported: Callable[[str], Artifact], kind: str, plugin: str | None, tmp_path: Path
):
    artifact, tolerance = exported(kind), 3e-2 if "fp16" in kind else 1e-3
    options = RunnerOptions(batch=4, engine_dir=tmp_path, plugin=plugin)
    runner, reference = open_runner(artifact, "tensorrt", options=options), open_runner(artifact)
    for batch in (1, 1, 1, 4, 4, 2):
        feeds = random_feeds(artifact.manifest, batch, seed=batch)
        np.testing.assert_allclose(
            runner.run(feeds)["logits"], reference.run(feeds)["logits"], rtol=tolerance, atol=tolerance / 10
        )
    runner.close()


def test_a_measurement_and_a_layer_profile(exported: Callable[[str], Artifact], tmp_path: Path):
    artifact = exported("s4d")
    runner = open_runner(artifact, "tensorrt", options=RunnerOptions(engine_dir=tmp_path))
    request = MeasurementRequest(
        artifact_sha256=artifact.sha256, backend="tensorrt", warmup_ms=50, max_duration_ms=300
    )
    result = measure(runner, request).result
    assert result.parts is not None
    assert 0 < result.parts.compute_ms.median < result.latency_ms.median
    layers = runner.layers(random_feeds(artifact.manifest, 1)).layers
    assert any("block0/ssm" in layer.name for layer in layers)
    assert all(layer.median_ms >= 0 for layer in layers)
    runner.close()
