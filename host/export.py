"""From a trained (and perhaps pruned) model to one verified ONNX file with its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch

from edge_s4op.artifact import Artifact, Precision, Preprocessing, artifact_from_model
from edge_s4op.errors import ExportError
from edge_s4op.runtime import RunnerOptions, open_runner
from host.manifest import manifest_of
from host.models import Classifier, compact, count_macs
from host.onnx_graph import graph_inputs, graph_outputs, onnx_from_model

__all__ = ["MAX_RELATIVE_DIFFERENCE", "export_model", "relative_difference"]

# Of a file's logits from PyTorch's in float32. fp16 rounds every activation to 11 bits: up to 1.3e-3 over all
# kinds of models with random weights, so that its limit leaves room for less friendly weights.
MAX_RELATIVE_DIFFERENCE: Mapping[Precision, float] = MappingProxyType({"fp32": 1e-4, "fp16": 2e-2})


def export_model(
    model: Classifier,
    *,
    precision: Precision = "fp32",
    dataset_name: str | None = None,
    preprocessing: Preprocessing | None = None,
    class_labels: Sequence[str] = (),
    accuracy: dict[str, float] | None = None,
    parent: str | None = None,
    example: dict[str, np.ndarray] | None = None,
) -> Artifact:
    """Cut out masked operators, build the ONNX file, and check it against PyTorch.

    `example` holds real inputs by graph input name ("input", and "lengths" if padded); random ones are
    always checked too. Raises ExportError when ONNX Runtime's logits differ from PyTorch's, in float32, by
    more than MAX_RELATIVE_DIFFERENCE[precision] of the largest logit, on either, and for a weight that
    "fp16" cannot hold.
    """
    small = compact(model).cpu().float().eval()
    manifest = manifest_of(
        small,
        inputs=graph_inputs(small),
        outputs=graph_outputs(small),
        precision=precision,
        macs=count_macs(small.config, small.kept_operators()),
        preprocessing=preprocessing or Preprocessing(),
        class_labels=tuple(class_labels),
        dataset=dataset_name,
        accuracy=accuracy or {},
        parent=parent,
    )
    artifact = artifact_from_model(onnx_from_model(small, precision), manifest)
    _check_parity(small, artifact, example)
    return artifact


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """max |found - expected| / max |expected|; infinite when `found` is not finite."""
    if not np.all(np.isfinite(found)):
        return float("inf")
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def _check_parity(model: Classifier, artifact: Artifact, example: dict[str, np.ndarray] | None) -> None:
    precision = artifact.manifest.precision
    limit = MAX_RELATIVE_DIFFERENCE[precision]
    trials = {"random input": _random_inputs(model)} | ({"real input": example} if example else {})
    # The file as every runtime reads it, by its function bodies.
    runner = open_runner(artifact, "onnxruntime", options=RunnerOptions(plugin=None))
    try:
        for name, feeds in trials.items():
            with torch.no_grad():
                tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in feeds.items()}
                expected = model(tensors["input"], tensors.get("lengths")).numpy()
            difference = relative_difference(runner.run(feeds)["logits"], expected)
            if not difference <= limit:
                raise ExportError(
                    f"the exported file and PyTorch disagree on {name}",
                    expected=f"a relative difference of at most {limit:g}",
                    found=f"{difference:.3g}",
                    fix="look for non-finite or extreme parameters (dt, A) in the checkpoint"
                    + (", or export in fp32" if precision == "fp16" else ""),
                )
    finally:
        runner.close()


def _random_inputs(model: Classifier, batch: int = 2) -> dict[str, np.ndarray]:
    config, rng = model.config, np.random.default_rng(0)
    if config.vocab_size is not None:
        x = rng.integers(0, config.vocab_size, (batch, config.seq_len))
    else:
        x = rng.standard_normal((batch, config.seq_len, config.d_input or 0), np.float32)
    feeds = {"input": x}
    if config.padded:
        feeds["lengths"] = rng.integers(1, config.seq_len + 1, batch)
    return feeds
