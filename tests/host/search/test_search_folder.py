from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_s4op.errors import CheckpointError, UsageError
from host.search import PruneOptions
from host.search.folder import model_name, open_folder
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


def test_removing_candidates_leaves_the_winner_and_other_rates(tmp_path: Path) -> None:
    folder = open_folder(tmp_path, {}, resume=False)
    paths = [folder.candidate(rate, seed) for rate in (0.5, 0.505) for seed in (7, 42)]
    for path in paths:
        path.mkdir(parents=True)
    folder.remove_candidates(0.5, but=paths[1])
    assert [path.exists() for path in paths] == [False, True, True, True]
    folder.remove_candidates()
    assert not (tmp_path / "candidates").exists()


@pytest.mark.parametrize(
    ("rate", "name"), [(0.0, "keep-1.00"), (0.3, "keep-0.70"), (0.9, "keep-0.10"), (0.125, "keep-0.875")]
)
def test_models_are_named_by_what_they_keep(rate: float, name: str) -> None:
    assert model_name(rate) == name


def test_published_defaults() -> None:
    options = PruneOptions()
    assert options.rates == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert options.candidate_seeds() == (7, 42, 123, 2024, 31650)


def test_candidates_take_the_first_seeds_and_go_on_from_the_largest() -> None:
    assert PruneOptions(candidates=2).candidate_seeds() == (7, 42)
    assert PruneOptions(candidates=4, seeds=(9, 3)).candidate_seeds() == (9, 3, 10, 11)
    with pytest.raises(ValidationError, match="differ"):
        PruneOptions(seeds=(7, 7))


@pytest.mark.parametrize(("epochs", "tuned"), [(1, 1), (7, 1), (8, 1), (15, 1), (16, 2), (200, 25)])
def test_fine_tuning_takes_an_eighth_of_the_epochs(epochs: int, tuned: int) -> None:
    training = TrainConfig(epochs=epochs, lr=0.02)
    expected = training.model_copy(update={"epochs": tuned, "seed": 42})
    assert PruneOptions(training=training).fine_tuning(42) == expected


def test_fine_tuning_can_be_set() -> None:
    tuned = PruneOptions(fine_tune_epochs=3, fine_tune_lr=1e-4).fine_tuning(7)
    assert (tuned.epochs, tuned.lr, tuned.ssm_lr) == (3, 1e-4, 1e-4)
