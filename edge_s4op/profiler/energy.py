"""Energy of an inference: power sampled beside a measurement, what the device draws when idle subtracted.

    energy_mj = (mean power - idle power) duration / inferences
    total_mj = mean power duration / inferences

Both powers are means over time: a reading counts for the time since the one before it. Neighbouring readings
resemble each other (the sensor averages, the load has periods), so the interval comes from the spread of at
most ten blocks of them, by Welch's method for the difference of two means:

    energy_mj +- t sqrt(v_busy + v_idle) duration / inferences

with v = sum_i s_i (m_i - m)^2 / ((k - 1) sum_i s_i) over k blocks of mean m_i and length s_i, and t the
97.5 % point of Student's distribution with

    (v_busy + v_idle)^2 / (v_busy^2 / (k_busy - 1) + v_idle^2 / (k_idle - 1))

degrees of freedom. B. L. Welch, Biometrika 34 (1947); block means: Law, Simulation Modeling and Analysis,
chapter 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_s4op.messages import Energy, Interval
from edge_s4op.profiler.power import PowerSensor

__all__ = ["PowerLog", "Reading", "energy_of"]

SAMPLE_EVERY_S = 0.05
IDLE_S = 0.3

_BLOCKS = 10
_LEAST_READINGS = 3
# 97.5 % points for 1, 2, ... 18 degrees of freedom: two times ten blocks have no more.
_STUDENT_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262),
    *(2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101),
)


@dataclass(frozen=True)
class Reading:
    """A power, mW, that stands for `seconds`."""

    power_mw: float
    seconds: float


class PowerLog:
    """Powers read from a sensor, when idle and when busy; someone else's thread says when.

    A sensor that fails once is never read again, and there is no energy then: what was read before would
    stand for a time it does not cover. Times are seconds of any clock that does not go back.
    """

    def __init__(self, sensor: PowerSensor | None) -> None:
        self._sensor = sensor
        self._idle: list[Reading] = []
        self._busy: list[Reading] = []
        self._last_s = 0.0

    @property
    def works(self) -> bool:
        return self._sensor is not None

    def begin(self, now_s: float) -> None:
        """The next reading covers the time from here on, not what was before (a counter's would)."""
        self._take([], now_s)

    def take_idle(self, now_s: float) -> None:
        self._take(self._idle, now_s)

    def take_busy(self, now_s: float) -> float | None:
        """The power, mW; None if it is not known."""
        return self._take(self._busy, now_s)

    def anew(self) -> PowerLog:
        """With what was drawn when idle, and nothing of when busy."""
        log = PowerLog(self._sensor)
        log._idle = self._idle
        return log

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        """What one of `inferences` took that ran for `duration_s`; None if that is not known.

        It is not known without a sensor, with one that failed, or from fewer than three readings when idle
        or while they ran.
        """
        if self._sensor is None or min(len(self._idle), len(self._busy)) < _LEAST_READINGS:
            return None
        return energy_of(self._sensor.source, self._idle, self._busy, duration_s / inferences)

    def _take(self, into: list[Reading], now_s: float) -> float | None:
        if self._sensor is None:
            return None
        try:
            power_mw = self._sensor.read_mw()
        except (OSError, ValueError):
            self._sensor = None
            return None
        if power_mw is not None:
            into.append(Reading(power_mw, now_s - self._last_s))
        self._last_s = now_s
        return power_mw


def energy_of(source: str, idle: Sequence[Reading], busy: Sequence[Reading], each_s: float) -> Energy:
    """Energy of an inference of `each_s` seconds, by the equations above; two readings or more of either."""
    at_rest, at_work = _mean_of(idle), _mean_of(busy)
    net_mw, margin_mw = at_work.mean_mw - at_rest.mean_mw, _margin_mw(at_work, at_rest)
    return Energy(
        source=source,
        energy_mj=net_mw * each_s,  # mW s = mJ
        interval=Interval(low=(net_mw - margin_mw) * each_s, high=(net_mw + margin_mw) * each_s),
        total_mj=at_work.mean_mw * each_s,
        idle_mw=at_rest.mean_mw,
        mean_mw=at_work.mean_mw,
        samples=len(busy),
    )


@dataclass(frozen=True)
class _Mean:
    """A mean power, the variance of that mean, mW^2, and its degrees of freedom."""

    mean_mw: float
    variance: float
    freedom: int


def _mean_of(readings: Sequence[Reading]) -> _Mean:
    values = np.array([(r.power_mw * r.seconds, r.seconds) for r in readings])  # (n, 2): mJ, s
    blocks = np.array([block.sum(0) for block in np.array_split(values, min(len(values), _BLOCKS))])  # (k, 2)
    energies_mj, seconds = blocks.T
    mean_mw = energies_mj.sum() / seconds.sum()
    spread = (seconds * (energies_mj / seconds - mean_mw) ** 2).sum() / seconds.sum()
    return _Mean(float(mean_mw), float(spread) / (len(blocks) - 1), len(blocks) - 1)


def _margin_mw(busy: _Mean, idle: _Mean) -> float:
    """Half the 95 % interval of the difference of two means."""
    variance = busy.variance + idle.variance
    if variance == 0:
        return 0.0
    share = busy.variance / variance
    freedom = 1 / (share**2 / busy.freedom + (1 - share) ** 2 / idle.freedom)
    # Rounded down, hence on the safe side; a hair is added since 9 may come out as 8.999...
    return _STUDENT_T[math.floor(freedom + 1e-9) - 1] * math.sqrt(variance)
