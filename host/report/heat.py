"""What stays of each layer, as numbers on a shade of their share."""

from __future__ import annotations

from collections.abc import Sequence

from host.family import Family, Trial
from host.report.headings import stage_heading
from host.report.html import Html, element, table, table_cell
from host.report.rows import kept_trials

__all__ = ["heat_map"]


def heat_map(family: Family) -> Html:
    """Kept operators per layer and kept model; residual channels and states too where a model cut them."""
    trials = kept_trials(family)
    layers = max((len(trial.plan.kept) for trial in trials), default=0)
    rows = [_layer_row(family, trials, layer) for layer in range(layers)]
    if any(trial.features is not None for trial in trials):
        rows.append(_features_row(family, trials))
    return table(_caption(family, trials), ["Layer", *map(stage_heading, trials)], rows, class_="heat")


def _caption(family: Family, trials: Sequence[Trial]) -> str:
    widths = _widths(trials)
    of = f" of {widths[0]}" if len(widths) == 1 else ""
    words = (
        f"Operators kept{of} in each layer; layer 0 is next to the input. The stronger the shade, the more."
    )
    if any(trial.states is not None for trial in trials):
        words += f" Below: how many of its {family.config.d_state} real states each operator keeps."
    if any(trial.features is not None for trial in trials):
        words += (
            " Residual channels carry the signal from layer to layer; an operator of a channel that left the"
            " residual stream is pruned, too."
        )
    return words


def _widths(trials: Sequence[Trial]) -> list[int]:
    return sorted({width for trial in trials for width in trial.plan.num_channels})


def _layer_row(family: Family, trials: Sequence[Trial], layer: int) -> Html:
    narrow = len(_widths(trials)) > 1
    states = any(trial.states is not None for trial in trials)
    cells = (_layer_cell(family, trial, layer, narrow, states) for trial in trials)
    return element("tr", element("th", f"Layer {layer}", scope="row"), *cells)


def _layer_cell(family: Family, trial: Trial, layer: int, narrow: bool, states: bool) -> Html:
    if layer >= len(trial.plan.kept):
        return element("td", "")
    kept, whole = len(trial.plan.kept[layer]), trial.plan.num_channels[layer]
    details = [f"of {whole}"] if narrow else []
    if states:
        count = family.config.d_state if trial.states is None else trial.states[layer]
        details.append(f"{count} states")
    return _shaded(kept, whole, ", ".join(details))


def _features_row(family: Family, trials: Sequence[Trial]) -> Html:
    whole = family.config.full_d_model or family.config.d_model
    cells = (_shaded(whole if t.features is None else len(t.features), whole, f"of {whole}") for t in trials)
    return element("tr", element("th", "Residual channels", scope="row"), *cells)


def _shaded(kept: int, whole: int, detail: str) -> Html:
    return table_cell("td", kept, detail, style=f"--share: {kept / whole:.3f}")
