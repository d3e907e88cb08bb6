"""Parts of the latency (copies, computing, launching), collected beside the latencies themselves."""

from __future__ import annotations

from array import array
from dataclasses import astuple, fields

import numpy as np

from edge_s4op.errors import InferenceError, MeasurementError
from edge_s4op.messages import EngineInfo, Parts, PartStatistics
from edge_s4op.profiler.statistics import percentile
from edge_s4op.runtime.protocol import PartTimes, Runner, TimedRunner

__all__ = ["PartLog", "engine_of"]


class PartLog:
    """Part times of many runs of one runner; stays empty for a runner that cannot tell them apart."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner if isinstance(runner, TimedRunner) else None
        self._values = array("d")  # one row a run

    def note(self) -> None:
        """Take the part times of the run that has just ended. Raises MeasurementError."""
        if self._runner is not None:
            try:
                self._values.extend(astuple(self._runner.part_times()))
            except InferenceError as error:
                raise MeasurementError(f"the parts of a latency cannot be told: {error}") from error

    def summary(self) -> Parts | None:
        """Median and p95 of each part, ms; None if there are none."""
        if not self._values:
            return None
        names = [field.name for field in fields(PartTimes)]
        columns = np.array(self._values).reshape(-1, len(names)).T
        return Parts(**{name: _statistics(column) for name, column in zip(names, columns, strict=True)})


def engine_of(runner: Runner) -> EngineInfo | None:
    """The engine `runner` built; None if it built none."""
    return runner.engine_info() if isinstance(runner, TimedRunner) else None


def _statistics(values_ms: np.ndarray) -> PartStatistics:
    ordered = np.sort(values_ms)
    return PartStatistics(median=float(np.median(ordered)), p95=percentile(ordered, 95))
