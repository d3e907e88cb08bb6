"""The model file: ONNX with a JSON manifest in its metadata; hash, read, verify, write.

Specification. An artifact is one ONNX file (no external data) whose `metadata_props` hold, under
the key `s4op.manifest`, a UTF-8 JSON object that validates as `Manifest`. Its name on disk and on
the wire is the hex SHA-256 of its bytes. The manifest holds no clock, so that the same model
exported twice by the same versions has the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnx.shape_inference
from google.protobuf.message import DecodeError, Message
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_s4op import op
from edge_s4op.errors import CorruptArtifactError, HashMismatchError
from edge_s4op.files import write_bytes

__all__ = [
    "MANIFEST_KEY",
    "Artifact",
    "Datatype",
    "Manifest",
    "Precision",
    "Preprocessing",
    "StateInfo",
    "Streaming",
    "TensorInfo",
    "artifact_from_bytes",
    "artifact_from_model",
    "read_artifact",
    "sha256_of",
    "write_artifact",
]

MANIFEST_KEY = "s4op.manifest"
SCHEMA_VERSION = 1

Datatype = Literal["FP32", "FP16", "INT64"]
Precision = Literal["fp32", "fp16"]
# What onnx raises on bytes that are no valid model: protobuf, checker, shape inference, conversions.
_UNREADABLE = (
    DecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,
    RuntimeError,
)
_DATATYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.INT64: "INT64",
}


class _Value(BaseModel):
    # No NaN: it is written as null, which no reader would take for a number.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorInfo(_Value):
    """One input or output: `shape` has -1 for the batch; tokens lie in [0, `vocab_size`)."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    vocab_size: int | None = None


class Preprocessing(_Value):
    """What was done to raw samples before the model saw them: (x - mean) / std per input channel.

    `mean` and `std` have one number per input channel, from the training split; empty for tokens.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class StateInfo(_Value):
    """What a stream carries from one run to the next: output `name_out` is input `name_in` of the next.

    `shape` has -1 for the batch; a new stream's is all zeros.
    """

    name_in: str
    name_out: str
    shape: tuple[int, ...]
    datatype: Datatype


class Streaming(_Value):
    """How a file takes samples as they come, [B, T, channels] of any T >= 1, with its state beside them.

    The logits are of the mean over every sample so far ("running") or over the last `window` ("sliding").
    """

    states: tuple[StateInfo, ...] = Field(min_length=1)
    pooling: Literal["running", "sliding"]
    window: int | None = Field(default=None, ge=1, description="samples that are pooled; null: all so far")
    ssm_form: Literal["diagonal", "low_rank"] = Field(
        description="of the recurrence: diagonal (S4D), or diagonal plus rank one (S4)"
    )

    @model_validator(mode="after")
    def _check(self) -> Streaming:
        if (self.pooling == "sliding") != (self.window is not None):
            raise ValueError("window belongs to sliding pooling, and sliding pooling to a window")
        return self


class Manifest(_Value):
    """What a model file says about itself."""

    schema_version: Literal[1] = 1
    model_kind: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    d_model: int
    d_state: int
    seq_len: int
    kept_operators: tuple[tuple[int, ...], ...] = Field(
        description="per layer, ascending, among the d_model channels of the file"
    )
    states: tuple[int, ...] | None = Field(
        default=None, description="real states per operator of each layer; null: d_state everywhere"
    )
    features: tuple[int, ...] | None = Field(
        default=None, description="what the d_model channels are called in the unpruned model; null: all"
    )
    precision: Precision = Field(default="fp32", description="of activations and large weights")
    parameters: int
    macs: int = Field(description="multiply-accumulates of one inference, as exported")
    streaming: Streaming | None = Field(
        default=None, description="how the file takes samples as they come; null: it takes whole sequences"
    )
    preprocessing: Preprocessing = Preprocessing()
    class_labels: tuple[str, ...] = ()
    dataset: str | None = None
    accuracy: dict[str, float] = {}
    parent: str | None = Field(default=None, description="SHA-256 of the unpruned model's file")
    git_commit: str | None = None
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class Artifact:
    """A verified model file in memory: its bytes, their SHA-256 and the manifest inside."""

    content: bytes
    sha256: str
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        return len(self.content)


def sha256_of(content: bytes) -> str:
    """Hex SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def artifact_from_model(model: onnx.ModelProto, manifest: Manifest) -> Artifact:
    """Put `manifest` into a copy of `model` and verify the result as a reader would."""
    stamped = onnx.ModelProto()
    stamped.CopyFrom(model)
    kept = [(p.key, p.value) for p in model.metadata_props if p.key != MANIFEST_KEY]
    del stamped.metadata_props[:]
    # Versions that know no streaming refuse unknown fields: files that have none stay readable for them.
    text = manifest.model_dump_json(exclude=None if manifest.streaming else {"streaming"})
    onnx.helper.set_model_props(stamped, dict(kept) | {MANIFEST_KEY: text})
    return artifact_from_bytes(stamped.SerializeToString(deterministic=True), "the exported model")


