"""From a user's own model to a file that measures under the budget, against a real agent in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_s4op.artifact import Manifest
from edge_s4op.client import AgentClient
from edge_s4op.errors import BudgetError, MeasurementError, UsageError
from edge_s4op.messages import MeasurementResult, ServeRequest
from host.compress import (
    SSMLayer,
    calibration,
    compress,
    current_plan,
    export,
    fine_tune,
    learn_latency,
    measure,
    plan_budget,
    score,
)
from tests.host.compress.compress_samples import (
    LENGTH,
    QUICK,
    example,
    own_batches,
    own_model,
    squared_error,
)
from tests.host.search.invented_device import device
from tests.host.search.search_samples import agent_in_process

DATA = calibration(own_batches(), squared_error)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentClient]:
    with agent_in_process(tmp_path / "agent") as client:
        yield client


def ms(manifest: Manifest) -> float:
    """An invented device: 0.1 ms an operator of a call, and 1 ms for the rest of a whole model."""
    whole = len(manifest.kept_operators) > 1
    return 1.0 * whole + 0.1 * sum(map(len, manifest.kept_operators))


UNPRUNED_MS = 1.0 + 0.1 * (6 + 2 * 4)


@pytest.fixture
def invented(tmp_path: Path) -> Iterator[AgentClient]:
    with agent_in_process(tmp_path / "invented", measure=device(ms)) as client:
        yield client


def tuned(model: nn.Module) -> None:
    fine_tune(model, own_batches(), squared_error, validation=own_batches(), epochs=1)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@torch.no_grad()
@pytest.mark.parametrize("kinds", [("s4d", "s4d"), ("s4d", "s4")], ids="+".join)
def test_an_agent_measures_and_serves_the_file(agent: AgentClient, kinds: tuple[str, str]) -> None:
    model = own_model(*kinds, masked=True)
    artifact = export(model, example())
    result = measure(artifact, agent, QUICK)
    assert isinstance(result, MeasurementResult)
    assert result.latency_ms.median > 0
    agent.serve("own", ServeRequest(artifact_sha256=artifact.sha256))
    x = torch.randn(3, LENGTH, 2)
    found = agent.infer("own", {"input": x.numpy()})["output"]
    np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-5)


def test_latency_is_learned_layer_by_layer(invented: AgentClient) -> None:
    model = own_model("s4d", "s4")
    seen: list[str] = []
    latency = learn_latency(model, example(), invented, QUICK, on_progress=seen.append)
    assert latency.layers == ("s4-H6-N8-L40", "s4-H4-N4-L40-x2"), "one form a file; two calls count twice"
    assert latency.curves[latency.layers[0]].ms()[6] == pytest.approx(0.6, rel=0.01)
    assert latency.curves[latency.layers[1]].ms()[4] == pytest.approx(0.8, rel=0.01)
    assert latency.predict_ms((6, 4)) == pytest.approx(latency.observations[0].p50_ms)
    assert latency.predict_ms((3, 1)) == pytest.approx(1.0 + 0.3 + 0.2, rel=0.02)
    assert latency.settings.backend == "onnxruntime"
    assert seen[0] == "the whole model"
    plan = plan_budget(model, score(model, DATA), latency, 1.6)
    assert latency.predict_ms(plan.kept_counts) <= 1.6


def test_a_layer_that_no_pass_uses_costs_nothing_and_is_not_in_the_file(invented: AgentClient) -> None:
    model = own_model()
    model.spare = SSMLayer(3)
    latency = learn_latency(model, example(), invented, QUICK)
    assert latency.predict_ms((6, 4, 1)) == latency.predict_ms((6, 4, 3))
    assert len(export(model, example()).manifest.kept_operators) == 3


@torch.no_grad()
def test_a_ratio_gives_a_measured_file(agent: AgentClient) -> None:
    model = own_model()
    made = compress(model, DATA, example(), pruning_ratio=0.5, agent=agent, settings=QUICK, tune=tuned)
    assert sum(made.plan.kept_counts) == 5
    assert current_plan(made.model) == made.plan
    assert made.artifact.manifest.kept_operators == (made.plan.kept[0], *[made.plan.kept[1]] * 2)
    assert made.measurement is not None
    assert made.measurement.request.artifact_sha256 == made.artifact.sha256
    assert same_weights(model, own_model()), "the model was changed"
    assert not torch.equal(made.model.head.weight, model.head.weight), "it was not tuned"


def test_a_ratio_needs_no_agent() -> None:
    made = compress(own_model(), None, example(), pruning_ratio=0.3, criterion="random", allocator="uniform")
    assert (made.plan.kept_counts, made.measurement) == ((4, 3), None)


def test_a_ratio_shared_by_latency_learns_it(agent: AgentClient) -> None:
    options = {"allocator": "latency-aware", "agent": agent, "settings": QUICK}
    made = compress(own_model(), DATA, example(), pruning_ratio=0.5, **options)
    assert made.latency is not None
    with pytest.raises(UsageError, match="needs a latency model"):
        compress(own_model(), DATA, example(), pruning_ratio=0.5, allocator="latency-aware")


@pytest.mark.parametrize("budget_ms", [2.2, 1.7, 1.4])
def test_the_file_measures_under_the_budget_and_uses_it(invented: AgentClient, budget_ms: float) -> None:
    options = {"agent": invented, "settings": QUICK, "tune": tuned}
    made = compress(own_model(), DATA, example(), latency_budget_ms=budget_ms, **options)
    latency = made.measurement.latency_ms
    assert made.measurement.request.artifact_sha256 == made.artifact.sha256
    assert latency.median_interval.high <= budget_ms
    assert latency.median > budget_ms - 0.35, "the next operator of the second layer costs 0.2 ms"
    assert current_plan(made.model) == made.plan
    assert made.latency.predict_ms(made.plan.kept_counts) == pytest.approx(latency.median, rel=0.1)


def test_a_share_of_the_unpruned_latency_is_a_budget_too(invented: AgentClient) -> None:
    options = {"agent": invented, "settings": QUICK}
    made = compress(own_model(), DATA, example(), latency_budget_ratio=0.75, **options)
    assert 0.6 * UNPRUNED_MS < made.measurement.latency_ms.median_interval.high <= 0.75 * UNPRUNED_MS * 1.01


def test_a_budget_is_held_though_layers_cost_more_together_than_alone(tmp_path: Path) -> None:
    """Predictions fail until they are corrected."""

    def surprising(manifest: Manifest) -> float:
        return ms(manifest) * (1.0 if len(manifest.kept_operators) > 1 else 0.3)

    with agent_in_process(tmp_path / "agent", measure=device(surprising)) as agent:
        options = {"agent": agent, "settings": QUICK}
        made = compress(own_model(), DATA, example(), latency_budget_ms=1.6, **options)
    assert made.measurement.latency_ms.median_interval.high <= 1.6
    assert len(made.latency.observations) > 1


def test_a_device_that_slows_down_after_fine_tuning_is_noticed(tmp_path: Path) -> None:
    slow = [False]

    def slowing(manifest: Manifest) -> float:
        return ms(manifest) * (1.2 if slow[0] else 1.0)

    def tune(model: nn.Module) -> None:
        slow[0] = True

    with agent_in_process(tmp_path / "agent", measure=device(slowing)) as agent:
        options = {"agent": agent, "settings": QUICK, "tune": tune}
        made = compress(own_model(), DATA, example(), latency_budget_ms=1.8, **options)
    assert made.measurement.latency_ms.median_interval.high <= 1.8
    assert made.measurement.latency_ms.median == pytest.approx(1.2 * ms(made.artifact.manifest), rel=0.02)


def test_a_budget_out_of_reach_says_the_smallest_that_was_reached(invented: AgentClient) -> None:
    with pytest.raises(BudgetError, match="one operator a layer is left") as caught:
        compress(own_model(), DATA, example(), latency_budget_ms=0.5, agent=invented, settings=QUICK)
    assert caught.value.smallest == pytest.approx(1.3, rel=0.02)


def test_a_real_device_holds_a_budget(agent: AgentClient) -> None:
    """This machine, however busy: 50 ms are a hundred times what the model takes."""
    options = {"agent": agent, "settings": QUICK, "tune": tuned}
    made = compress(own_model("s4", "s4"), DATA, example(), latency_budget_ms=50.0, **options)
    assert made.measurement.latency_ms.median_interval.high <= 50.0
    assert made.measurement.request.artifact_sha256 == made.artifact.sha256


def test_a_device_that_cannot_measure_is_an_error(tmp_path: Path) -> None:
    def broken(*args: object) -> object:
        raise MeasurementError("the device is on fire")

    with (
        agent_in_process(tmp_path / "agent", measure=broken) as agent,
        pytest.raises(MeasurementError, match="on fire"),
    ):
        compress(own_model(), DATA, example(), latency_budget_ms=1.0, agent=agent, settings=QUICK)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "expected one of pruning_ratio, latency_budget_ms, latency_budget_ratio; found none"),
        ({"pruning_ratio": 0.5, "latency_budget_ms": 1.0}, "found pruning_ratio, latency_budget_ms"),
        ({"latency_budget_ms": 1.0}, "latency_budget_ms needs an agent"),
        ({"latency_budget_ratio": -1.0}, "latency_budget_ratio must be positive"),
        ({"pruning_ratio": 1.5}, "not a pruning ratio"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(request_: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compress(own_model(), DATA, example(), **request_)


def test_criteria_without_data_compress_without_data() -> None:
    with pytest.raises(UsageError, match="criterion 'fisher' needs training data"):
        compress(own_model(), None, example(), pruning_ratio=0.5)
    assert compress(own_model(), None, example(), pruning_ratio=0.5, criterion="h2").plan.ratio == 0.5
