"""An agent that listens, with small models, for tests that ask it with tritonclient[http]."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.artifact import Artifact, artifact_from_model
from tests.device_agent.agent_helpers import logarithm_artifact, scaling_artifact
from tests.device_agent.agent_requests import serve
from tests.device_agent.live import live

X = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)


def labelled_artifact() -> Artifact:
    """y = 2 x and z = -y, of classes "apple", "pickle" and one without a name."""
    base = scaling_artifact(2.0)
    manifest = base.manifest.model_copy(update={"class_labels": ("apple", "pickle")})
    return artifact_from_model(onnx.load_from_string(base.content), manifest)


MODELS = {
    "fp32": scaling_artifact(2.0),
    "fp16": scaling_artifact(2.0, datatype="FP16"),
    "int64": scaling_artifact(2, datatype="INT64"),
    "log": logarithm_artifact(),
    "labelled": labelled_artifact(),
}


@contextlib.contextmanager
def agent_of_models(folder: Path) -> Iterator[str]:
    """host:port of an agent that serves MODELS until the block ends."""
    agent = open_agent(Settings(data_dir=folder / "data", device_lock=folder / "device.lock"))
    with live(agent) as http:
        for name, artifact in MODELS.items():
            options = {"max_batch": 8, "max_queue": 256, "priority_levels": 3} if name == "fp32" else {}
            assert serve(http, name, artifact, **options).status_code == 200
        yield str(http.base_url).removeprefix("http://").rstrip("/")


def fed(array: np.ndarray, *, name: str = "x", binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array, binary_data=binary)


def wanted(name: str, **options: object) -> triton.InferRequestedOutput:
    return triton.InferRequestedOutput(name, **options)
