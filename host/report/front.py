"""The Pareto front: trials to which no other is preferable in both accuracy and latency."""

from __future__ import annotations

from collections.abc import Sequence

from host.family import Trial

__all__ = ["pareto_front"]


def pareto_front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The non-dominated trials by validation accuracy and measured p50, fastest first.

    A trial is dominated by another that is at least as accurate and at least as fast, and better in one of
    the two; equals stand together. Trials without a latency or a validation accuracy take no part.
    """
    front: list[Trial] = []
    best = (float("inf"), float("-inf"))  # p50 and accuracy of the front's last trial
    for p50_ms, worse, trial in sorted(_placed(trials), key=lambda placed: placed[:2]):
        if -worse > best[1] or (p50_ms, -worse) == best:
            best = (p50_ms, -worse)
            front.append(trial)
    return tuple(front)


def _placed(trials: Sequence[Trial]) -> list[tuple[float, float, Trial]]:
    """(p50 in ms, minus the validation accuracy, trial), so that the better ones of a latency sort first."""
    return [
        (trial.latency.p50_ms, -trial.validation_accuracy, trial)
        for trial in trials
        if trial.latency is not None and trial.validation_accuracy is not None
    ]
