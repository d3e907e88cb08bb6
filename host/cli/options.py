"""Options that several commands share, and turning them into values with errors that name the option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from edge_s4op.errors import UsageError
from edge_s4op.messages import MeasurementSettings

__all__ = [
    "AgentUrl",
    "BackendName",
    "CheckpointArgument",
    "Json",
    "MaxDuration",
    "Precision",
    "Threads",
    "checked",
    "floats",
    "integers",
    "measurement_settings",
]

DEFAULT_AGENT = "http://127.0.0.1:8600"

AgentUrl = Annotated[str, typer.Option("--agent", help="Address of the device agent.", envvar="S4OP_AGENT")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend", help="What runs the model on the device: onnxruntime, tensorrt; default: the agent's."
    ),
]
Threads = Annotated[int, typer.Option(help="CPU threads the model runs on, on the device.")]
Precision = Annotated[
    float, typer.Option(help="Stop when the 95% interval of the median is within this share of it.")
]
MaxDuration = Annotated[float, typer.Option("--max-duration-ms", help="Stop measuring after this long.")]
CheckpointArgument = Annotated[
    Path, typer.Argument(help="Folder with model.safetensors and config.json, as `s4op train` writes it.")
]

# Settings whose options are not called as they are.
_OPTION_OF = {
    "fine_tuning.epochs": "--fine-tune-epochs",
    "fine_tuning.lr": "--fine-tune-lr",
    "fine_tuning.distill": "--distill",
    "fine_tuning.gradual": "--gradual",
    "cooldown_max_ms": "--cooldown-ms",
}

T = TypeVar("T", bound=BaseModel)


def checked(kind: Callable[..., T], values: dict[str, object]) -> T:
    """`kind(**values)`, with pydantic's complaint turned into a UsageError that names the option."""
    try:
        return kind(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        path = ".".join(str(part) for part in problem["loc"] if isinstance(part, str))
        option = _OPTION_OF.get(path, "--" + path.replace("_", "-")) if path else "options"
        message = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"{option}: {message}", found=repr(problem["input"])) from error


def measurement_settings(**values: object) -> MeasurementSettings:
    """How models are measured, from a command's options. Raises UsageError."""
    return checked(MeasurementSettings, values)


def floats(text: str, option: str) -> tuple[float, ...]:
    """ "0.3,0.5" -> (0.3, 0.5). Raises UsageError naming the part that is no number."""
    return tuple(_number(part, option, float) for part in text.split(","))


def integers(text: str, option: str) -> tuple[int, ...]:
    """ "7,42" -> (7, 42). Raises UsageError naming the part that is no whole number."""
    return tuple(_number(part, option, int) for part in text.split(","))


N = TypeVar("N", int, float)


def _number(text: str, option: str, kind: type[N]) -> N:
    try:
        return kind(text.strip())
    except ValueError as error:
        expected = "numbers" if kind is float else "whole numbers"
        raise UsageError(
            f"{option}: cannot read {text.strip()!r}", expected=f"{expected} separated by commas"
        ) from error
