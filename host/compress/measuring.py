"""Measuring on the device: a model file, and what each layer of a user's own model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Interval, MeasurementResult, MeasurementSettings
from host.compress.example import Example, example_inputs
from host.compress.exporting import export
from host.compress.forms import node_kind
from host.compress.layers import checked_layers, current_plan, layer_uses, reference
from host.latency.learn import learn_curve
from host.latency.model import CurvePoint, LatencyModel, LayerCurve, Observation
from host.latency.probe import LayerShape, probe_artifact
from host.measuring import measure_artifact
from host.remeasuring import REMEASURE, remeasured

__all__ = ["learn_latency", "measure"]


def measure(
    artifact: Artifact,
    agent: AgentClient,
    settings: MeasurementSettings | None = None,
    *,
    remeasure: int = REMEASURE,
) -> MeasurementResult:
    """Measure a model file on the agent's device; while that is disturbed again, `remeasure` times at most.

    Raises MeasurementError when the device cannot, AgentError when the agent is lost or refuses.
    """
    settings = settings or MeasurementSettings()
    taken = remeasured(lambda: measure_artifact(agent, artifact, settings), remeasure)
    if taken.result is None:
        raise MeasurementError(str(taken.error))
    return taken.result


def learn_latency(
    model: nn.Module,
    example: Example,
    agent: AgentClient,
    settings: MeasurementSettings | None = None,
    *,
    on_progress: Callable[[str], None] | None = None,
    export_options: Mapping[str, Any] | None = None,
) -> LatencyModel:
    """Latency of `model` on the agent's device as a function of how many operators each layer keeps.

    Each shape of layer is measured by itself at several kept counts, a layer that a pass calls n times counts
    n times, and the model as it is, end to end, settles what the rest of it takes (`host.latency`).
    `export_options` are `export`'s. Raises what `export` raises, MeasurementError where the device cannot
    measure, AgentError.
    """
    report = on_progress or (lambda what: None)
    facts = agent.device()
    settings = settings or MeasurementSettings()
    settings = settings.model_copy(update={"backend": settings.backend or facts.default_backend})
    device = _Device(agent, settings, facts.fingerprint, report)
    report("the whole model")
    whole = measure(export(model, example, **(export_options or {})), agent, settings)
    uses = layer_uses(reference(model), tuple(example_inputs(example).values()))
    curves: dict[str, LayerCurve] = {}
    names = []
    layers = checked_layers(model)
    kind = node_kind(layer for path, layer in layers.items() if uses[path].calls)
    for path, layer in layers.items():
        shape = LayerShape(kind, layer.num_channels, layer.states(), uses[path].seq_len)
        names.append(_learn(device, shape, uses[path].calls, curves))
    seen = Observation(kept_counts=current_plan(model).kept_counts, p50_ms=whole.latency_ms.median)
    used = {name: curves[name] for name in names}
    return LatencyModel.fitted(facts.fingerprint, settings, names, used, [seen])


@dataclass(frozen=True)
class _Device:
    """An agent, how it is to measure, and the device it must stay."""

    agent: AgentClient
    settings: MeasurementSettings
    fingerprint: str
    report: Callable[[str], None]

    def point(self, shape: LayerShape, kept: int) -> CurvePoint | None:
        """One point of a layer's curve; None, with the reason reported, where there is none."""
        name = f"a layer {shape.name} that keeps {kept}"
        self.report(name)
        probe = probe_artifact(shape, kept)
        measurement = remeasured(
            lambda: measure_artifact(self.agent, probe, self.settings, device_fingerprint=self.fingerprint),
            on_again=lambda reasons: self.report(f"{name}: measuring again: {reasons}"),
        )
        if measurement.result is None:
            self.report(f"{name}: {measurement.error}")
            return None
        latency = measurement.result.latency_ms
        return CurvePoint(kept=kept, p50_ms=latency.median, p50_interval_ms=latency.median_interval)


def _learn(device: _Device, shape: LayerShape, calls: int, curves: dict[str, LayerCurve]) -> str:
    """See to it that `curves` has the curve of a layer called so often, and return its name."""
    name = shape.name if calls == 1 else f"{shape.name}-x{calls}"
    if shape.name not in curves:
        curves[shape.name] = _curve(device, shape) if calls else _free_curve(shape)
    curves[name] = _times(curves[shape.name], calls) if calls > 1 else curves[shape.name]
    return name


def _curve(device: _Device, shape: LayerShape) -> LayerCurve:
    known: dict[int, CurvePoint | None] = {}

    def point(kept: int, fresh: bool) -> CurvePoint | None:
        if fresh or kept not in known:
            known[kept] = device.point(shape, kept)
        return known[kept]

    return learn_curve(shape, point)


def _free_curve(shape: LayerShape) -> LayerCurve:
    """The curve of a layer that no pass calls."""
    free = CurvePoint(kept=1, p50_ms=0.0, p50_interval_ms=Interval(low=0.0, high=0.0))
    return LayerCurve(
        kind=shape.kind, num_channels=shape.num_channels, d_state=shape.d_state, seq_len=0, points=(free,)
    )


def _times(curve: LayerCurve, calls: int) -> LayerCurve:
    """The curve of a layer that is called `calls` times a pass."""
    points = tuple(
        point.model_copy(
            update={
                "p50_ms": calls * point.p50_ms,
                "p50_interval_ms": Interval(
                    low=calls * point.p50_interval_ms.low, high=calls * point.p50_interval_ms.high
                ),
            }
        )
        for point in curve.points
    )
    return curve.model_copy(update={"points": points})
