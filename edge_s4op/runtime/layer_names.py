"""What a layer of ours is called: from the names of nodes, which are paths like "block0/mix/value"."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence

from edge_s4op.messages import Layers, LayerTime

__all__ = ["OTHER", "layer_of_node", "layers_message"]

OTHER = "(other)"

_BLOCK = re.compile(r"block\d+")

# (layer, operator, ms) of each node that ran, in order
Run = Sequence[tuple[str, str, float]]


def layer_of_node(name: str) -> str:
    """The layer a node belongs to: "block0/mix" of "block0/mix/value", "head" of "head/linear".

    Of other models' nodes, named by the path of their module, it is that path: "net/mlp" of "/net/mlp/Gelu".
    """
    parts = name.strip("/").split("/")
    return "/".join(parts[:2] if _BLOCK.fullmatch(parts[0]) else parts[:-1] or parts)


def layers_message(source: str, runs: Sequence[Run]) -> Layers:
    """Medians over runs of each layer's and each operator's time, ms, layers in order of appearance."""
    times = [_totals(run) for run in runs]
    keys = list(dict.fromkeys(key for run in times for key in run))
    by_key = {key: statistics.median(run.get(key, 0.0) for run in times) for key in keys}
    names = list(dict.fromkeys(layer for layer, _ in keys))
    medians = {name: statistics.median(_of(name, run) for run in times) for name in names}
    total_ms = sum(medians.values())
    return Layers(
        source=source,
        runs=len(runs),
        total_ms=total_ms,
        layers=tuple(_row(name, medians[name], total_ms, by_key) for name in names),
    )


def _row(name: str, median_ms: float, total_ms: float, by_key: Mapping[tuple[str, str], float]) -> LayerTime:
    operators = {operator: ms for (layer, operator), ms in by_key.items() if layer == name}
    return LayerTime(
        name=name,
        median_ms=median_ms,
        share=median_ms / total_ms if total_ms > 0 else 0.0,
        operators=dict(sorted(operators.items(), key=lambda item: -item[1])),
    )


def _totals(run: Run) -> dict[tuple[str, str], float]:
    totals: dict[tuple[str, str], float] = {}
    for layer, operator, ms in run:
        totals[layer, operator] = totals.get((layer, operator), 0.0) + ms
    return totals


def _of(layer: str, run: Mapping[tuple[str, str], float]) -> float:
    return sum(ms for (name, _), ms in run.items() if name == layer)
