"""Really exported files, what is needed to build engines from them, and a driver without a GPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_s4op.artifact import Artifact
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.cuda import LIBRARY, gpu_facts
from tests.edge_s4op.tensorrt.fake_device import build_driver
from tests.edge_s4op.tensorrt.fake_runner import PYCUDA_DRIVER

SEQ_LEN, D_INPUT, CLASSES = 70, 2, 3


@pytest.fixture(scope="session")
def exported() -> Callable[[str], Artifact]:
    """An artifact of `s4op export`'s making, by kind: "s4d", "s4", "-padded" with tokens, "-fp16"."""
    torch = pytest.importorskip("torch", reason="exporting a model needs torch: install the host extra")
    from host.export import export_model
    from host.models import Classifier, ModelConfig

    made: dict[str, Artifact] = {}

    def artifact(kind: str) -> Artifact:
        if kind not in made:
            torch.manual_seed(0)
            padded = "-padded" in kind
            inputs = {"vocab_size": 11, "padded": True} if padded else {"d_input": D_INPUT}
            config = ModelConfig(
                kind=kind.partition("-")[0],
                num_classes=CLASSES,
                seq_len=SEQ_LEN,
                d_model=8,
                d_state=16,
                depth=2,
                **inputs,
            )
            model = Classifier(config).eval()
            model.set_kept_operators(((0, 1, 2, 3), (1, 5)))
            made[kind] = export_model(model, precision="fp16" if "-fp16" in kind else "fp32")
        return made[kind]

    return artifact


@pytest.fixture(scope="session")
def trt() -> object:
    """TensorRT's module; TensorRT-RTX builds without a GPU."""
    if library.version() is None:
        pytest.skip("no TensorRT: on x86_64 `pip install tensorrt-rtx-cu12` would run this without a GPU")
    if library.name() == "tensorrt" and gpu_facts() is None:
        pytest.skip("TensorRT builds only where there is a GPU: run this on the device")
    return library.load()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if folder := os.environ.get(PYCUDA_DRIVER):
        return Path(folder) / LIBRARY
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def no_leaks(driver: Path) -> Iterator[ctypes.CDLL]:
    """The driver; afterwards everything that was made in it must be gone."""
    library = ctypes.CDLL(str(driver))
    library.setBudget.argtypes = [ctypes.c_size_t]
    yield library
    library.setBudget(2**64 - 1)
    assert library.aliveObjects() == 0
    assert library.retainedContexts() == 0
    assert library.stackDepth() <= 1  # what `make_current` leaves
