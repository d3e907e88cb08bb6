"""The multiple-choice knapsack: one option per layer, the most value within a budget, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["choose", "keep_values"]

Floats = npt.NDArray[np.float64]


def choose(
    values: Sequence[Floats], costs: Sequence[Floats], budget: float, *, steps: int = 4096
) -> list[int] | None:
    """Option indices, one per layer, that maximise sum values[i][o_i] with sum costs[i][o_i] <= budget.

    Every layer takes at least its cheapest option; what the budget leaves above those, `room`, is divided
    into `steps` equal parts. Dynamic programming over them: V_i(b) = max_o V_{i-1}(b - e_io) + v_io with e_io
    what option o costs more than the layer's cheapest, in O(layers * options * steps). Extra costs are
    rounded up to whole parts, so that an answer never exceeds the budget; it is the optimum of the rounded
    costs, and of the given ones where they are whole parts. Options of value -inf are not there. Of equal
    values the cheaper answer wins. None: not even the cheapest options fit (to a relative 1e-12, the rounding
    of sums).

    Raises ValueError unless every layer has as many costs as values, all costs are at least 0 and the budget
    is a number. Kellerer, Pferschy and Pisinger, Knapsack Problems (2004), section 11.5.
    """
    if math.isnan(budget):
        raise ValueError("the budget must be a number, found nan")
    options = [_worthwhile(v, c) for v, c in zip(values, costs, strict=True)]
    if not all(len(kept) for kept in options):
        return None
    extra = [np.asarray(c)[kept] - np.asarray(c)[kept[0]] for c, kept in zip(costs, options, strict=True)]
    room = budget - math.fsum(float(c[kept[0]]) for c, kept in zip(costs, options, strict=True))
    if room < -1e-12 * abs(budget):
        return None
    if math.fsum(float(layer[-1]) for layer in extra) <= room:
        return [int(kept[-1]) for kept in options]
    parts = [_parts(layer, room, steps) for layer in extra]
    best = np.zeros(steps + 1)
    taken: list[npt.NDArray[np.int64]] = []
    for layer, kept in enumerate(options):
        best, choice = _extended(best, np.asarray(values[layer])[kept], parts[layer], steps)
        taken.append(choice)
    return _read_back(taken, options, parts, int(np.argmax(best >= best[steps])))


def keep_values(scores: Floats, open_to_keep: Sequence[int]) -> Floats:
    """The best score a layer can keep with k operators of `open_to_keep`: entry k for k = 0 ... H.

    -inf where there is no such choice: k = 0, which no layer may keep, and more than there are.
    """
    values = np.full(len(scores) + 1, -np.inf)
    ranked = np.sort(np.asarray(scores, np.float64)[list(open_to_keep)])[::-1]
    values[1 : len(ranked) + 1] = np.cumsum(ranked)
    return values


def _worthwhile(values: Floats, costs: Floats) -> npt.NDArray[np.int64]:
    """Options that no other dominates (costs no more and is worth no less), cheapest first.

    A plateau of the latency curve so comes down to its last count, just under the cliff.
    """
    if np.shape(values) != np.shape(costs) or np.any(np.asarray(costs) < 0):
        raise ValueError("every option needs one value and one cost of at least 0")
    order = np.lexsort((-np.asarray(values), np.asarray(costs)))
    order = order[np.isfinite(np.asarray(values)[order])]
    ahead = np.maximum.accumulate(np.concatenate([[-np.inf], np.asarray(values)[order][:-1]]))
    return order[np.asarray(values)[order] > ahead[: len(order)]]


def _parts(extra: Floats, room: float, steps: int) -> npt.NDArray[np.int64]:
    """Costs in parts of the room, rounded up, but not for the rounding of the division itself."""
    if room <= 0:
        return np.where(extra > 0, steps + 1, 0)
    exact = np.minimum(extra / room, 2.0) * steps
    return np.minimum(np.ceil(exact - 1e-9 * np.maximum(exact, 1)), steps + 1).astype(np.int64)


def _extended(
    best: Floats, values: Floats, parts: npt.NDArray[np.int64], steps: int
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """One more layer: the best values at every budget, and which option reaches each."""
    reached = np.full(steps + 1, -np.inf)
    choice = np.full(steps + 1, -1)
    for option, (value, cost) in enumerate(zip(values, parts, strict=True)):
        if cost > steps:
            continue
        candidate = best[: steps + 1 - cost] + value
        better = candidate > reached[cost:]
        reached[cost:][better] = candidate[better]
        choice[cost:][better] = option
    return reached, choice


def _read_back(
    taken: list[npt.NDArray[np.int64]],
    options: list[npt.NDArray[np.int64]],
    parts: list[npt.NDArray[np.int64]],
    at: int,
) -> list[int]:
    answer = []
    for layer in reversed(range(len(taken))):
        option = taken[layer][at]
        answer.append(int(options[layer][option]))
        at -= int(parts[layer][option])
    return answer[::-1]
