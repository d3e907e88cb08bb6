"""The end of a search: the kept models' files, their accuracy on the test split, and the family."""

from __future__ import annotations

from edge_s4op.artifact import write_artifact
from host.family import Family, Trial, write_family
from host.models.checkpoint import load_checkpoint, save_checkpoint
from host.models.surgery import compact
from host.search.context import Search
from host.search.folder import model_name
from host.search.progress import SearchProgress
from host.training.evaluate import evaluate

__all__ = ["finish"]


def finish(search: Search, trials: list[Trial], winners: list[Trial]) -> Family:
    """Write one folder per winner (the unpruned model first) and family.json, then drop the candidates."""
    kept: dict[tuple[float, int | None], Trial] = {}
    parent = None
    for number, winner in enumerate(winners, start=1):
        at = SearchProgress(winner.rate, winner.seed, number, len(winners), "test")
        trial, sha256 = _keep(search, winner, parent)
        kept[trial.rate, trial.seed] = trial
        parent = parent or sha256
        search.report(at, trial=trial)
    family = _family(search, [kept.get((trial.rate, trial.seed), trial) for trial in trials])
    write_family(family, search.folder.path)
    search.folder.remove_candidates()
    return family


def _keep(search: Search, trial: Trial, parent: str | None) -> tuple[Trial, str]:
    masked, extra = load_checkpoint(search.weights(trial.rate, trial.seed))
    model = compact(masked)
    training = search.options.training
    score = evaluate(model, search.dataset.test, batch_size=training.eval_batch_size, device=training.device)
    accuracy = {"validation": trial.validation_accuracy or 0.0, "test": score.accuracy}
    artifact = search.export(model, accuracy=accuracy, parent=parent)
    name = model_name(trial.rate)
    folder = search.folder.model(name)
    pruning = {"rate": trial.rate, "seed": trial.seed, "accuracy": accuracy}
    save_checkpoint(folder, model, {**extra, "pruning": pruning})
    write_artifact(artifact, folder / "model.onnx")
    kept = trial.model_copy(update={"kept": True, "model": name, "test_accuracy": score.accuracy})
    return kept, artifact.sha256


def _family(search: Search, trials: list[Trial]) -> Family:
    model, _ = load_checkpoint(search.checkpoint_dir)
    names = [trial.model for trial in trials if trial.model is not None]
    return Family(
        model_kind=model.config.kind,
        dataset=search.dataset.name,
        config=model.config,
        options=search.options.model_dump(mode="json"),
        device=search.device,
        models={name: f"models/{name}" for name in names},
        trials=tuple(trials),
    )
