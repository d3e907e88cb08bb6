"""A user's own model as one verified model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edge_s4op import op
from edge_s4op.artifact import Artifact, Manifest, Preprocessing, TensorInfo, artifact_from_model
from edge_s4op.errors import ExportError, UsageError
from edge_s4op.runtime import RunnerOptions, open_runner
from host.compress.example import Example, example_inputs, shown
from host.compress.forms import node_kind
from host.compress.graph import finished, states_of
from host.compress.layers import LayerUse, checked_layers, cut, layer_uses, reference
from host.compress.trace import prepared, traced
from host.export import MAX_RELATIVE_DIFFERENCE, relative_difference
from host.models.count import operator_macs
from host.models.layer import SSMLayer, ssm_layers
from host.versions import git_commit, versions

__all__ = ["export"]


def export(
    model: nn.Module,
    example: Example,
    *,
    outputs: Sequence[str] = ("output",),
    vocab_size: Mapping[str, int] | None = None,
    preprocessing: Preprocessing | None = None,
    class_labels: Sequence[str] = (),
    dataset_name: str | None = None,
    accuracy: Mapping[str, float] | None = None,
    parent: str | None = None,
) -> Artifact:
    """Cut out what is masked, export to ONNX with one SSMConv node per call of an SSM layer, and check it.

    `example`: see `Example`; dimension 0 of every input and output is the batch, which stays dynamic, and
    the other dimensions are fixed. The model's outputs are a tensor, or a tuple of as many as `outputs`
    names. `vocab_size` says below what the integers of an input lie, by its name: what measures the file
    draws them (not for an input called "lengths": how many of the samples are real). The rest goes into the
    manifest. `model` stays as it is.

    The file's outputs must come within 1e-4 of PyTorch's, relative to the largest, on the example and on its
    first sample alone. Raises UsageError for a model without SSM layers and inputs or outputs that a file
    cannot have, ExportError when torch cannot trace the model or the two differ.
    """
    checked_layers(model)
    tensors = example_inputs(example)
    inputs = _input_infos(tensors, vocab_size or {})
    whole = reference(model)
    expected = _run(whole, tuple(tensors.values()), outputs)
    small = cut(whole)
    uses = layer_uses(small, tuple(tensors.values()))
    parameters = sum(parameter.numel() for parameter in small.parameters())
    layers = ssm_layers(small)
    graph = prepared(small, uses)
    infos = _output_infos(outputs, expected, _batch(tensors))
    proto = finished(traced(graph, tuple(tensors.values()), tuple(tensors), outputs), uses, infos)
    manifest = Manifest(
        inputs=inputs,
        outputs=infos,
        **_structure(proto, model, layers, uses),
        parameters=parameters,
        macs=_macs(graph, layers, uses, tensors),
        preprocessing=preprocessing or Preprocessing(),
        class_labels=tuple(class_labels),
        dataset=dataset_name,
        accuracy=dict(accuracy or {}),
        parent=parent,
        git_commit=git_commit(),
        versions=versions(),
    )
    artifact = artifact_from_model(proto, manifest)
    _check_parity(whole, artifact, tensors, outputs)
    return artifact


def _batch(tensors: Mapping[str, Tensor]) -> int:
    return len(next(iter(tensors.values())))


def _input_infos(tensors: Mapping[str, Tensor], vocab_size: Mapping[str, int]) -> tuple[TensorInfo, ...]:
    integers = {n for n, value in tensors.items() if value.dtype == torch.int64 and n != "lengths"}
    if set(vocab_size) != integers:
        raise UsageError(
            "vocab_size must say below what the integers of an input lie, for each such input",
            expected=f"sizes of {sorted(integers) or 'no input'}",
            found=f"{sorted(vocab_size) or 'none'}",
            fix="pass vocab_size={'name': size}; floating-point inputs have none",
        )
    return tuple(_info(name, value, vocab_size.get(name)) for name, value in tensors.items())


def _info(name: str, value: Tensor, vocab_size: int | None = None) -> TensorInfo:
    datatype = "FP32" if value.is_floating_point() else "INT64"
    return TensorInfo(name=name, datatype=datatype, shape=(-1, *value.shape[1:]), vocab_size=vocab_size)


@torch.no_grad()
def _run(model: nn.Module, args: Sequence[Tensor], outputs: Sequence[str]) -> tuple[Tensor, ...]:
    """The model's outputs, as many as there are names."""
    found = model(*args)
    found = (found,) if isinstance(found, Tensor) else found
    fits = isinstance(found, (tuple, list)) and all(isinstance(value, Tensor) for value in found)
    if not fits or len(found) != len(outputs):
        raise UsageError(
            f"the model's outputs are not the {len(outputs)} that were named",
            expected=f"a tensor, or a tuple of tensors, for {', '.join(outputs)}",
            found=[shown(v) for v in found] if isinstance(found, (tuple, list)) else type(found).__name__,
            fix="name every output, or wrap the model in one that returns tensors",
        )
    return tuple(found)


