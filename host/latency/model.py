"""Latency as a function of how many operators each layer keeps.

    latency(k_1 ... k_n) = base + scale (f_1(k_1) + ... + f_n(k_n))

f_i is the measured curve of layer i's shape: straight between neighbouring measured counts, so a cliff
stands where it was found, between two counts that differ by one. `base` is everything that does not depend
on kept counts; both are fitted to the end-to-end measurements the search makes as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edge_s4op.messages import Interval, MeasurementSettings

__all__ = ["CurvePoint", "LatencyModel", "LayerCurve", "Observation"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CurvePoint(_Value):
    """One measured point of a curve: a layer that keeps `kept` operators, ms."""

    kept: int = Field(ge=1)
    p50_ms: float
    p50_interval_ms: Interval
    disturbed: bool = Field(default=False, description="the device was not steady, even when measured again")


class LayerCurve(_Value):
    """Measured latency of one shape of layer; `cliffs` are counts k where k + 1 costs a jump more."""

    num_channels: int
    d_state: int
    seq_len: int
    kind: str
    points: tuple[CurvePoint, ...] = Field(min_length=1, description="ascending in kept")
    cliffs: tuple[int, ...] = ()

    def ms(self) -> npt.NDArray[np.float64]:
        """Latency at every count, ms: entry k for k = 0 ... num_channels; entry 0, which no layer keeps,
        and entries below the first point continue the first segment's value."""
        kept = [point.kept for point in self.points]
        return np.interp(np.arange(self.num_channels + 1), kept, [point.p50_ms for point in self.points])


class Observation(_Value):
    """A whole model measured end to end."""

    kept_counts: tuple[int, ...]
    p50_ms: float


class LatencyModel(_Value):
    """Predicts the latency of a whole model on one device from its kept counts."""

    schema_version: Literal[1] = 1
    device_fingerprint: str
    settings: MeasurementSettings
    layers: tuple[str, ...] = Field(description="the curve of each layer, by its name in `curves`")
    curves: dict[str, LayerCurve]
    observations: tuple[Observation, ...] = Field(min_length=1, description="the unpruned model first")
    base_ms: float
    scale: float = 1.0

    @classmethod
    def fitted(
        cls,
        device_fingerprint: str,
        settings: MeasurementSettings,
        layers: Sequence[str],
        curves: dict[str, LayerCurve],
        observations: Sequence[Observation],
    ) -> LatencyModel:
        """The model whose base and scale fit whole models measured end to end, the last one exactly.

        With x_j = sum_i f_i(k_ij) of observation j and w_j halving every second step back in time, scale s is

            s = argmin sum_j w_j (y_j - y_n - s (x_j - x_n))^2 + (x_n / 5)^2 (s - 1)^2

        within [1/4, 4], and base = y_n - s x_n. A layer alone pays overheads that the model pays once, so
        base may be below zero; where one operator a layer would take no time, s is lowered until it does.
        """
        sums = np.array([_sum_ms(layers, curves, o.kept_counts) for o in observations])
        measured = np.array([o.p50_ms for o in observations])
        weights = 0.5 ** (np.arange(len(sums))[::-1] / 2)
        x, y, ridge = sums - sums[-1], measured - measured[-1], (sums[-1] / 5) ** 2
        scale = float((weights @ (x * y) + ridge) / (weights @ (x * x) + ridge)) if sums[-1] > 0 else 1.0
        scale = min(max(scale, 0.25), 4.0)
        least = float(sums[-1]) - _sum_ms(layers, curves, (1,) * len(layers))
        if scale * least > 0.95 * measured[-1]:
            scale = float(0.95 * measured[-1] / least)
        base_ms = float(measured[-1] - scale * sums[-1])
        return cls(
            device_fingerprint=device_fingerprint,
            settings=settings,
            layers=tuple(layers),
            curves=curves,
            observations=tuple(observations),
            base_ms=base_ms,
            scale=scale,
        )

    def corrected(self, kept_counts: Sequence[int], p50_ms: float) -> LatencyModel:
        """The model with one more end-to-end measurement, which it now predicts exactly."""
        seen = Observation(kept_counts=tuple(kept_counts), p50_ms=p50_ms)
        return LatencyModel.fitted(
            self.device_fingerprint, self.settings, self.layers, self.curves, (*self.observations, seen)
        )

    def layer_ms(self, layer: int) -> npt.NDArray[np.float64]:
        """What layer `layer` adds at every kept count, scaled, ms: entry k for k = 0 ... num_channels."""
        return self.scale * self.curves[self.layers[layer]].ms()

    def predict_ms(self, kept_counts: Sequence[int]) -> float:
        """Median latency of the whole model, ms."""
        return self.base_ms + self.scale * _sum_ms(self.layers, self.curves, kept_counts)


def _sum_ms(layers: Sequence[str], curves: dict[str, LayerCurve], kept_counts: Sequence[int]) -> float:
    pairs = zip(layers, kept_counts, strict=True)
    return float(sum(curves[name].ms()[kept] for name, kept in pairs))
