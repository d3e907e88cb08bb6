"""The search: per stage a few candidates, each measured before it is trained; the best is the next parent."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from edge_s4op.artifact import sha256_of
from edge_s4op.client import AgentClient
from edge_s4op.errors import S4opError, UsageError
from host.data.dataset import Dataset
from host.family import Family, Trial, read_family
from host.measuring import MeasurementCache
from host.models.checkpoint import load_checkpoint
from host.models.classifier import Classifier
from host.pruning.allocators import ALLOCATORS
from host.pruning.criteria import CRITERIA
from host.pruning.plan import PrunePlan
from host.pruning.schedules import UNPRUNED
from host.search.candidate import finish_candidate, run_unpruned
from host.search.context import Search
from host.search.executor import Executor, open_executor, usable_cores
from host.search.fleet import Fleet, Patience, locked, open_fleet
from host.search.folder import open_folder
from host.search.keep import finish
from host.search.options import PruneOptions
from host.search.placement import Placement
from host.search.planning import plan_candidates
from host.search.progress import OnProgress, SearchProgress
from host.search.stages import SearchStage, stages_of
from host.search.tuning import tuned
from host.training.checks import check_dataset, check_split
from host.training.config import resolve_device
from host.training.identity import run_identity

__all__ = ["prune_search"]

_Finished = dict[tuple[str, int | None], Trial]


def prune_search(
    checkpoint_dir: Path,
    dataset: Dataset,
    agents: AgentClient | Sequence[AgentClient],
    options: PruneOptions,
    run_dir: Path,
    *,
    placement: Placement | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> Family:
    """Prune the model in `checkpoint_dir` stage by stage and leave a family of models in `run_dir`.

    Every finished trial is on disk; `resume=True` continues a search that was killed at any point (or
    begins, if there is none) and ends in the same family. Ctrl-C leaves a family of what is finished, marked
    incomplete. The test split is looked at once, at the end, for the models kept. A latency that cannot be
    measured is an error in its trial, and the search goes on. `placement` says where the work is done, which
    changes no result: executor, workers, agents of mixed kinds, how long a lost agent is waited for.

    Raises UsageError (UnknownNameError) for bad rates, budgets, names or a folder in use, or agents on
    different kinds of devices; BudgetError when no plan meets a budget (the stages before it are kept);
    CheckpointError, DataError, ExportError, StorageError, AgentError when an agent is lost for good or
    refuses, and S4opError when no candidate of a stage can be trained.
    """
    stages = _stages(options)
    place = placement or Placement()
    model = _unpruned_model(checkpoint_dir, dataset)
    report = locked(threading.RLock(), on_progress or _ignore)
    fleet = _fleet(agents, options, place, report)
    folder = open_folder(Path(run_dir), _identity(model, dataset, options, fleet), resume=resume)
    search = Search(
        checkpoint_dir=Path(checkpoint_dir),
        dataset=dataset,
        fleet=fleet,
        options=options,
        stages=stages,
        folder=folder,
        cache=MeasurementCache(folder.measurements),
        on_progress=report,
    )
    if folder.family.exists():
        family = read_family(folder.family)
        if family.complete:
            return family
    with open_executor(
        place.executor, dataset, workers=_workers(place, options), address=place.ray_address
    ) as executor:
        return _Course(search, executor).run()


class _Course:
    """The stages of one run as they are gone through: what is finished, and who won."""

    def __init__(self, search: Search, executor: Executor) -> None:
        self._search, self._executor = search, executor
        self._done: _Finished = {(t.stage, t.seed): t for t in search.folder.read_trials()}
        self._trials: list[Trial] = []
        self._winners: dict[str, Trial] = {}

    def run(self) -> Family:
        """All stages, then the family. What stops it early leaves a family of what there is."""
        try:
            self._winners[UNPRUNED] = self._unpruned()
            for stage in self._search.stages:
                self._winners[stage.name] = self._stage(stage)
        except BaseException:
            self._leave_what_there_is()
            raise
        return finish(self._search, self._trials, list(self._winners.values()))

    def _unpruned(self) -> Trial:
        at = SearchProgress(UNPRUNED, 0.0, None, candidate=1, candidates=1, phase="export")
        known = self._done.get((UNPRUNED, None))
        trial = run_unpruned(self._search, at) if known is None else self._skipped(at, known)
        self._trials.append(trial)
        return trial

    def _stage(self, stage: SearchStage) -> Trial:
        places = self._places(stage)
        open_places = [at for at in places if (stage.name, at.seed) not in self._done]
        for at in places:
            if at not in open_places:
                self._skipped(at, self._done[stage.name, at.seed])
        planned = plan_candidates(self._search, stage, self._winners[stage.parent], open_places)
        for candidate, outcome in tuned(self._search, self._executor, planned):
            trial = finish_candidate(self._search, candidate, outcome)
            self._done[stage.name, trial.seed] = trial
        candidates = [self._done[stage.name, at.seed] for at in places]
        self._trials += candidates
        winner = _best(stage, candidates)
        self._search.folder.remove_candidates(stage.name, but=self._search.weights(winner))
        return winner

    def _places(self, stage: SearchStage) -> list[SearchProgress]:
        seeds = self._search.options.candidate_seeds()
        return [
            SearchProgress(stage.name, stage.rate, seed, number, len(seeds), "export")
            for number, seed in enumerate(seeds, start=1)
        ]

    def _skipped(self, at: SearchProgress, trial: Trial) -> Trial:
        self._search.report(at, phase="skipped", trial=trial)
        return trial

    def _leave_what_there_is(self) -> None:
        """A family of the finished stages. A failure to write it must not hide why the search stopped."""
        if self._winners:
            try:
                finish(self._search, self._trials, list(self._winners.values()), complete=False)
            except S4opError as error:
                reason = f"no family was written: {error}"
                self._search.report(SearchProgress(UNPRUNED, 0.0, None, 1, 1, "finished", error=reason))


def _best(stage: SearchStage, trials: list[Trial]) -> Trial:
    """Highest validation accuracy; of equals the lowest validation loss, then the first."""
    trained = [trial for trial in trials if trial.validation_accuracy is not None]
    if not trained:
        raise S4opError(
            f"no candidate of stage {stage.name} could be fine-tuned: {trials[0].error}",
            fix="search again into another folder with a lower fine-tuning rate",
        )
    return max(trained, key=lambda t: (t.validation_accuracy or 0.0, -(t.validation_loss or 0.0)))


def _stages(options: PruneOptions) -> tuple[SearchStage, ...]:
    """The stages; also checks every name, before anything is paid for."""
    CRITERIA.get(options.criterion)
    ALLOCATORS.get(options.allocator)
    return stages_of(options)


def _fleet(
    agents: AgentClient | Sequence[AgentClient], options: PruneOptions, place: Placement, report: OnProgress
) -> Fleet:
    def waiting(reason: str) -> None:
        report(SearchProgress(UNPRUNED, 0.0, None, 1, 1, "waiting", error=reason))

    patience = Patience(place.agent_wait_s, place.ask_every_s, waiting)
    members = [agents] if isinstance(agents, AgentClient) else list(agents)
    return open_fleet(members, options.measurement, mixed=place.mixed_devices, patience=patience)


def _workers(place: Placement, options: PruneOptions) -> int:
    """No more workers than candidates: more would find nothing to do."""
    return min(place.workers or usable_cores(), options.candidates)


def _unpruned_model(checkpoint_dir: Path, dataset: Dataset) -> Classifier:
    model, _ = load_checkpoint(checkpoint_dir)
    full = PrunePlan.full((model.config.d_model,) * model.config.depth)
    if model.kept_operators() != full.kept or model.config.features is not None:
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
    model: Classifier, dataset: Dataset, options: PruneOptions, fleet: Fleet
) -> dict[str, object]:
    """What must be the same for a search to be continued; latencies of two devices do not compare."""
    training = options.training
    device = resolve_device(training.device, amp=training.amp)
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return {
        **run_identity(model, dataset, training, device),
        "options": options.model_dump(mode="json", exclude={"training"}),
        "weights_sha256": sha256_of(weights),
        "backends": [kind.settings.backend for kind in fleet.kinds],
        "device_fingerprint": [kind.device.fingerprint for kind in fleet.kinds],
    }


def _ignore(_: SearchProgress) -> None:
    return None
