import math

import pytest

from host.training.schedule import learning_rate_factor, warmup_steps


def factors(total: int, warmup: int) -> list[float]:
    return [learning_rate_factor(step, total, warmup) for step in range(total)]


def test_the_rate_rises_linearly_then_falls_along_a_cosine():
    cosine = [1, (1 + math.sqrt(3) / 2) / 2, 0.75, 0.5, 0.25, (1 - math.sqrt(3) / 2) / 2]
    assert factors(10, 4) == pytest.approx([0.25, 0.5, 0.75, 1.0, *cosine])


def test_without_warmup_the_first_step_has_the_full_rate():
    assert factors(4, 0) == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (7, 6), (50, 5)])
def test_every_step_has_a_rate_between_zero_and_the_peak(total, warmup):
    assert all(0 < factor <= 1 for factor in factors(total, warmup))
    assert max(factors(total, warmup)) == 1


def test_warmup_is_the_rounded_fraction_of_all_steps():
    assert [warmup_steps(96, 0.1), warmup_steps(96, 0.0), warmup_steps(3, 0.9)] == [10, 0, 3]
