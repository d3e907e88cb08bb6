"""The spec of a dataset, `KIND[:NAME][:KEY=VALUE,...]`, and its options checked against a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from edge_s4op.errors import UsageError
from host.data.values import OptionValue

__all__ = ["Spec", "checked_options", "parse_spec"]

_OPTIONS_START = re.compile(r"[A-Za-z_]\w*=")
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Spec:
    """A parsed spec; `str(spec)` is its canonical text."""

    kind: str
    name: str
    options: dict[str, OptionValue]

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return ":".join(part for part in (self.kind, self.name, options) if part)


def parse_spec(text: str, options: Mapping[str, OptionValue]) -> Spec:
    """Split `text`; the part after the last colon is options when it starts with `KEY=`.

    `options` are added to those in `text`. Raises UsageError for a malformed or repeated option.
    """
    kind, _, rest = text.partition(":")
    name, colon, last = rest.rpartition(":")
    if not _OPTIONS_START.match(last):
        name, last = f"{name}{colon}{last}", ""
    written = _options_from_text(text, last)
    if repeated := sorted(set(written) & set(options)):
        raise UsageError(f"dataset {text!r}: option {repeated[0]!r} is given twice", fix="give it once")
    return Spec(kind, name, {**written, **options})


def checked_options(kind: str, model: type[ModelT], given: Mapping[str, OptionValue]) -> ModelT:
    """`given` as a validated `model`. Raises UsageError, naming the option and what is allowed."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        where = f"dataset {kind!r}: option {key!r}" if key else f"dataset {kind!r}"
        message = "is not known" if problem["type"] == "extra_forbidden" else problem["msg"]
        raise UsageError(
            f"{where}: {message.removeprefix('Value error, ')}",
            expected=f"options {_allowed(model)}",
            found=f"{key}={problem['input']}" if key else None,
        ) from error


def _options_from_text(text: str, listed: str) -> dict[str, OptionValue]:
    options: dict[str, OptionValue] = {}
    for item in listed.split(",") if listed else []:
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"dataset {text!r}: malformed option {item!r}",
                expected="KEY=VALUE,KEY=VALUE,...",
                fix="for example listops:max_depth=5,max_length=500",
            )
        if key in options:
            raise UsageError(f"dataset {text!r}: option {key!r} is given twice", fix="give it once")
        options[key] = value
    return options


def _allowed(model: type[BaseModel]) -> str:
    return ", ".join(f"{name} (default {field.default!r})" for name, field in model.model_fields.items())
