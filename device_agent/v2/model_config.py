"""A served model as Triton's clients know models: its metadata and its configuration."""

from __future__ import annotations

from typing import Any

from edge_s4op.artifact import Manifest, TensorInfo
from edge_s4op.messages import ServeRequest

__all__ = ["config_of", "max_batch_size_of", "metadata_of", "platform_of"]


def platform_of(backend: str) -> str:
    """Triton's word for what a backend runs."""
    return {"tensorrt": "tensorrt_plan"}.get(backend, f"{backend}_onnx")


def metadata_of(name: str, backend: str, manifest: Manifest) -> dict[str, Any]:
    """Names, datatypes and shapes of inputs and outputs; -1 is the batch."""
    return {
        "name": name,
        "versions": ["1"],
        "platform": platform_of(backend),
        "inputs": [_described(info) for info in manifest.inputs],
        "outputs": [_described(info) for info in manifest.outputs],
    }


def max_batch_size_of(manifest: Manifest, request: ServeRequest) -> int:
    """Rows that may run together; 0 for a model that has no batch dimension."""
    batched = all(info.shape[:1] == (-1,) for info in (*manifest.inputs, *manifest.outputs))
    return (request.max_batch or 1) if batched else 0


def config_of(name: str, backend: str, manifest: Manifest, request: ServeRequest) -> dict[str, Any]:
    """What Triton's model_config.proto calls ModelConfig, as its JSON."""
    batch = max_batch_size_of(manifest, request)
    config: dict[str, Any] = {
        "name": name,
        "platform": platform_of(backend),
        "backend": backend,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": batch,
        "input": [_input(info, batch) for info in manifest.inputs],
        "output": [_output(info, batch) for info in manifest.outputs],
        "instance_group": [_instances(name, backend, request)],
        "default_model_filename": "model.onnx",
        "parameters": {"artifact_sha256": {"string_value": request.artifact_sha256}},
    }
    if batch:
        config["dynamic_batching"] = _batching(batch, request)
    return config


def _described(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype, "shape": list(info.shape)}


def _tensor(info: TensorInfo, batch: int) -> dict[str, Any]:
    dims = list(info.shape[1:] if batch else info.shape)
    return {"name": info.name, "data_type": f"TYPE_{info.datatype}", "dims": dims, "is_shape_tensor": False}


def _input(info: TensorInfo, batch: int) -> dict[str, Any]:
    more = {"format": "FORMAT_NONE", "allow_ragged_batch": False, "optional": False}
    return _tensor(info, batch) | more


def _output(info: TensorInfo, batch: int) -> dict[str, Any]:
    return _tensor(info, batch) | {"label_filename": ""}


def _instances(name: str, backend: str, request: ServeRequest) -> dict[str, Any]:
    kind = "KIND_GPU" if backend == "tensorrt" else "KIND_CPU"
    gpus = [0] if kind == "KIND_GPU" else []
    return {"name": f"{name}_0", "kind": kind, "count": request.instances, "gpus": gpus}


def _batching(batch: int, request: ServeRequest) -> dict[str, Any]:
    return {
        "preferred_batch_size": [batch],
        "max_queue_delay_microseconds": round(request.max_delay_ms * 1e3),
        "preserve_ordering": False,
        "priority_levels": request.priority_levels,
        "default_priority_level": request.default_priority or (request.priority_levels + 1) // 2,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": round((request.timeout_ms or 0) * 1e3),
            "allow_timeout_override": True,
            "max_queue_size": request.max_queue,
        },
    }
