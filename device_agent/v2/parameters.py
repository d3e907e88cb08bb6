"""The parameters of an inference request: those Triton defines, each with its type; no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from device_agent.v2.refusal import bad_request

__all__ = ["Parameters", "Sequence", "flag_of", "parameters_of"]

_MAX_UINT64 = 2**64 - 1
_MAX_ID_CHARACTERS = 128  # of a sequence, as Triton


@dataclass(frozen=True)
class Sequence:
    """Which sequence a request belongs to, and whether it is the first or the last of it."""

    identity: int | str
    start: bool
    end: bool


@dataclass(frozen=True)
class Parameters:
    """What a request asks for beside its tensors.

    `priority` 0 is the model's default, 1 the most urgent; `timeout_s` limits the time in the queue.
    """

    priority: int = 0
    timeout_s: float | None = None
    binary_data_output: bool = False
    sequence: Sequence | None = None


_DEFAULT = Parameters()


def parameters_of(request: Mapping[str, Any]) -> Parameters:
    """The request's parameters. Raises RequestError 400 for an unknown one, or one of a wrong type."""
    given = request.get("parameters")
    if given is None:
        return _DEFAULT
    if not isinstance(given, dict):
        raise bad_request("the request's parameters cannot be read", "an object 'parameters'", given)
    for key, value in given.items():
        _check(key, value)
    return Parameters(
        priority=given.get("priority", 0),
        timeout_s=given["timeout"] / 1e6 if given.get("timeout") else None,  # 0: the model's own
        binary_data_output=given.get("binary_data_output", False),
        sequence=_sequence_of(given),
    )


def flag_of(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    """A parameter that is true or false. Raises RequestError 400 for anything else."""
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise bad_request(f"the parameter {key!r} has the wrong type", "true or false", value)
    return value


def _check(key: str, value: object) -> None:
    if key not in _KNOWN:
        raise bad_request("the request has an unknown parameter", f"one of {', '.join(_KNOWN)}", key)
    fits, expected = _KNOWN[key]
    if not fits(value):
        raise bad_request(f"the parameter {key!r} has the wrong type", expected, value)


def _sequence_of(given: Mapping[str, Any]) -> Sequence | None:
    identity = given.get("sequence_id", 0)
    start, end = given.get("sequence_start", False), given.get("sequence_end", False)
    if identity not in (0, ""):
        return Sequence(identity, start, end)
    if start or end:
        raise bad_request("a sequence starts or ends without a sequence_id", "a sequence_id, not 0 or ''")
    return None


def _is_uint64(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_UINT64


def _is_identity(value: object) -> bool:
    return _is_uint64(value) or (isinstance(value, str) and len(value) <= _MAX_ID_CHARACTERS)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_KNOWN: dict[str, tuple[Callable[[object], bool], str]] = {
    "priority": (_is_uint64, "a whole number, 0 for the model's default, 1 the most urgent"),
    "timeout": (_is_uint64, "whole microseconds, 0 for the model's default"),
    "binary_data_output": (_is_bool, "true or false"),
    "sequence_id": (_is_identity, f"a whole number, or a string of at most {_MAX_ID_CHARACTERS} characters"),
    "sequence_start": (_is_bool, "true or false"),
    "sequence_end": (_is_bool, "true or false"),
}