def _output_infos(names: Sequence[str], values: Sequence[Tensor], batch: int) -> tuple[TensorInfo, ...]:
    for name, value in zip(names, values, strict=True):
        if value.dtype not in (torch.float32, torch.int64) or not value.ndim or len(value) != batch:
            raise UsageError(
                f"output {name!r} is not one that a model file can have",
                expected=f"float32 or int64, one row for each of the {batch} samples",
                found=shown(value),
                fix="wrap the model in one that returns such outputs",
            )
    return tuple(_info(name, value) for name, value in zip(names, values, strict=True))


def _structure(
    proto: onnx.ModelProto, model: nn.Module, cut_layers: Mapping[str, SSMLayer], uses: Mapping[str, LayerUse]
) -> dict[str, object]:
    """What the manifest says of the SSM layers, one entry per SSMConv node, in the order of the graph."""
    used = [layer for path, layer in ssm_layers(model).items() if uses[path].calls]
    d_state, states = max(layer.d_state for layer in used), states_of(proto)
    nodes = filter(op.is_ssm_conv, proto.graph.node)
    return {
        "model_kind": "+".join(sorted({layer.kind for layer in used})),
        "d_model": max(layer.num_channels for path, layer in cut_layers.items() if uses[path].calls),
        "d_state": d_state,
        "seq_len": max(use.seq_len for use in uses.values()),
        "kept_operators": tuple(map(op.channels_of_node, nodes)),
        "states": None if set(states) == {d_state} else states,
    }


def _macs(
    graph: nn.Module,
    layers: Mapping[str, SSMLayer],
    uses: Mapping[str, LayerUse],
    tensors: Mapping[str, Tensor],
) -> int:
    """Multiply-accumulates of one sample: matrix products and convolutions as torch counts, and SSMs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        graph(*(value[:1] for value in tensors.values()))
    total = counter.get_total_flops() // 2
    used = {path: layer for path, layer in layers.items() if uses[path].calls}
    kind = node_kind(used.values())
    for path, layer in used.items():
        own = operator_macs(kind, layer.states(), uses[path].seq_len)
        total += uses[path].calls * len(layer.channels) * own
    return total


def _check_parity(
    model: nn.Module, artifact: Artifact, tensors: Mapping[str, Tensor], outputs: Sequence[str]
) -> None:
    limit = MAX_RELATIVE_DIFFERENCE["fp32"]
    trials = {"the example": dict(tensors), "one sample": {n: value[:1] for n, value in tensors.items()}}
    # The file as every runtime reads it, by its function bodies.
    runner = open_runner(artifact, "onnxruntime", options=RunnerOptions(plugin=None))
    try:
        for trial, feeds in trials.items():
            expected = _run(model, tuple(feeds.values()), outputs)
            found = _answer(runner.run, {name: value.numpy() for name, value in feeds.items()}, trial)
            for name, value in zip(outputs, expected, strict=True):
                difference = _difference(found[name], value.numpy())
                if not difference <= limit:
                    raise ExportError(
                        f"the exported file and PyTorch disagree on {trial}, output {name!r}",
                        expected=f"a relative difference of at most {limit:g}",
                        found=f"{difference:.3g}",
                        fix="look for non-finite parameters, and for Python numbers in forward that depend "
                        "on the input: tracing makes them constants",
                    )
    finally:
        runner.close()


def _answer(run, feeds: dict[str, np.ndarray], trial: str) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    try:
        return run(feeds)
    except Exception as error:
        raise ExportError(
            f"the exported file does not run on {trial}: {str(error).strip().splitlines()[0]}",
            fix="compute shapes from x.shape in forward: a batch size that is a constant fits one batch only",
        ) from error


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return relative_difference(found, expected) if found.shape == expected.shape else float("inf")
