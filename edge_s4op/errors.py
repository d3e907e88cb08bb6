"""Every error this project raises on purpose, in one tree.

    S4opError
    |-- UsageError                 the request itself is wrong: the command line exits with 2
    |   `-- UnknownNameError       a name that is not registered (near names are offered)
    |-- BudgetError                no model fits the latency budget
    |-- DataError                  a dataset is missing, malformed or does not fit the model
    |-- CheckpointError            a checkpoint is missing, torn or belongs to another model
    |-- ExportError                the exported file does not compute what the model computes
    |-- StorageError               a file could not be written (disk full, permission, ...)
    |-- ArtifactError              a model file cannot be used
    |   |-- CorruptArtifactError   not a readable ONNX file of ours
    |   `-- HashMismatchError      the bytes are not the bytes that were named
    |-- AgentError                 the device agent could not do what was asked
    |   |-- AgentUnreachableError  no answer at that address (or the connection was lost for good)
    |   |-- AgentProtocolError     something answers there, but it is not a device agent
    |   `-- AgentRefusedError      the agent answered with an error status
    |-- MeasurementError           a measurement ran and failed
    |-- CertificateError           a certificate that cannot be read, or does not hold
    |-- BuildError                 an engine could not be built from a model file
    `-- InferenceError             an inference request that cannot be served
        |-- BadInferenceInputError wrong name, shape or dtype (HTTP 400)
        `-- UnknownModelError      no such model is being served (HTTP 404)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from decimal import ROUND_CEILING, Context

__all__ = [
    "AgentError",
    "AgentProtocolError",
    "AgentRefusedError",
    "AgentUnreachableError",
    "ArtifactError",
    "BadInferenceInputError",
    "BudgetError",
    "BuildError",
    "CertificateError",
    "CheckpointError",
    "CorruptArtifactError",
    "DataError",
    "ExportError",
    "HashMismatchError",
    "InferenceError",
    "MeasurementError",
    "S4opError",
    "StorageError",
    "UnknownModelError",
    "UnknownNameError",
    "UsageError",
]


class S4opError(Exception):
    """An expected failure, told in one line: what and where, then expected, found and fix.

    `str(error)` is the whole line; the parts stay readable as attributes.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object | None = None,
        found: object | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.expected, self.found, self.fix = what, expected, found, fix
        super().__init__(_sentence(what, expected, found, fix))


class UsageError(S4opError):
    """The request is wrong in itself (bad option, bad value, bad combination)."""


class UnknownNameError(UsageError):
    """A name nobody registered; `near` holds the closest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self.near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(self.near)}?" if self.near else None
        shown = ", ".join(names) if len(names) <= 20 else ", ".join(names[:20]) + ", ..."
        expected = None if self.near and len(names) > 20 else f"one of {shown}"
        super().__init__(f"unknown {kind} {name!r}", expected=expected, fix=hint)


class BudgetError(S4opError):
    """No measured model fits the budget; `smallest` is the smallest cost reached, in the budget's unit."""

    def __init__(
        self,
        budget: float,
        smallest: float,
        *,
        unit: str = "ms",
        why: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.budget, self.smallest, self.unit = budget, smallest, unit
        super().__init__(
            f"no model of this family fits a budget of {budget:g} {unit}",
            expected=f"a budget of at least {_rounded_up(smallest)} {unit}, the smallest reached"
            + (f" ({why})" if why else ""),
            found=f"{budget:g} {unit}",
            fix=fix or "raise the budget, prune at higher rates, or use a smaller model",
        )


class DataError(S4opError):
    """A dataset is missing, malformed, or does not fit the model."""


class CheckpointError(S4opError):
    """A checkpoint is missing, torn, or belongs to another model."""


class ExportError(S4opError):
    """The exported file does not compute what the model computes."""


class StorageError(S4opError):
    """A file could not be written; nothing was left half-written."""


class ArtifactError(S4opError):
    """A model file cannot be used."""


class CorruptArtifactError(ArtifactError):
    """Not a readable ONNX file with our manifest, or one that contradicts its manifest."""


class HashMismatchError(ArtifactError):
    """The SHA-256 of the bytes differs from the one they were announced under."""


class AgentError(S4opError):
    """The device agent could not do what was asked."""


class AgentUnreachableError(AgentError):
    """No answer at the agent's address, or the connection was lost and did not come back."""


class AgentProtocolError(AgentError):
    """Something answers at the address, but not as a device agent does."""


class AgentRefusedError(AgentError):
    """The agent answered with an error status (`status_code`)."""

    def __init__(self, what: str, *, status_code: int, fix: str | None = None) -> None:
        self.status_code = status_code
        super().__init__(what, fix=fix)


class MeasurementError(S4opError):
    """A measurement was started and failed; there is no number."""


class CertificateError(S4opError):
    """A text is no certificate that this version can read, or what it says does not hold."""


class BuildError(S4opError):
    """No engine was built; the process that asked goes on.

    `reason` is one of REASONS; `log` holds the builder's last lines, oldest first.
    """

    REASONS = ("refused", "timeout", "memory", "crashed", "cancelled")

    def __init__(
        self,
        what: str,
        *,
        reason: str,
        log: Iterable[str] = (),
        expected: object | None = None,
        found: object | None = None,
        fix: str | None = None,
    ) -> None:
        if reason not in self.REASONS:
            raise ValueError(f"reason must be one of {self.REASONS}, found {reason!r}")
        self.reason, self.log = reason, tuple(log)
        super().__init__(what, expected=expected, found=found, fix=fix)


class InferenceError(S4opError):
    """An inference request that cannot be served."""


class BadInferenceInputError(InferenceError):
    """An input has the wrong name, shape or dtype."""


class UnknownModelError(InferenceError):
    """No model of that name is being served."""


def _rounded_up(value: float) -> str:
    """Four digits that are not below `value`: a budget of that many ms is enough."""
    rounded = Context(prec=4, rounding=ROUND_CEILING).create_decimal(repr(value))
    return f"{rounded.normalize():f}"


def _sentence(what: str, expected: object, found: object, fix: str | None) -> str:
    parts = [what]
    if expected is not None:
        parts.append(f"expected {expected}")
    if found is not None:
        parts.append(f"found {found}")
    if fix is not None:
        parts.append(fix)
    return "; ".join(parts)
