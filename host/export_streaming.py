"""From a trained (and perhaps pruned) model to one verified ONNX file that takes samples as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge_s4op.artifact import Artifact, Preprocessing, Streaming, artifact_from_model
from edge_s4op.errors import ExportError, S4opError, UsageError
from edge_s4op.runtime import Array, open_runner
from edge_s4op.runtime.streaming import StreamModel, open_stream_model
from host.export import MAX_RELATIVE_DIFFERENCE, relative_difference
from host.manifest import manifest_of
from host.models import Classifier, compact, load_checkpoint
from host.provenance import provenance_of
from host.streaming_graph import streaming_inputs, streaming_model, streaming_outputs, streaming_states
from host.streaming_recurrence import step_macs

__all__ = ["export_streaming", "export_streaming_checkpoint"]

_SSM_FORM = {"s4d": "diagonal", "s4": "low_rank"}


def export_streaming(
    model: nn.Module,
    *,
    window: int | None = None,
    dataset_name: str | None = None,
    preprocessing: Preprocessing | None = None,
    class_labels: Sequence[str] = (),
    accuracy: dict[str, float] | None = None,
    parent: str | None = None,
    example: Sequence[np.ndarray] = (),
) -> Artifact:
    """Cut out what is masked, build the streaming file, and check it against PyTorch's whole sequences.

    The logits after a sample are of the mean over the last `window` samples; None: over all so far, which at
    the end of a sequence is what the offline file answers. `example` holds real sequences, (T, d_input) or
    tokens (T,), as the model takes them; random ones are always checked too. A padded model streams like any
    other: a sequence ends where its samples do.

    Raises UsageError for a model that is no Classifier, ExportError when ONNX Runtime's logits at the end
    of a sequence differ from PyTorch's by more than 1e-4 of the largest.
    """
    if type(model) is not Classifier:
        raise UsageError(
            f"a {type(model).__name__} cannot be exported for streaming",
            expected="a host.models.Classifier: causal layers, then a mean over the samples",
            fix="what a model of your own does between its layers may look at later samples: export it whole",
        )
    if window is not None and window < 1:
        raise UsageError("a window is of one or more samples", expected="window >= 1", found=window)
    small = compact(model).cpu().float().eval()
    manifest = manifest_of(
        small,
        inputs=streaming_inputs(small, window),
        outputs=streaming_outputs(small, window),
        macs=step_macs(small.config),
        streaming=_streaming(small, window),
        preprocessing=preprocessing or Preprocessing(),
        class_labels=tuple(class_labels),
        dataset=dataset_name,
        accuracy=accuracy or {},
        parent=parent,
    )
    artifact = artifact_from_model(streaming_model(small, window), manifest)
    _check_parity(small, artifact, example)
    return artifact


def export_streaming_checkpoint(
    folder: Path, *, window: int | None = None, check_on_data: bool = True
) -> Artifact:
    """The model in `folder` as a verified streaming file; `check_on_data` also compares it on real input.

    The checkpoint's accuracy is that of whole sequences: it goes into a file that pools all samples, not into
    one with a window shorter than a sequence.
    """
    model, extra = load_checkpoint(folder)
    provenance = provenance_of(extra, folder)
    accuracy = extra.get("pruning", {}).get("accuracy", provenance.accuracy)
    pools_all = window is None or window >= model.config.seq_len
    example: list[np.ndarray] = []
    if check_on_data:
        data = provenance.data.load().validation
        lengths = data.lengths if data.lengths is not None else [data.x.shape[1]] * 2
        example = [row[:length] for row, length in zip(data.x[:2], lengths, strict=False)]
    return export_streaming(
        model,
        window=window,
        dataset_name=provenance.data.spec,
        preprocessing=provenance.preprocessing,
        class_labels=provenance.class_labels,
        accuracy=accuracy if pools_all else {},
        example=example,
    )


def _streaming(model: Classifier, window: int | None) -> Streaming:
    return Streaming(
        states=streaming_states(model, window),
        pooling="running" if window is None else "sliding",
        window=window,
        ssm_form=_SSM_FORM[model.config.kind],  # type: ignore[arg-type]
    )


def _check_parity(model: Classifier, artifact: Artifact, example: Sequence[np.ndarray]) -> None:
    limit = MAX_RELATIVE_DIFFERENCE["fp32"]
    window = artifact.manifest.streaming.window if artifact.manifest.streaming else None
    trials = {"random input": _random_input(model)}
    trials |= {f"real input {index}": row[None] for index, row in enumerate(example)}
    runner = open_runner(artifact, "onnxruntime", threads=1)
    try:
        for name, x in trials.items():
            found = _streamed(open_stream_model(runner), x, name)
            difference = relative_difference(found, _expected(model, torch.from_numpy(x), window))
            if not difference <= limit:
                raise ExportError(
                    f"the streaming file and PyTorch disagree on {name}, at the end of {x.shape[1]} samples",
                    expected=f"a relative difference of at most {limit:g}",
                    found=f"{difference:.3g}",
                    fix="look for non-finite or extreme parameters (dt, A) in the checkpoint",
                )
    finally:
        runner.close()


@torch.no_grad()
def _expected(model: Classifier, x: Tensor, window: int | None) -> Array:
    """PyTorch's logits of the mean over the last `window` features of x, by convolutions over all of it."""
    if window is None:
        lengths = torch.full((len(x),), x.shape[1]) if model.config.padded else None
        logits: Array = model(x, lengths).numpy()
        return logits
    h = model.encoder(x).transpose(1, 2)
    for block in model.blocks:
        h = block(h)
    windowed: Array = model.head(h[..., -window:].mean(dim=-1)).numpy()
    return windowed


def _streamed(stream: StreamModel, x: Array, name: str) -> Array:
    """Logits after x (B, T, ...), pushed in parts such that every part of the file is run."""
    state, logits = stream.new_state(len(x)), np.empty(0, np.float32)
    try:
        for part in np.split(x, sorted({0, 1, 2, max(2, x.shape[1] - 1)}), axis=1):
            if part.shape[1]:
                logits, state = stream.push(state, np.ascontiguousarray(part))
    except S4opError as error:
        raise ExportError(f"the streaming file does not run on {name}: {error}") from error
    return logits


def _random_input(model: Classifier, batch: int = 2) -> Array:
    config, rng = model.config, np.random.default_rng(0)
    if config.vocab_size is not None:
        return rng.integers(0, config.vocab_size, (batch, config.seq_len))
    return rng.standard_normal((batch, config.seq_len, config.d_input or 0), np.float32)
