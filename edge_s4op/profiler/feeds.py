"""What a measurement feeds its model, after checking that the model can be measured so."""

from __future__ import annotations

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import MeasurementRequest
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.protocol import Array, Runner, TimedRunner

__all__ = ["feeds_of"]

_SEED = 0


def feeds_of(runner: Runner, request: MeasurementRequest) -> dict[str, Array]:
    """Seeded random input of `request.batch` sequences. Raises MeasurementError."""
    if request.backend not in (None, runner.backend):
        raise MeasurementError(
            "the runner is not of the backend to measure", expected=request.backend, found=runner.backend
        )
    if not request.transfers and not isinstance(runner, TimedRunner):
        raise MeasurementError(
            f"the backend {runner.backend!r} cannot leave transfers out: it copies nothing to a device",
            fix="measure with transfers",
        )
    try:
        feeds = random_feeds(runner.manifest, request.batch, _SEED)
    except Exception as error:  # no vocabulary, or no memory for that batch
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MeasurementError(f"cannot make input for batch {request.batch}: {reason}") from error
    _check_batch(feeds, request.batch)
    return feeds


def _check_batch(feeds: dict[str, Array], batch: int) -> None:
    for name, feed in feeds.items():
        if feed.ndim == 0 or feed.shape[0] != batch:
            raise MeasurementError(
                f"input {name!r} has a fixed shape",
                expected=f"a batch of {batch}",
                found=list(feed.shape),
                fix="measure with the model's own batch",
            )
