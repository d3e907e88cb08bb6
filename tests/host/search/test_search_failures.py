from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from device_agent.device import Measure, local_device
from edge_s4op.client import AgentClient
from edge_s4op.errors import (
    AgentRefusedError,
    CheckpointError,
    DataError,
    MeasurementError,
    S4opError,
    UnknownNameError,
    UsageError,
)
from edge_s4op.messages import MeasurementRequest
from edge_s4op.runtime import Runner
from host.family import read_family
from host.models import Classifier, compact, save_checkpoint
from host.pruning import CRITERIA
from host.pruning.criteria import candidate_generator
from host.search import PruneOptions, SearchProgress
from tests.host.search.search_samples import (
    CHANNELS,
    LAYERS,
    ONE,
    OPTIONS,
    agent_in_process,
    run_search,
    save_unpruned,
)
from tests.host.training.training_samples import classifier


class Interrupted(Exception):
    """Raised by a test's progress callback."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_unpruned(tmp_path / "unpruned")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"criterion": "randon"}, UnknownNameError, "did you mean random"),
        ({"allocator": "depth_exponential"}, UnknownNameError, "did you mean depth-exponential"),
        ({"schedule": "incrementel"}, UnknownNameError, "did you mean incremental"),
        ({"rates": (0.5, 0.3)}, UsageError, "0.5 then 0.3"),
        ({"rates": (0.5, 1.3)}, UsageError, "found 1.3"),
    ],
)
def test_a_bad_request_leaves_nothing_behind(
    folder: Path, changes: dict[str, object], error: type[S4opError], text: str
) -> None:
    with agent_in_process(folder / "agent") as agent, pytest.raises(error, match=text):
        run_search(folder, agent, OPTIONS.model_copy(update=changes))
    assert not (folder / "run").exists()


def test_a_pruned_model_is_refused(folder: Path) -> None:
    model = classifier(d_model=CHANNELS, depth=LAYERS)
    model.set_kept_operators([[0, 1]] * LAYERS)
    save_checkpoint(folder / "unpruned", compact(model), {})
    with agent_in_process(folder / "agent") as agent, pytest.raises(UsageError, match="pruned already"):
        run_search(folder, agent)


def test_a_model_of_another_dataset_is_refused(folder: Path) -> None:
    save_checkpoint(folder / "unpruned", classifier(d_model=CHANNELS, depth=LAYERS, num_classes=3), {})
    with agent_in_process(folder / "agent") as agent, pytest.raises(DataError, match="does not fit"):
        run_search(folder, agent)


def failing_when(fails: Callable[[tuple[int, ...]], bool], tried: list[tuple[int, ...]]) -> Measure:
    """This machine, but unable to measure structures for which `fails`."""
    measure = local_device().measure

    def measure_or_fail(runner: Runner, request: MeasurementRequest, *watch: Any) -> Any:
        kept_counts = tuple(map(len, runner.manifest.kept_operators))
        tried.append(kept_counts)
        if fails(kept_counts):
            raise MeasurementError("the board overheated")
        return measure(runner, request, *watch)

    return measure_or_fail


def test_a_failed_measurement_is_a_trials_error_and_the_search_goes_on(folder: Path) -> None:
    tried: list[tuple[int, ...]] = []
    measure = failing_when(lambda kept: 8 < sum(kept) < 20, tried)
    options = OPTIONS.model_copy(update={"rates": (0.4, 0.8)})
    events: list[SearchProgress] = []
    with agent_in_process(folder / "agent", measure=measure) as agent:
        family = run_search(folder, agent, options, on_progress=events.append)
    assert [trial.latency is None for trial in family.trials] == [False, True, True, False, False]
    for trial in family.trials[1:3]:
        assert "the board overheated" in trial.error
        assert trial.validation_accuracy is not None
    assert len(family.kept()) == 3
    assert len(tried) == len(set(tried)) == 3, "a structure that fails is not tried again for each candidate"
    assert "overheated" in next(event.error for event in events if event.rate == 0.4 and event.error)
    assert read_family(folder / "run") == family


def test_latencies_of_a_device_that_changed_are_not_mixed(folder: Path) -> None:
    facts = local_device().facts().model_copy(update={"fingerprint": "e" * 64})
    with agent_in_process(folder / "agent", facts=lambda: facts) as agent:
        family = run_search(folder, agent, ONE)
    assert all(trial.latency is None for trial in family.trials)
    assert all("the device changed" in trial.error for trial in family.trials)


def test_a_backend_the_agent_does_not_have_ends_the_search(folder: Path) -> None:
    measurement = ONE.measurement.model_copy(update={"backend": "onnxruntim"})
    with agent_in_process(folder / "agent") as agent, pytest.raises(AgentRefusedError, match="onnxruntime"):
        run_search(folder, agent, ONE.model_copy(update={"measurement": measurement}))


def test_a_candidate_that_cannot_be_trained_loses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CRITERIA, "_functions", dict(CRITERIA._functions))

    @CRITERIA.register("breaks its second model")
    def breaking(model: Classifier, batches: object, generator: np.random.Generator) -> list[np.ndarray]:
        if generator.random() == second_draw:
            torch.nn.init.constant_(model.head.weight, float("nan"))
        return [np.arange(CHANNELS)] * LAYERS

    second_draw = candidate_generator(42, 0.5).random()
    options = ONE.model_copy(update={"candidates": 3, "criterion": "breaks its second model"})
    with agent_in_process(folder / "agent") as agent:
        family = run_search(folder, agent, options)
    first, second, third = family.trials[1:]
    assert second.validation_accuracy is None
    assert "the loss is nan" in second.error
    assert second.latency == first.latency == third.latency
    assert first.kept != third.kept


def test_no_candidate_that_can_be_trained_ends_the_search(folder: Path) -> None:
    training = ONE.training.model_copy(update={"lr": 1e30, "ssm_lr": 1e30, "clip_norm": None})
    with (
        agent_in_process(folder / "agent") as agent,
        pytest.raises(S4opError, match=r"no candidate of stage rate-0\.50 could be fine-tuned: .*stopped"),
    ):
        run_search(folder, agent, ONE.model_copy(update={"training": training}))


def interrupted(folder: Path, agent: AgentClient, options: PruneOptions = ONE) -> None:
    def stop(progress: SearchProgress) -> None:
        if progress.phase == "fine-tune":
            raise Interrupted

    with pytest.raises(Interrupted):
        run_search(folder, agent, options, on_progress=stop)


def test_a_folder_in_use_is_not_overwritten(folder: Path) -> None:
    with agent_in_process(folder / "agent") as agent:
        interrupted(folder, agent)
        before = (folder / "run" / "trials.jsonl").read_bytes()
        with pytest.raises(UsageError, match="already holds a search"):
            run_search(folder, agent, ONE)
    assert (folder / "run" / "trials.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rates": (0.4,)}, "options.rates"),
        ({"candidates": 2}, "options.candidates"),
        ({"training": ONE.training.model_copy(update={"epochs": 8})}, "config.epochs"),
        ({"measurement": ONE.measurement.model_copy(update={"threads": 2})}, "options.measurement.threads"),
    ],
)
def test_a_search_is_not_continued_with_other_options(
    folder: Path, changes: dict[str, object], named: str
) -> None:
    with agent_in_process(folder / "agent") as agent:
        interrupted(folder, agent)
        with pytest.raises(CheckpointError, match=named):
            run_search(folder, agent, ONE.model_copy(update=changes), resume=True)


def test_a_search_is_not_continued_from_another_model_or_on_another_device(folder: Path) -> None:
    with agent_in_process(folder / "agent") as agent:
        interrupted(folder, agent)
        save_checkpoint(folder / "unpruned", classifier(seed=5, d_model=CHANNELS, depth=LAYERS), {})
        with pytest.raises(CheckpointError, match="weights_sha256"):
            run_search(folder, agent, ONE, resume=True)
    save_unpruned(folder / "unpruned")
    facts = local_device().facts().model_copy(update={"fingerprint": "e" * 64})
    with (
        agent_in_process(folder / "agent", facts=lambda: facts) as agent,
        pytest.raises(CheckpointError, match="device_fingerprint"),
    ):
        run_search(folder, agent, ONE, resume=True)
