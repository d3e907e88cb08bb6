"""A measurement waits for the board to be as cool as it was, for no longer, and not without sensors."""

from __future__ import annotations

import pytest

from edge_s4op.errors import MeasurementError
from edge_s4op.profiler.measure import CANCELLED
from edge_s4op.profiler.telemetry import Board, Sensor, cool_down


class Cooling:
    """Falls by 10 units a second of its own clock, which goes on only while something sleeps."""

    def __init__(self, value: float, quantity: str = "temperature") -> None:
        self.value, self.now_s = value, 0.0
        self.board = Board((Sensor(quantity, "a", "", lambda: self.value - 10 * self.now_s),))  # type: ignore[arg-type]

    def wait(self, reference: dict[str, float] | None, max_ms: float = 10_000, stop: bool = False) -> float:
        return cool_down(
            self.board, reference, max_ms, lambda: stop, self.sleep, lambda: round(self.now_s * 1e9)
        )

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_it_waits_until_the_board_is_two_degrees_above_its_idle_level() -> None:
    assert Cooling(60).wait({"temperature a": 40}) == pytest.approx(1800, abs=101)


def test_it_waits_no_longer_than_told() -> None:
    assert Cooling(99).wait({"temperature a": 1}, max_ms=550) == pytest.approx(550)


def test_a_clock_that_stays_up_is_waited_for_at_most_a_second() -> None:
    assert Cooling(1500, "clock").wait({"clock a": 1495}) == 0
    assert Cooling(1500, "clock").wait({"clock a": 300}) == pytest.approx(1000, abs=101)


@pytest.mark.parametrize("reference", [None, {}, {"temperature b": 10.0}, {"temperature a": 59.0}])
def test_nothing_to_wait_for(reference: dict[str, float] | None) -> None:
    assert Cooling(60).wait(reference) == 0


def test_it_can_be_cancelled() -> None:
    with pytest.raises(MeasurementError) as error:
        Cooling(60).wait({"temperature a": 40}, stop=True)
    assert error.value.what == CANCELLED
