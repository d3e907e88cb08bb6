"""Searches under a budget, on an invented device whose latency is a known function of what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import Manifest, read_artifact
from edge_s4op.errors import BudgetError, UsageError
from host.family import read_family
from host.search import Budget, Placement, PruneOptions, SearchProgress
from host.search.decision import Decision
from tests.host.search.invented_device import device, facts_of
from tests.host.search.search_samples import (
    CHANNELS,
    LAYERS,
    ONE,
    agent_in_process,
    run_search,
    save_unpruned,
)

BASE_MS, OPERATOR_MS = 1.0, 0.1
OTHER = "e" * 64  # the fingerprint of a second device
SLOW_BOARD = facts_of("slow board", OTHER)
UNPRUNED_MS = BASE_MS + OPERATOR_MS * LAYERS * CHANNELS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_unpruned(tmp_path / "unpruned")
    return tmp_path


def straight(manifest: Manifest) -> float:
    """A base for the residual channels (not for a layer alone), and the same for every four states."""
    layers = len(manifest.kept_operators)
    states = manifest.states or (manifest.d_state,) * layers
    base_ms = BASE_MS * manifest.d_model / CHANNELS if layers == LAYERS else 0.0
    operators = (len(kept) * count for kept, count in zip(manifest.kept_operators, states, strict=True))
    return base_ms + OPERATOR_MS * sum(operators) / 4


def options(*budgets: float, quantity: str = "latency_ms", **changes: object) -> PruneOptions:
    asked = tuple(Budget(quantity=quantity, value=value) for value in budgets)  # type: ignore[arg-type]
    kept = {"training": ONE.training, "measurement": ONE.measurement}
    return PruneOptions.model_validate({**kept, "budgets": asked, **changes})


@pytest.mark.parametrize("budget_ms", [3.0, 2.0, 1.5])
def test_the_answer_measures_under_its_budget_and_uses_it(folder: Path, budget_ms: float) -> None:
    with agent_in_process(folder / "agent", measure=device(straight)) as agent:
        family = run_search(folder, agent, options(budget_ms))
    unpruned, found = family.kept()
    assert unpruned.latency.p50_ms == pytest.approx(UNPRUNED_MS, rel=0.01)
    assert found.latency.p50_interval_ms.high <= budget_ms
    assert found.latency.p50_ms > budget_ms - 2.5 * OPERATOR_MS
    assert (found.stage, found.budget_ms) == (f"budget-{budget_ms:g}ms", budget_ms)
    assert found.predicted_ms == pytest.approx(found.latency.p50_ms, rel=0.1)
    assert found.rate == found.plan.ratio
    artifact = read_artifact(folder / "run" / family.models[found.model] / "model.onnx")
    assert artifact.manifest.kept_operators == found.plan.kept
    assert len(family.latency_models) == 1
    assert read_family(folder / "run") == family


def test_a_budget_is_held_though_the_layers_cost_more_together_than_alone(folder: Path) -> None:
    """Alone a layer takes a quarter of what it takes in the model: predictions fail until corrected."""

    def ms(manifest: Manifest) -> float:
        alone = len(manifest.kept_operators) == 1
        return straight(manifest) * (0.25 if alone else 1.0)

    with agent_in_process(folder / "agent", measure=device(ms)) as agent:
        family = run_search(folder, agent, options(1.8))
    assert family.kept()[1].latency.p50_interval_ms.high <= 1.8
    assert len(family.latency_models[0].observations) > 1


def test_a_plan_stands_just_under_a_cliff(folder: Path) -> None:
    """More than five operators in a layer cost as much as all eight."""

    def ms(manifest: Manifest) -> float:
        return BASE_MS + sum(0.5 if len(kept) <= 5 else 1.0 for kept in manifest.kept_operators)

    with agent_in_process(folder / "agent", measure=device(ms)) as agent:
        family = run_search(folder, agent, options(2.6))
    assert family.kept()[1].plan.kept_counts == (5, 5, 5)
    (curve,) = family.latency_models[0].curves.values()
    assert curve.cliffs == (5,)


def test_falling_budgets_start_from_each_other_and_a_ratio_is_of_the_unpruned(folder: Path) -> None:
    with agent_in_process(folder / "agent", measure=device(straight)) as agent:
        family = run_search(folder, agent, options(0.7, 0.5, quantity="latency_ratio"))
    _, first, second = family.kept()
    assert first.budget_ms == pytest.approx(0.7 * UNPRUNED_MS, rel=0.02)
    assert second.latency.p50_interval_ms.high <= second.budget_ms <= 0.51 * UNPRUNED_MS
    assert second.plan.is_nested_in(first.plan)
    assert list(family.models) == ["keep-1.00", "budget-0.7x", "budget-0.5x"]


def test_a_budget_below_reach_says_the_smallest_reached_and_keeps_the_rest(folder: Path) -> None:
    with (
        agent_in_process(folder / "agent", measure=device(straight)) as agent,
        pytest.raises(BudgetError, match=r"one operator a layer is left.*--features, --states") as caught,
    ):
        run_search(folder, agent, options(2.0, 1.0))
    assert caught.value.smallest == pytest.approx(BASE_MS + LAYERS * OPERATOR_MS, rel=0.02)
    family = read_family(folder / "run")
    assert not family.complete
    assert [trial.stage for trial in family.kept()] == ["unpruned", "budget-2ms"]
    assert all(trial.test_accuracy is None for trial in family.kept()), "test data wait for the end"


def test_features_reach_below_what_operators_can(folder: Path) -> None:
    with agent_in_process(folder / "agent", measure=device(straight)) as agent:
        family = run_search(folder, agent, options(0.95, features=True))
    found = family.kept()[1]
    assert found.latency.p50_interval_ms.high <= 0.95
    assert found.features is not None
    assert len(found.features) < CHANNELS
    assert all(set(kept) <= set(found.features) for kept in found.plan.kept)


def test_states_leave_under_a_budget_too(folder: Path) -> None:
    with agent_in_process(folder / "agent", measure=device(straight)) as agent:
        family = run_search(folder, agent, options(1.2, states=True))
    found = family.kept()[1]
    assert found.latency.p50_interval_ms.high <= 1.2
    assert found.states == (2,) * LAYERS


def test_an_energy_budget_is_held(folder: Path) -> None:
    with agent_in_process(folder / "agent", measure=device(straight, watts=5.0)) as agent:
        family = run_search(folder, agent, options(10.0, quantity="energy_mj"))
    found = family.kept()[1]
    assert (found.stage, found.budget_ms) == ("budget-10mJ", None)
    assert 8.5 < found.latency.energy_mj <= 10 / 1.01
    assert found.rate == found.plan.ratio > 0


def test_an_energy_budget_needs_a_board_that_reports_power(folder: Path) -> None:
    with (
        agent_in_process(folder / "agent", measure=device(straight)) as agent,
        pytest.raises(UsageError, match=r"reports no power.*latency budget"),
    ):
        run_search(folder, agent, options(3.0, quantity="energy_mj"))


def test_a_search_killed_while_it_trains_keeps_its_plan(folder: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(progress: SearchProgress) -> None:
        if progress.phase == "fine-tune":
            raise Interrupted

    jitter = np.random.default_rng(0)

    def ms(manifest: Manifest) -> float:
        return straight(manifest) * jitter.uniform(0.97, 1.03)

    with agent_in_process(folder / "agent", measure=device(ms)) as agent:
        with pytest.raises(Interrupted):
            run_search(folder, agent, options(2.0), on_progress=stop)
        plan = next((folder / "run" / "candidates").glob("*/plan.json")).read_text()
        family = run_search(folder, agent, options(2.0), resume=True)
    assert family.complete
    assert Decision.model_validate_json(plan).plan == family.kept()[1].plan


@pytest.mark.parametrize("slow_one", [0, 1])
def test_a_budget_is_held_on_every_device(folder: Path, tmp_path: Path, slow_one: int) -> None:
    """The second device takes half as long again: it decides."""

    def second(manifest: Manifest) -> float:
        return straight(manifest) * 1.5

    mixed = Placement(workers=1, mixed_devices=True)
    with (
        agent_in_process(tmp_path / "a", measure=device(straight)) as one,
        agent_in_process(tmp_path / "b", measure=device(second, OTHER), facts=SLOW_BOARD) as two,
    ):
        agents = [one, two] if slow_one else [two, one]
        family = run_search(folder, agents, options(2.5), placement=mixed)
    found = family.kept()[1]
    (other,) = found.other_latencies
    assert found.latency.p50_interval_ms.high <= 2.5
    assert other is not None
    assert other.p50_interval_ms.high <= 2.5
    slow = found.other_latencies[0] if slow_one else found.latency
    assert slow.p50_ms > 2.5 - 2 * 1.5 * OPERATOR_MS, "the budget is used where it binds"


def test_agents_on_one_kind_of_device_share_the_measurements(folder: Path, tmp_path: Path) -> None:
    with (
        agent_in_process(tmp_path / "a", measure=device(straight)) as one,
        agent_in_process(tmp_path / "b", measure=device(straight)) as two,
    ):
        family = run_search(folder, [one, two], options(0.95, features=True))
        shares = [len(one.jobs()), len(two.jobs())]
    assert family.kept()[1].latency.p50_interval_ms.high <= 0.95
    assert family.other_devices == ()
    assert min(shares) > 0.2 * sum(shares), "both worked"


def test_devices_of_different_kinds_are_refused_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    with (
        agent_in_process(tmp_path / "a") as one,
        agent_in_process(tmp_path / "b", facts=SLOW_BOARD) as two,
        pytest.raises(UsageError, match=r"different kinds.*slow board.*--mixed-devices"),
    ):
        run_search(folder, [one, two], ONE)
    assert not (folder / "run").exists()
