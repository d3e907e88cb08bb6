"""What every step of one compression needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.messages import MeasurementResult, MeasurementSettings
from host.compress.example import Example
from host.compress.exporting import export
from host.compress.measuring import learn_latency, measure
from host.compress.planning import Scores
from host.latency.model import LatencyModel

__all__ = ["Job", "Tune"]

Tune = Callable[[nn.Module], object]
"""`tune(model)` fine-tunes a masked model in place."""


@dataclass(frozen=True)
class Job:
    """One model, which is pruned and tuned in place, with all that is known and wanted of it."""

    model: nn.Module
    example: Example
    scores: Scores
    agent: AgentClient | None
    settings: MeasurementSettings
    tune: Tune | None
    export_options: Mapping[str, Any]
    report: Callable[[str], None]

    def learned(self) -> LatencyModel:
        """The device's latency model of `model` as it is."""
        assert self.agent is not None
        return learn_latency(
            self.model,
            self.example,
            self.agent,
            self.settings,
            on_progress=lambda what: self.report(f"measure {what}"),
            export_options=self.export_options,
        )

    def exported(self, model: nn.Module) -> Artifact:
        """The file of `model`."""
        return export(model, self.example, **self.export_options)

    def measured(self, artifact: Artifact) -> MeasurementResult:
        """What the device says of a file."""
        assert self.agent is not None
        return measure(artifact, self.agent, self.settings)

    def tuned(self) -> None:
        """Fine-tune `model`, where that is wanted."""
        if self.tune is not None:
            self.report("fine-tune")
            self.tune(self.model)
