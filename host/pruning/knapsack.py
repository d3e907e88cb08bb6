"""The multiple-choice knapsack: one option per layer, the most value within a budget, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["choose", "keep_values"]

Floats = npt.NDArray[np.float64]


def choose(
    values: Sequence[Floats], costs: Sequence[Floats], budget: float, *, steps: int = 4096
) -> list[int] | None:
    """Option indices, one per layer, that maximise sum values[i][o_i] with sum costs[i][o_i] <= budget.

    Dynamic programming over `steps` equal parts of the budget: V_i(b) = max_o V_{i-1}(b - c_io) + v_io, in
    O(layers * options * steps). Costs are rounded up to whole parts, so that an answer never exceeds the
    budget; it is the optimum of the rounded costs, and of the given ones where they are whole parts. Options
    of value -inf are not there. Of equal values the cheaper answer wins. None: nothing fits.

    Raises ValueError unless every layer has as many costs as values and all costs are at least 0.
    Kellerer, Pferschy and Pisinger, Knapsack Problems (2004), section 11.5.
    """
    if budget < 0:
        return None
    options = [_worthwhile(v, c) for v, c in zip(values, costs, strict=True)]
    best = np.zeros(steps + 1)
    taken: list[npt.NDArray[np.int64]] = []
    for layer, kept in enumerate(options):
        parts = _parts(costs[layer][kept], budget, steps)
        best, choice = _extended(best, values[layer][kept], parts, steps)
        taken.append(choice)
    if not np.isfinite(best[steps]):
        return None
    return _read_back(taken, options, costs, budget, steps, int(np.argmax(best >= best[steps])))


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


def _parts(costs: Floats, budget: float, steps: int) -> npt.NDArray[np.int64]:
    """Costs in parts of the budget, rounded up, but not for the rounding of the division itself."""
    if budget == 0:
        return np.where(costs > 0, steps + 1, 0)
    exact = costs / budget * steps
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
    costs: Sequence[Floats],
    budget: float,
    steps: int,
    at: int,
) -> list[int]:
    answer = []
    for layer in reversed(range(len(taken))):
        option = taken[layer][at]
        answer.append(int(options[layer][option]))
        at -= int(_parts(costs[layer][options[layer]], budget, steps)[option])
    return answer[::-1]
