from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import read_artifact
from edge_s4op.messages import ServeRequest
from host.family import Family, read_family
from host.models import Classifier, count_parameters, load_checkpoint
from host.pruning import ALLOCATORS, CRITERIA, SCHEDULES, AllocationTask, Calibration, Stage
from host.pruning.allocators import depth_exponential
from host.search import SearchProgress
from host.training import evaluate
from tests.host.search.search_samples import (
    CHANNELS,
    DATA,
    LAYERS,
    ONE,
    OPTIONS,
    agent_in_process,
    run_search,
    save_unpruned,
)

Searched = tuple[Path, Family, list[SearchProgress], int]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """One whole search: its folder, family, events and the number of measurements the agent made."""
    folder = tmp_path_factory.mktemp("searched")
    save_unpruned(folder / "unpruned")
    events: list[SearchProgress] = []
    with agent_in_process(folder / "agent") as agent:
        family = run_search(folder, agent, on_progress=events.append)
        return folder, family, events, len(agent.jobs())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_unpruned(tmp_path / "unpruned")
    return tmp_path


def counts(family: Family) -> list[tuple[int, ...]]:
    return [trial.plan.kept_counts for trial in family.trials]


def test_every_structure_is_measured_before_anything_is_paid_for_it(searched: Searched) -> None:
    _, _, events, _ = searched
    phases = list(dict.fromkeys((event.rate, event.seed, event.phase) for event in events))
    measured = ["export", "measure", "measured"]
    expected = [(0.0, None, phase) for phase in [*measured, "finished"]]
    for rate in OPTIONS.rates:
        expected += [(rate, 7, phase) for phase in measured] + [(rate, 42, "reused")]
        expected += [(rate, seed, phase) for seed in (7, 42) for phase in ("fine-tune", "finished")]
    assert phases[: len(expected)] == expected
    assert [phase for *_, phase in phases[len(expected) :]] == ["test"] * 3


def test_events_say_where_the_search_stands(searched: Searched) -> None:
    _, family, events, _ = searched
    places = {(event.rate, event.seed): (event.candidate, event.candidates) for event in events[:-3]}
    assert places == {(0.0, None): (1, 1)} | {
        (rate, seed): (i, 2) for rate in OPTIONS.rates for i, seed in enumerate((7, 42), start=1)
    }
    epochs = [e.training.epoch for e in events if e.training and e.training.validation_accuracy is not None]
    assert epochs == [1, 2] * 4, "an eighth of 16 epochs, four times"
    assert [e.trial.seed for e in events if e.phase == "finished"] == [t.seed for t in family.trials]


def test_a_structure_is_measured_once(searched: Searched) -> None:
    _, family, _, measurements = searched
    assert measurements == len(set(counts(family))) == 3
    ids = {(trial.plan.kept_counts, trial.latency.measurement_id) for trial in family.trials}
    assert len(ids) == 3


def test_the_rates_counts_are_the_allocators_and_plans_are_nested(searched: Searched) -> None:
    _, family, _, _ = searched
    for trial in family.trials:
        pruned = depth_exponential(trial.rate, LAYERS, CHANNELS)
        assert trial.plan.kept_counts == tuple(CHANNELS - count for count in pruned)
    winners = family.kept()
    for trial in family.trials[1:]:
        parent = winners[OPTIONS.rates.index(trial.rate)]
        assert trial.plan.is_nested_in(parent.plan)


def test_the_best_by_validation_is_kept_of_equals_the_one_with_the_lowest_loss(searched: Searched) -> None:
    _, family, _, _ = searched
    for rate in OPTIONS.rates:
        rivals = [trial for trial in family.trials if trial.rate == rate]
        best = max(trial.validation_accuracy for trial in rivals)
        equals = [trial for trial in rivals if trial.validation_accuracy == best]
        lowest = min(equals, key=lambda trial: trial.validation_loss)
        assert [trial for trial in rivals if trial.kept] == [lowest]


def test_the_test_split_is_looked_at_for_kept_models_only(searched: Searched) -> None:
    _, family, _, _ = searched
    assert [trial.test_accuracy is not None for trial in family.trials] == [t.kept for t in family.trials]


