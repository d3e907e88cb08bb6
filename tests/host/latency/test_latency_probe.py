from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.runtime import open_runner
from host.latency.probe import LayerShape, probe_artifact


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("kept", [1, 5, 16])
def test_a_probe_is_one_layer_that_runs(kind: str, kept: int) -> None:
    artifact = probe_artifact(LayerShape(kind, 16, 8, 50), kept)  # type: ignore[arg-type]
    (channels,) = artifact.manifest.kept_operators
    assert len(set(channels)) == kept
    runner = open_runner(artifact, "onnxruntime", threads=1)
    x = np.random.default_rng(0).standard_normal((2, 16, 50), np.float32)
    y = runner.run({"input": x})["output"]
    runner.close()
    assert y.shape == x.shape
    assert np.isfinite(y).all()


def test_the_same_probe_has_the_same_bytes() -> None:
    shape = LayerShape("s4d", 16, 8, 50)
    assert probe_artifact(shape, 4).sha256 == probe_artifact(shape, 4).sha256
    assert probe_artifact(shape, 4).sha256 != probe_artifact(shape, 5).sha256
