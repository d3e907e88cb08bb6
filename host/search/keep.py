"""The end of a search: the kept models' files, their accuracy on the test split, and the family."""

from __future__ import annotations

from edge_s4op.artifact import write_artifact
from host.family import Family, Trial, write_family
from host.models.checkpoint import load_checkpoint, save_checkpoint
from host.models.classifier import Classifier
from host.models.surgery import compact
from host.search.context import Search
from host.search.folder import model_name
from host.search.latency import known_models
from host.search.progress import SearchProgress
from host.training.evaluate import evaluate

__all__ = ["finish"]


def finish(
    search: Search, trials: list[Trial], winners: list[Trial], *, complete: bool = True
) -> Family:
    """Write one folder per winner (the unpruned model first) and family.json, then drop the candidates.

    A search that stopped early (`complete` False) keeps its candidates, to be resumed, and has not looked at
    the test split yet.
    """
    kept: dict[tuple[str, int | None], Trial] = {}
    parent = None
    for number, winner in enumerate(winners, start=1):
        at = SearchProgress(winner.stage, winner.rate, winner.seed, number, len(winners), "test")
        trial, sha256 = _keep(search, winner, parent, tested=complete)
        kept[trial.stage, trial.seed] = trial
        parent = parent or sha256
        search.report(at, trial=trial)
    family = _family(search, [kept.get((trial.stage, trial.seed), trial) for trial in trials], complete)
    write_family(family, search.folder.path)
    if complete:
        search.folder.remove_candidates()
    return family


def _keep(search: Search, trial: Trial, parent: str | None, *, tested: bool) -> tuple[Trial, str]:
    masked, extra = load_checkpoint(search.weights(trial))
    model = compact(masked)
    accuracy = {"validation": trial.validation_accuracy or 0.0}
    if tested:
        accuracy["test"] = _test_accuracy(search, model)
    artifact = search.export(model, accuracy=accuracy, parent=parent)
    name = model_name(trial)
    folder = search.folder.model(name)
    pruning = {"stage": trial.stage, "rate": trial.rate, "seed": trial.seed, "accuracy": accuracy}
    save_checkpoint(folder, model, {**extra, "pruning": pruning})
    write_artifact(artifact, folder / "model.onnx")
    update = {"kept": True, "model": name, "test_accuracy": accuracy.get("test")}
    return trial.model_copy(update=update), artifact.sha256


def _test_accuracy(search: Search, model: Classifier) -> float:
    training = search.options.training
    return evaluate(
        model, search.dataset.test, batch_size=training.eval_batch_size, device=training.device
    ).accuracy


def _family(search: Search, trials: list[Trial], complete: bool) -> Family:
    model, _ = load_checkpoint(search.checkpoint_dir)
    names = [trial.model for trial in trials if trial.model is not None]
    return Family(
        model_kind=model.config.kind,
        dataset=search.dataset.name,
        config=model.config,
        options=search.options.model_dump(mode="json"),
        device=search.fleet.kinds[0].device,
        other_devices=tuple(kind.device for kind in search.fleet.kinds[1:]),
        latency_models=known_models(search),
        complete=complete,
        models={name: f"models/{name}" for name in names},
        trials=tuple(trials),
    )
