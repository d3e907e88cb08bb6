"""The real runner over a device without a GPU and an engine that computes in NumPy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_s4op.artifact import Artifact
from edge_s4op.runtime import RunnerOptions
from edge_s4op.runtime.tensorrt.cuda import Device, open_device
from edge_s4op.runtime.tensorrt.records import BuildSpec, EngineRecord
from edge_s4op.runtime.tensorrt.runner import TensorRTRunner
from tests.edge_s4op import tiny
from tests.edge_s4op.tensorrt.fake_device import Compute, FakeEngine

GENERATOR = np.random.default_rng(0)
MAX_BATCH = 4
PYCUDA_DRIVER = "S4OP_TEST_PYCUDA_DRIVER"  # folder of the driver that test_pycuda.py made this process's own


def linear(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"logits": feeds["input"].sum(axis=1) @ tiny.WEIGHT}


def tokens(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"logits": tiny.TABLE[feeds["input"]].sum(axis=1) / feeds["lengths"][:, None]}


def floats(batch: int) -> dict[str, np.ndarray]:
    shape = (batch, tiny.SEQ_LEN, tiny.CHANNELS)
    return {"input": GENERATOR.standard_normal(shape, dtype=np.float32)}


def open_fake_device(driver: Path) -> Device:
    if PYCUDA_DRIVER not in os.environ:
        return open_device(str(driver))
    device = open_device()
    assert device.access.startswith("pycuda 2")
    return device


def open_fake(
    driver: Path,
    artifact: Artifact | None = None,
    compute: Compute = linear,
    cuda_graph: bool | None = None,
    capturable: bool = True,
    spin_wait: bool | None = None,
    max_batch: int = MAX_BATCH,
) -> tuple[TensorRTRunner, FakeEngine]:
    artifact = artifact or tiny.linear_artifact()
    engine = FakeEngine(driver, artifact.manifest, compute, capturable=capturable)
    options = RunnerOptions(batch=max_batch, cuda_graph=cuda_graph, spin_wait=spin_wait)
    device = open_fake_device(driver)
    device.make_current()
    try:
        return TensorRTRunner(device, engine, _record(artifact, max_batch), artifact, options), engine
    except BaseException:
        device.close()
        raise


def _record(artifact: Artifact, max_batch: int) -> EngineRecord:
    spec = BuildSpec(
        artifact_sha256=artifact.sha256,
        tensorrt="fake",
        gpu="fake",
        cuda="12.6",
        batch=max_batch,
        memory_bytes=None,
        tf32=False,
        plugin=None,
        plugin_sha256=None,
    )
    return EngineRecord(
        key="a" * 64,
        spec=spec,
        engine_sha256="b" * 64,
        size_bytes=1,
        network_layers=2,
        plugin_layers=0,
        note="no plugin here",
        build_s=0,
    )