def artifact_from_bytes(content: bytes, where: str, sha256: str | None = None) -> Artifact:
    """Verify `content` and return it as an Artifact; `where` names it in errors.

    Raises HashMismatchError when `sha256` is given and differs, CorruptArtifactError when the bytes
    are not an ONNX file with our manifest, or when graph and manifest contradict each other.
    """
    found = sha256_of(content)
    if sha256 is not None and sha256 != found:
        raise HashMismatchError(
            f"{where}: the content does not match its hash",
            expected=f"sha256 {sha256}",
            found=found,
            fix="send or export the file again",
        )
    model = _model_from_bytes(content, where)
    manifest = _manifest_of(model, where)
    _check_interface(model, manifest, where)
    _check_operators(model, manifest, where)
    _check_states(model, manifest, where)
    _check_streaming(manifest, where)
    _check_precision(model, manifest, where)
    return Artifact(content, found, manifest)


def read_artifact(path: Path, sha256: str | None = None) -> Artifact:
    """Read and verify an artifact from disk. Raises as `artifact_from_bytes` does."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CorruptArtifactError(
            f"{path}: cannot be read: {error.strerror or error}",
            fix="check the path; `s4op export` writes such a file",
        ) from error
    return artifact_from_bytes(content, str(path), sha256)


def write_artifact(artifact: Artifact, path: Path) -> None:
    """Write an artifact, all or nothing. Raises StorageError."""
    write_bytes(path, artifact.content)


def _model_from_bytes(content: bytes, where: str) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(content, full_check=True)
    except _UNREADABLE as error:
        first_line = str(error).strip().split("\n")[0]
        raise CorruptArtifactError(
            f"{where}: not a valid ONNX file ({len(content)} bytes): {first_line}",
            fix="the file is corrupt or truncated: export or copy it again",
        ) from error
    if _has_external_data(model):
        raise CorruptArtifactError(
            f"{where}: the ONNX file takes tensors from other files",
            expected="every tensor inside the file",
            fix="save it with onnx.save_model(..., save_as_external_data=False)",
        )
    return model


def _has_external_data(message: Message) -> bool:
    """Whether any tensor lies outside the file: a runtime would read it from wherever it was started."""
    if isinstance(message, onnx.TensorProto):
        return bool(message.data_location == onnx.TensorProto.EXTERNAL)
    values = (value for field, value in message.ListFields() if field.message_type is not None)
    parts = ([value] if isinstance(value, Message) else value for value in values)
    return any(_has_external_data(part) for some in parts for part in some)


def _manifest_of(model: onnx.ModelProto, where: str) -> Manifest:
    texts = [p.value for p in model.metadata_props if p.key == MANIFEST_KEY]
    if len(texts) != 1:
        raise CorruptArtifactError(
            f"{where}: the ONNX file carries no s4op manifest",
            expected=f"one metadata entry {MANIFEST_KEY!r}",
            found=len(texts),
            fix="export the model with `s4op export`",
        )
    try:
        return Manifest.model_validate_json(texts[0])
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "manifest"
        raise CorruptArtifactError(
            f"{where}: the manifest is not valid at {place}: {problem['msg']}",
            expected=f"schema version {SCHEMA_VERSION}",
            fix="export the model again with this version",
        ) from error


def _check_interface(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    for side, values, infos in (
        ("input", inputs, manifest.inputs),
        ("output", list(model.graph.output), manifest.outputs),
    ):
        found = [_described(value) for value in values]
        expected = [f"{info.name}:{info.datatype}{list(info.shape)}" for info in infos]
        if found != expected:
            raise CorruptArtifactError(
                f"{where}: the graph's {side}s are not the manifest's",
                expected=f"{len(expected)} {side}(s) {', '.join(expected)}",
                found=f"{len(found)}: {', '.join(found) or 'none'}",
                fix="the file was changed after export: export it again",
            )


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    return f"{value.name}:{_DATATYPES.get(tensor.elem_type, tensor.elem_type)}{shape}"


def _check_operators(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    found = [op.channels_of_node(node) for node in model.graph.node if op.is_ssm_conv(node)]
    listed = () if manifest.streaming else manifest.kept_operators  # a recurrence is standard operators
    if found != [tuple(channels) for channels in listed]:
        raise CorruptArtifactError(
            f"{where}: the SSMConv nodes are not those the manifest lists",
            expected=f"kept counts {[len(c) for c in listed]}",
            found=f"{[len(c) for c in found]}",
            fix="the file was changed after export: export it again",
        )
    counts = sorted(len(op.INPUTS) + len(form) for form in op.STATE_INPUTS.values())
    for node in filter(op.is_ssm_conv, model.graph.node):
        if len(node.input) not in counts or "" in node.input:  # "" stands for an input left out
            raise CorruptArtifactError(
                f"{where}: the SSMConv node {node.name!r} lacks inputs, or has too many",
                expected=f"{' or '.join(map(str, counts))} names: x, k, d and the state form",
                found=list(node.input),
                fix="the file was changed after export: export it again",
            )


def _check_states(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    if manifest.states is None or manifest.streaming:
        return
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    found = [_states_of(node, sizes) for node in model.graph.node if op.is_ssm_conv(node)]
    if found != list(manifest.states):
        raise CorruptArtifactError(
            f"{where}: the SSMConv nodes have not the states the manifest lists",
            expected=f"{list(manifest.states)} per layer",
            found=f"{found}",
            fix="the file was changed after export: export it again",
        )


def _check_streaming(manifest: Manifest, where: str) -> None:
    """Every state of a stream goes in and comes out, in one shape and type."""
    if manifest.streaming is None:
        return
    for state in manifest.streaming.states:
        for name, side, infos in (
            (state.name_in, "input", manifest.inputs),
            (state.name_out, "output", manifest.outputs),
        ):
            found = [(info.datatype, info.shape) for info in infos if info.name == name]
            if found != [(state.datatype, state.shape)]:
                raise CorruptArtifactError(
                    f"{where}: the stream's state {state.name_in!r} is no such {side}",
                    expected=f"{side} {name!r}: {state.datatype} {list(state.shape)}",
                    found=", ".join(f"{datatype} {list(shape)}" for datatype, shape in found) or "none",
                    fix="the file was changed after export: export it again",
                )


def _states_of(node: onnx.NodeProto, sizes: Mapping[str, Sequence[int]]) -> int:
    """Real states per operator, by the shape of the node's state form: poles [Hk, M, 2] or a [Hk, N, N]."""
    shape = sizes.get(node.input[len(op.INPUTS)], ()) if len(node.input) > len(op.INPUTS) else ()
    pairs = len(node.input) == len(op.INPUTS) + len(op.STATE_INPUTS["s4d"])
    return shape[1] * (2 if pairs else 1) if len(shape) == 3 else 0


def _check_precision(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    halves = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    if halves != (manifest.precision == "fp16"):
        raise CorruptArtifactError(
            f"{where}: the weights are not of the precision the manifest says",
            expected=f"{manifest.precision}, {'some' if manifest.precision == 'fp16' else 'no'} FP16 weights",
            found="some" if halves else "none",
            fix="the file was changed after export: export it again",
        )
