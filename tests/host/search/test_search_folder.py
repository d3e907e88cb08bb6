from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_s4op.errors import CheckpointError, UsageError
from host.search import Budget, FineTuning, PruneOptions, published_options
from host.search.folder import model_name, open_folder
from host.search.stages import stages_of
from host.training import TrainConfig
from tests.host.search.test_search_family import trial

TRIALS = (trial(0, 0.9, 2), trial(0.3, 0.1 + 0.2, 1.5), trial(0.5, 0.8, None, error="no"))


def folder_with_trials(path: Path) -> Path:
    folder = open_folder(path, {"a": 1}, resume=False)
    for one in TRIALS:
        folder.append_trial(one)
    return path / "trials.jsonl"


def test_trials_come_back_exactly(tmp_path: Path) -> None:
    folder_with_trials(tmp_path)
    assert open_folder(tmp_path, {"a": 1}, resume=True).read_trials() == TRIALS


@pytest.mark.parametrize("lost_bytes", [1, 2, 40, 120])
def test_half_a_line_is_cut_off_and_the_log_goes_on(tmp_path: Path, lost_bytes: int) -> None:
    log = folder_with_trials(tmp_path)
    log.write_bytes(log.read_bytes()[:-lost_bytes])
    folder = open_folder(tmp_path, {"a": 1}, resume=True)
    assert folder.read_trials() == TRIALS[:2]
    folder.append_trial(TRIALS[2])
    assert folder.read_trials() == TRIALS


def test_a_whole_line_that_is_no_trial_is_an_error(tmp_path: Path) -> None:
    log = folder_with_trials(tmp_path)
    log.write_text('{"rate": 0.3}\n' + log.read_text())
    with pytest.raises(CheckpointError, match=r"trials\.jsonl, line 1"):
        open_folder(tmp_path, {"a": 1}, resume=True).read_trials()


def test_a_folder_in_use_is_not_overwritten(tmp_path: Path) -> None:
    folder_with_trials(tmp_path)
    with pytest.raises(UsageError, match="already holds a search"):
        open_folder(tmp_path, {"a": 1}, resume=False)


def test_another_search_is_not_continued(tmp_path: Path) -> None:
    folder_with_trials(tmp_path)
    with pytest.raises(CheckpointError, match="a differ"):
        open_folder(tmp_path, {"a": 2}, resume=True)


def test_a_torn_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"run\.json"):
        open_folder(tmp_path, {"a": 1}, resume=True)


def test_removing_candidates_leaves_the_winner_and_other_stages(tmp_path: Path) -> None:
    folder = open_folder(tmp_path, {}, resume=False)
    stages = ("rate-0.50", "rate-0.505", "budget-0.5ms")
    paths = [folder.candidate(stage, seed) for stage in stages for seed in (7, 42)]
    for path in paths:
        path.mkdir(parents=True)
    folder.remove_candidates("rate-0.50", but=paths[1])
    assert [path.exists() for path in paths] == [False, *[True] * 5]
    folder.remove_candidates()
    assert not (tmp_path / "candidates").exists()


@pytest.mark.parametrize(
    ("rate", "name"), [(0.0, "keep-1.00"), (0.3, "keep-0.70"), (0.9, "keep-0.10"), (0.125, "keep-0.875")]
)
def test_models_are_named_by_what_they_keep(rate: float, name: str) -> None:
    assert model_name(trial(rate, 0.9, 1)) == name


def test_a_model_planned_for_a_budget_is_named_by_it() -> None:
    assert model_name(trial(0.4, 0.9, 1, stage="budget-0.8ms", budget_ms=0.8)) == "budget-0.8ms"


def test_candidates_take_the_first_seeds_and_go_on_from_the_largest() -> None:
    one = PruneOptions(rates=(0.5,))
    assert one.candidate_seeds() == (7,)
    assert one.model_copy(update={"candidates": 2}).candidate_seeds() == (7, 42)
    assert one.model_copy(update={"candidates": 4, "seeds": (9, 3)}).candidate_seeds() == (9, 3, 10, 11)
    with pytest.raises(ValidationError, match="differ"):
        PruneOptions(rates=(0.5,), seeds=(7, 7))


def test_the_published_search() -> None:
    options = published_options()
    assert options.rates == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert options.candidate_seeds() == (7, 42, 123, 2024, 31650)
    assert (options.criterion, options.allocator) == ("random", "depth-exponential")
    assert options.fine_tuning.distill == 0
    assert published_options(fine_tuning={"lr": 0.5}).fine_tuning.share == 1 / 8


@pytest.mark.parametrize(("epochs", "tuned"), [(1, 1), (7, 1), (8, 1), (15, 1), (16, 2), (200, 25)])
def test_published_fine_tuning_takes_an_eighth_of_the_epochs(epochs: int, tuned: int) -> None:
    training = TrainConfig(epochs=epochs, lr=0.02)
    expected = training.model_copy(update={"epochs": tuned, "seed": 42})
    assert published_options(training=training).fine_tuning_of(42) == expected


@pytest.mark.parametrize("epochs", [32, 64, 96, 192])
def test_ours_takes_at_most_a_quarter_of_the_published_epochs(epochs: int) -> None:
    training = TrainConfig(epochs=epochs)
    ours = PruneOptions(rates=(0.5,), training=training)
    published = published_options(rates=(0.5,), training=training)
    spent = [o.candidates * o.fine_tuning_of(7).epochs for o in (ours, published)]
    assert spent[0] <= spent[1] / 4


def test_fine_tuning_can_be_set() -> None:
    tuning = FineTuning(epochs=3, lr=1e-4)
    tuned = PruneOptions(rates=(0.5,), fine_tuning=tuning).fine_tuning_of(7)
    assert (tuned.epochs, tuned.lr, tuned.ssm_lr) == (3, 1e-4, 1e-4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "at least one rate or one budget"),
        ({"rates": (0.5,), "features": True}, "give one"),
        ({"budgets": [{"quantity": "latency_ms", "value": 1.0}] * 2}, "budgets must differ"),
        ({"budgets": [{"quantity": "latency_ms", "value": 0.0}]}, "greater than 0"),
    ],
)
def test_options_that_make_no_search_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        PruneOptions.model_validate(options)


def test_budgets_come_after_the_rates_and_start_from_the_larger_one() -> None:
    budgets = [Budget(quantity="latency_ms", value=value) for value in (2.0, 1.5)]
    options = PruneOptions(rates=(0.3,), budgets=(*budgets, Budget(quantity="energy_mj", value=3)))
    stages = {stage.name: stage.parent for stage in stages_of(options)}
    assert stages == {
        "rate-0.30": "unpruned",
        "budget-2ms": "unpruned",
        "budget-1.5ms": "budget-2ms",
        "budget-3mJ": "unpruned",
    }


def test_budgets_that_rise_are_refused() -> None:
    budgets = tuple(Budget(quantity="latency_ms", value=value) for value in (1.0, 1.5))
    with pytest.raises(UsageError, match=r"budgets must fall.*less than 1 ms.*found 1\.5 ms"):
        stages_of(PruneOptions(budgets=budgets))
