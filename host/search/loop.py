"""The search: per rate a few candidates, each measured before it is trained; the best seeds the next rate."""

from __future__ import annotations

from pathlib import Path

from edge_s4op.artifact import sha256_of
from edge_s4op.client import AgentClient
from edge_s4op.errors import S4opError, UsageError
from edge_s4op.messages import DeviceFacts
from host.data.dataset import Dataset
from host.family import Family, Trial, read_family
from host.measuring import MeasurementCache
from host.models.checkpoint import load_checkpoint
from host.models.classifier import Classifier
from host.pruning.allocators import ALLOCATORS
from host.pruning.criteria import CRITERIA
from host.pruning.plan import PrunePlan
from host.pruning.schedules import SCHEDULES, Stage
from host.search.candidate import run_candidate, run_unpruned
from host.search.context import Search
from host.search.folder import open_folder
from host.search.keep import finish
from host.search.options import PruneOptions
from host.search.progress import OnProgress, SearchProgress
from host.training.checks import check_dataset, check_split
from host.training.config import resolve_device
from host.training.identity import run_identity

__all__ = ["prune_search"]

_Finished = dict[tuple[float, int | None], Trial]


def prune_search(
    checkpoint_dir: Path,
    dataset: Dataset,
    agent: AgentClient,
    options: PruneOptions,
    run_dir: Path,
    *,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> Family:
    """Prune the model in `checkpoint_dir` rate by rate and leave a family of models in `run_dir`.

    Every finished trial is on disk; `resume=True` continues a search that was killed at any point (or
    begins, if there is none) and ends in the same family. The test split is looked at once, at the end, for
    the models kept. A latency that cannot be measured is an error in its trial, and the search goes on.

    Raises UsageError (UnknownNameError) for bad rates, names or a folder in use, CheckpointError, DataError,
    ExportError, StorageError, AgentError when the agent is lost or refuses, and S4opError when no
    candidate of a rate can be trained.
    """
    stages = _stages(options)
    model = _unpruned_model(checkpoint_dir, dataset)
    device = agent.device()
    options = _on_a_named_backend(options, device)
    folder = open_folder(Path(run_dir), _identity(model, dataset, options, device), resume=resume)
    search = Search(
        checkpoint_dir=Path(checkpoint_dir),
        dataset=dataset,
        agent=agent,
        options=options,
        stages=stages,
        device=device,
        folder=folder,
        cache=MeasurementCache(folder.measurements),
        on_progress=on_progress or _ignore,
    )
    return read_family(folder.family) if folder.family.exists() else _searched(search)


def _searched(search: Search) -> Family:
    done = {(trial.rate, trial.seed): trial for trial in search.folder.read_trials()}
    unpruned = _unpruned(search, done)
    winners = {0.0: unpruned}
    trials = [unpruned]
    for stage in search.stages:
        candidates = _candidates(search, stage, winners[stage.parent_rate], done)
        winner = winners[stage.rate] = _best(stage.rate, candidates)
        search.folder.remove_candidates(stage.rate, but=search.weights(winner.rate, winner.seed))
        trials += candidates
    return finish(search, trials, list(winners.values()))


def _unpruned(search: Search, done: _Finished) -> Trial:
    at = SearchProgress(rate=0.0, seed=None, candidate=1, candidates=1, phase="export")
    if (0.0, None) in done:
        return _skipped(search, at, done[0.0, None])
    return run_unpruned(search, at)


def _candidates(search: Search, stage: Stage, parent: Trial, done: _Finished) -> list[Trial]:
    seeds = search.options.candidate_seeds()
    trials = []
    for number, seed in enumerate(seeds, start=1):
        at = SearchProgress(stage.rate, seed, number, len(seeds), "export")
        known = done.get((stage.rate, seed))
        trials.append(_skipped(search, at, known) if known else run_candidate(search, at, parent))
    return trials


def _skipped(search: Search, at: SearchProgress, trial: Trial) -> Trial:
    search.report(at, phase="skipped", trial=trial)
    return trial


def _best(rate: float, trials: list[Trial]) -> Trial:
    """Highest validation accuracy; of equals the lowest validation loss, then the first."""
    trained = [trial for trial in trials if trial.validation_accuracy is not None]
    if not trained:
        raise S4opError(
            f"no candidate at rate {rate:g} could be fine-tuned: {trials[0].error}",
            fix="search again into another folder with a lower fine-tuning rate",
        )
    return max(trained, key=lambda t: (t.validation_accuracy or 0.0, -(t.validation_loss or 0.0)))


def _stages(options: PruneOptions) -> tuple[Stage, ...]:
    """The schedule's stages; also checks every name, before anything is paid for."""
    CRITERIA.get(options.criterion)
    ALLOCATORS.get(options.allocator)
    return tuple(SCHEDULES.get(options.schedule)(options.rates))


def _on_a_named_backend(options: PruneOptions, device: DeviceFacts) -> PruneOptions:
    """Latencies of two backends do not compare: the agent's default must not change between two runs."""
    backend = options.measurement.backend or device.default_backend
    measurement = options.measurement.model_copy(update={"backend": backend})
    return options.model_copy(update={"measurement": measurement})


def _unpruned_model(checkpoint_dir: Path, dataset: Dataset) -> Classifier:
    model, _ = load_checkpoint(checkpoint_dir)
    full = PrunePlan.full((model.config.d_model,) * model.config.depth)
    if model.kept_operators() != full.kept:
        raise UsageError(
            f"{checkpoint_dir}: the model is pruned already",
            expected=f"all of its {model.config.d_model} operators in each of {model.config.depth} layers",
            found=f"kept {[len(layer) for layer in model.kept_operators()]}",
            fix="start from the unpruned model: a search prunes to all its rates in one run",
        )
    check_dataset(model.config, dataset)
    check_split(model.config, dataset.test, f"dataset {dataset.name}, test split")
    return model


def _identity(
    model: Classifier, dataset: Dataset, options: PruneOptions, device: DeviceFacts
) -> dict[str, object]:
    """What must be the same for a search to be continued; latencies of two devices do not compare."""
    training = options.training
    place = resolve_device(training.device, amp=training.amp)
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return {
        **run_identity(model, dataset, training, place),
        "options": options.model_dump(mode="json", exclude={"training"}),
        "weights_sha256": sha256_of(weights),
        "device_fingerprint": device.fingerprint,
    }


def _ignore(_: SearchProgress) -> None:
    return None
