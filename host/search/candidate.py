"""One trial: plan, measure the structure on the device, and only then pay for fine-tuning."""

from __future__ import annotations

import time

from edge_s4op.errors import S4opError
from host.family import Latency, Trial
from host.measuring import Measurement, key_of, measure_artifact
from host.models.checkpoint import load_checkpoint, save_checkpoint
from host.models.classifier import Classifier
from host.models.count import count_macs, count_parameters
from host.models.surgery import apply_plan
from host.pruning.allocators import ALLOCATORS, AllocationTask
from host.pruning.calibration import split_calibration
from host.pruning.criteria import CRITERIA, candidate_generator
from host.pruning.plan import PrunePlan, nested_plan
from host.pruning.schedules import stage_name
from host.search.context import Search
from host.search.progress import SearchProgress
from host.training.evaluate import Evaluation, evaluate
from host.training.loop import train

__all__ = ["run_candidate", "run_unpruned"]


def run_unpruned(search: Search, at: SearchProgress) -> Trial:
    """The trial every other is compared with: the model as it was trained, measured first."""
    start = time.perf_counter()
    model, _ = load_checkpoint(search.checkpoint_dir)
    measurement = _measured(search, model, at)
    training = search.options.training
    score = evaluate(
        model, search.dataset.validation, batch_size=training.eval_batch_size, device=training.device
    )
    trial = _trial(model, at, measurement, score, time.perf_counter() - start)
    return _finished(search, at, trial)


def run_candidate(search: Search, at: SearchProgress, parent: Trial) -> Trial:
    """Prune the parent's model as the candidate's seed says, measure it, fine-tune it, write it all down."""
    assert at.seed is not None
    start = time.perf_counter()
    model, extra = load_checkpoint(search.weights(parent.rate, parent.seed))
    apply_plan(model, _plan(search, model, parent.plan, at.rate, at.seed))
    measurement = _measured(search, model, at)
    spent_s = time.perf_counter() - start
    folder = search.folder.candidate(at.rate, at.seed)
    try:
        tuned = train(
            model,
            search.dataset,
            search.options.fine_tuning(at.seed),
            run_dir=folder / "fine-tuning",
            resume=True,
            on_progress=lambda progress: search.report(at, phase="fine-tune", training=progress),
        )
    except S4opError as error:
        if type(error) is not S4opError:  # a subclass is no property of this candidate: disk, data, ...
            raise
        return _finished(search, at, _diverged(_trial(model, at, measurement, None, spent_s), error))
    save_checkpoint(folder, model, extra)
    score = Evaluation(tuned.best_validation_accuracy, tuned.best_validation_loss)
    return _finished(search, at, _trial(model, at, measurement, score, spent_s + tuned.seconds))


def _plan(search: Search, model: Classifier, parent: PrunePlan, rate: float, seed: int) -> PrunePlan:
    options = search.options
    calibration = split_calibration(search.dataset.train, options.training.eval_batch_size)
    scores = CRITERIA.get(options.criterion)(model, calibration, candidate_generator(seed, rate))
    pruned = ALLOCATORS.get(options.allocator)(AllocationTask(rate, parent, tuple(scores)))
    return nested_plan(parent, pruned, scores)


def _measured(search: Search, model: Classifier, at: SearchProgress) -> Measurement:
    kept_counts = tuple(map(len, model.kept_operators()))
    settings, fingerprint = search.options.measurement, search.device.fingerprint
    key = key_of(model.config, kept_counts, fingerprint, settings)
    measurement = search.cache.get(key)
    phase = "reused"
    if measurement is None:
        phase = "measured"
        search.report(at, phase="export")
        artifact = search.export(model)
        measurement = measure_artifact(
            search.agent,
            artifact,
            settings,
            device_fingerprint=fingerprint,
            on_progress=lambda job: search.report(
                at, phase="measure", stage=job.stage, fraction=job.progress
            ),
        )
        search.cache.put(key, measurement)
    search.report(at, phase=phase, latency=_latency(measurement), error=measurement.error)
    return measurement


def _trial(
    model: Classifier, at: SearchProgress, measurement: Measurement, score: Evaluation | None, seconds: float
) -> Trial:
    kept = model.kept_operators()
    return Trial(
        stage=stage_name(at.rate),
        rate=at.rate,
        seed=at.seed,
        plan=PrunePlan((model.config.d_model,) * len(kept), kept),
        validation_accuracy=None if score is None else score.accuracy,
        validation_loss=None if score is None else score.loss,
        latency=_latency(measurement),
        parameters=count_parameters(model),
        macs=count_macs(model.config, kept),
        seconds=seconds,
        error=measurement.error,
    )


def _diverged(trial: Trial, error: S4opError) -> Trial:
    reasons = [reason for reason in (trial.error, str(error)) if reason]
    return trial.model_copy(update={"error": "; ".join(reasons)})


def _latency(measurement: Measurement) -> Latency | None:
    result = measurement.result
    if result is None:
        return None
    return Latency(
        p50_ms=result.latency_ms.median,
        p95_ms=result.latency_ms.p95,
        p50_interval_ms=result.latency_ms.median_interval,
        p95_interval_ms=result.latency_ms.p95_interval,
        confidence=result.request.confidence,
        iterations=result.iterations,
        stopped_by=result.stopped_by,
        backend=result.request.backend,
        backend_version=result.backend_version,
        threads=result.request.threads,
        batch=result.request.batch,
        device_fingerprint=result.device_fingerprint,
        measurement_id=measurement.job_id,
    )


def _finished(search: Search, at: SearchProgress, trial: Trial) -> Trial:
    search.folder.append_trial(trial)
    search.report(at, phase="finished", trial=trial)
    return trial
