"""A search on a device that something disturbs: it measures again, and says what it could not avoid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_s4op.artifact import Manifest
from edge_s4op.client import AgentClient
from edge_s4op.messages import MeasurementSettings
from host.compress import measure
from host.family import Family
from host.search import Budget, PruneOptions, SearchProgress
from tests.device_agent.agent_helpers import scaling_artifact
from tests.host.search.invented_device import LOAD, device
from tests.host.search.search_samples import (
    CHANNELS,
    LAYERS,
    ONE,
    agent_in_process,
    run_search,
    save_unpruned,
)

MARK = f"cpu-load: {LOAD.what}"
OPTIONS = ONE.model_copy(update={"remeasure": 2})


def at_first(times: int) -> Callable[[], bool]:
    """True so many times, then False."""
    left = [times]

    def disturbed() -> bool:
        left[0] -= 1
        return left[0] >= 0

    return disturbed


def searched(
    folder: Path, disturbed: Callable[[], bool], options: PruneOptions = OPTIONS
) -> tuple[Family, Counter[str], list[SearchProgress]]:
    """The family, how often each file was measured, and what was told."""
    save_unpruned(folder / "unpruned")
    told: list[SearchProgress] = []
    with agent_in_process(folder / "agent", measure=device(_ms, disturbed=disturbed)) as agent:
        family = run_search(folder, agent, options, on_progress=told.append)
        return family, _measured(agent), told


def _ms(manifest: Manifest) -> float:
    return 1.0 + 0.1 * sum(map(len, manifest.kept_operators))


def _measured(agent: AgentClient) -> Counter[str]:
    return Counter(job.request.artifact_sha256 for job in agent.jobs())


def test_a_disturbed_measurement_is_repeated_and_the_undisturbed_one_kept(tmp_path: Path) -> None:
    family, measured, told = searched(tmp_path, at_first(2))
    assert sorted(measured.values()) == [1, 3]
    assert [trial.latency.disturbed for trial in family.trials] == [(), ()]
    again = [at.stage for at in told if at.stage and at.stage.startswith("measuring again: CPU load")]
    assert again[0] == "measuring again: CPU load"
    assert {at.phase for at in told if at.stage in again} == {"measure"}


def test_where_all_are_disturbed_the_trial_says_so(tmp_path: Path) -> None:
    family, measured, _ = searched(tmp_path, lambda: True)
    assert sorted(measured.values()) == [3, 3]
    assert [trial.latency.disturbed for trial in family.trials] == [(MARK,), (MARK,)]


def test_nothing_is_repeated_where_that_is_not_wanted(tmp_path: Path) -> None:
    family, measured, _ = searched(tmp_path, lambda: True, ONE)
    assert sorted(measured.values()) == [1, 1]
    assert family.trials[0].latency.disturbed == (MARK,)


def test_the_points_of_a_latency_curve_are_repeated_too(tmp_path: Path) -> None:
    kept = {"training": ONE.training, "measurement": ONE.measurement}
    options = PruneOptions.model_validate(
        {**kept, "budgets": [Budget(quantity="latency_ratio", value=0.7)], "remeasure": 1}
    )
    turn = [0]

    def every_other() -> bool:
        turn[0] += 1
        return bool(turn[0] % 2)

    family, _, told = searched(tmp_path, every_other, options)
    again = [at.stage for at in told if at.phase == "learn" and at.stage and "measuring again" in at.stage]
    assert again
    assert again[0].endswith("measuring again: CPU load")
    assert all(trial.latency.disturbed == () for trial in family.trials)


@pytest.mark.parametrize(("remeasure", "times"), [(0, 1), (1, 4)])
def test_a_structure_that_stays_disturbed_gets_one_more_chance_when_it_is_asked_for_again(
    tmp_path: Path, remeasure: int, times: int
) -> None:
    """A ratio is of the unpruned model, and its curves rest on it, too: it is asked for often."""
    kept = {"training": ONE.training, "measurement": ONE.measurement, "remeasure": remeasure}
    budgets = [Budget(quantity="latency_ratio", value=0.7)]
    seen: list[Manifest] = []
    save_unpruned(tmp_path / "unpruned")
    noting = device(lambda manifest: (seen.append(manifest), _ms(manifest))[1], disturbed=lambda: True)
    with agent_in_process(tmp_path / "agent", measure=noting) as agent:
        run_search(tmp_path, agent, PruneOptions.model_validate({**kept, "budgets": budgets}))
    measured = [manifest for manifest in seen if len(manifest.kept_operators) == LAYERS]
    whole = [m for m in measured if all(len(layer) == CHANNELS for layer in m.kept_operators)]
    assert len(whole) == times


@pytest.mark.parametrize(("times", "remeasure", "disturbed"), [(2, 2, ()), (2, 1, (LOAD,))])
def test_measuring_a_file_of_ones_own_is_repeated(
    tmp_path: Path, times: int, remeasure: int, disturbed: tuple[object, ...]
) -> None:
    unsteady = device(lambda manifest: 1.0, disturbed=at_first(times))
    with agent_in_process(tmp_path, measure=unsteady) as agent:
        result = measure(scaling_artifact(), agent, MeasurementSettings(), remeasure=remeasure)
        assert sum(_measured(agent).values()) == remeasure + 1
    assert result.disturbed == disturbed