def test_kept_models_are_whole_and_are_what_the_family_says(searched: Searched) -> None:
    folder, family, _, _ = searched
    parent = read_artifact(folder / "run" / "models" / "keep-1.00" / "model.onnx").sha256
    assert list(family.models) == ["keep-1.00", "keep-0.70", "keep-0.40"]
    for trial in family.kept():
        path = folder / "run" / family.models[trial.model]
        model, extra = load_checkpoint(path)
        manifest = read_artifact(path / "model.onnx").manifest
        assert model.config.kept == trial.plan.kept == manifest.kept_operators
        assert evaluate(model, DATA.validation).accuracy == trial.validation_accuracy
        assert evaluate(model, DATA.test).accuracy == trial.test_accuracy
        assert manifest.accuracy == {"validation": trial.validation_accuracy, "test": trial.test_accuracy}
        assert manifest.parent == (None if trial.rate == 0 else parent)
        assert (manifest.parameters, manifest.macs) == (trial.parameters, trial.macs)
        assert sum(p.numel() for p in model.parameters()) == trial.parameters
        assert extra["from"] == "the test"


def test_trials_say_what_they_took_and_their_latency_its_interval(searched: Searched) -> None:
    _, family, _, _ = searched
    for trial in family.trials:
        assert trial.seconds > 0
        assert trial.error is None
        assert trial.latency.p50_interval_ms.low <= trial.latency.p50_ms <= trial.latency.p50_interval_ms.high
        assert trial.latency.device_fingerprint == family.device.fingerprint


def test_the_family_is_on_disk_and_no_candidate_is_left(searched: Searched) -> None:
    folder, family, _, _ = searched
    assert read_family(folder / "run") == family
    assert sorted(path.name for path in (folder / "run").iterdir()) == [
        "family.json",
        "measurements",
        "models",
        "run.json",
        "trials.jsonl",
    ]


def test_a_finished_search_is_answered_from_its_folder(searched: Searched, tmp_path: Path) -> None:
    folder, family, _, _ = searched
    events: list[SearchProgress] = []
    with agent_in_process(tmp_path) as agent:
        assert run_search(folder, agent, resume=True, on_progress=events.append) == family
        assert agent.jobs() == []
    assert events == []


def test_a_kept_model_is_served_and_answers_as_its_checkpoint(searched: Searched, tmp_path: Path) -> None:
    folder, family, _, _ = searched
    path = folder / "run" / family.models["keep-0.40"]
    artifact, (model, _) = read_artifact(path / "model.onnx"), load_checkpoint(path)
    with agent_in_process(tmp_path) as agent:
        agent.put_artifact(artifact)
        agent.serve("m", ServeRequest(artifact_sha256=artifact.sha256))
        logits = agent.infer("m", {"input": DATA.test.x})["logits"]
    accuracy = float((logits.argmax(-1) == DATA.test.y).mean())
    assert accuracy == evaluate(model, DATA.test).accuracy


def test_new_functions_are_used_without_touching_the_loop(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for registry in (CRITERIA, ALLOCATORS, SCHEDULES):
        monkeypatch.setattr(registry, "_functions", dict(registry._functions))
    seen = []

    @CRITERIA.register("toy")
    def toy(model: Classifier, calibration: Calibration, generator: np.random.Generator) -> list[np.ndarray]:
        seen.append((model.kept_operators(), sum(len(batch.y) for batch in calibration.batches())))
        return [np.arange(CHANNELS)] * LAYERS

    @ALLOCATORS.register("even")
    def even(task: AllocationTask) -> list[int]:
        return [round(task.ratio * channels) for channels in task.parent.num_channels]

    @SCHEDULES.register("each from the start")
    def from_the_start(rates: Sequence[float]) -> list[Stage]:
        return [Stage(rate, 0.0) for rate in rates]

    named = {"criterion": "toy", "allocator": "even", "schedule": "each from the start"}
    named["rates"] = (0.25, 0.75)
    with agent_in_process(folder / "agent") as agent:
        family = run_search(folder, agent, ONE.model_copy(update=named))
    assert [trial.plan.kept[0] for trial in family.trials] == [(*range(8),), (*range(2, 8),), (6, 7)]
    assert seen == [((tuple(range(CHANNELS)),) * LAYERS, len(DATA.train))] * 2


def test_counted_parameters_are_those_of_the_unpruned_model(searched: Searched) -> None:
    folder, family, _, _ = searched
    model, _ = load_checkpoint(folder / "unpruned")
    assert family.trials[0].parameters == count_parameters(model)
    assert family.trials[0].plan.kept_counts == (CHANNELS,) * LAYERS
