"""One trial: what a planned candidate became after its fine-tuning, written down."""

from __future__ import annotations

import time

from edge_s4op.errors import S4opError
from host.family import Trial
from host.models.checkpoint import load_checkpoint, save_checkpoint
from host.models.classifier import Classifier
from host.models.count import count_macs, count_parameters
from host.models.surgery import compact_config
from host.pruning.plan import PrunePlan
from host.search.context import Search
from host.search.executor_task import TunedModel
from host.search.measuring import Measured, latency_of, measure_models
from host.search.planning import Planned
from host.search.progress import SearchProgress
from host.training.evaluate import Evaluation, evaluate

__all__ = ["finish_candidate", "run_unpruned"]


def run_unpruned(search: Search, at: SearchProgress) -> Trial:
    """The trial every other is compared with: the model as it was trained, measured first."""
    start = time.perf_counter()
    model, _ = load_checkpoint(search.checkpoint_dir)
    (measured,) = measure_models(search, [(model, at)])
    training = search.options.training
    score = evaluate(
        model, search.dataset.validation, batch_size=training.eval_batch_size, device=training.device
    )
    full = PrunePlan.full((model.config.d_model,) * model.config.depth)
    trial = _trial(at, model, full, measured, score, time.perf_counter() - start)
    return _finished(search, at, trial)


def finish_candidate(search: Search, planned: Planned, outcome: TunedModel | S4opError) -> Trial:
    """Save a fine-tuned candidate, or what stopped its fine-tuning, and log its trial.

    A training that diverged is a property of the candidate; any other error is raised.
    """
    at = planned.at
    assert at.seed is not None
    if isinstance(outcome, S4opError):
        if type(outcome) is not S4opError:  # a subclass is no property of this candidate: disk, data, ...
            raise outcome
        trial = _of_plan(planned, planned.model, None, planned.seconds)
        return _finished(search, at, _diverged(trial, outcome))
    model = outcome.restore()
    save_checkpoint(search.folder.candidate(at.target, at.seed), model, planned.extra)
    result = outcome.result
    score = Evaluation(result.best_validation_accuracy, result.best_validation_loss)
    seconds = planned.seconds + result.seconds
    return _finished(search, at, _of_plan(planned, model, score, seconds))


def _of_plan(
    planned: Planned, model: Classifier, score: Evaluation | None, seconds: float
) -> Trial:
    trial = _trial(planned.at, model, planned.plan, planned.measured, score, seconds)
    if planned.predicted_ms is None:
        return trial
    update = {
        "rate": planned.plan.ratio,
        "budget_ms": planned.budget_ms,
        "predicted_ms": planned.predicted_ms,
    }
    return trial.model_copy(update=update)


def _trial(
    at: SearchProgress,
    model: Classifier,
    plan: PrunePlan,
    measured: Measured,
    score: Evaluation | None,
    seconds: float,
) -> Trial:
    config = compact_config(model)
    first, *others = measured
    errors = [measurement.error for measurement in measured if measurement.error]
    return Trial(
        stage=at.target,
        rate=at.rate,
        seed=at.seed,
        plan=plan,
        validation_accuracy=None if score is None else score.accuracy,
        validation_loss=None if score is None else score.loss,
        latency=latency_of(first),
        other_latencies=tuple(map(latency_of, others)),
        features=config.features,
        states=config.states,
        parameters=count_parameters(model),
        macs=count_macs(config, config.kept_operators()),
        seconds=seconds,
        error="; ".join(errors) or None,
    )


def _diverged(trial: Trial, error: S4opError) -> Trial:
    reasons = [reason for reason in (trial.error, str(error)) if reason]
    return trial.model_copy(update={"error": "; ".join(reasons)})


def _finished(search: Search, at: SearchProgress, trial: Trial) -> Trial:
    search.folder.append_trial(trial)
    search.report(at, phase="finished", trial=trial)
    return trial
