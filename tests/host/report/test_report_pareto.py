from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from edge_s4op.errors import StorageError
from host.family import Family
from host.report import write_pareto
from host.report.pareto import pareto_figure, pareto_png
from host.report.pareto_style import DARK, NARROW
from tests.host.report.latency_samples import budget_family, budget_trial
from tests.host.report.report_samples import (
    KEPT_PER_LAYER,
    TEST,
    candidates,
    family,
    kept_at,
    latency,
    trial,
    unpruned,
)

PNG = b"\x89PNG\r\n\x1a\n"


def series(figure: Figure, label: str) -> list[tuple[float, float]]:
    found = [s for s in figure.axes[0].collections if s.get_label() == label]
    return [(round(x, 3), round(y, 2)) for each in found for x, y in each.get_offsets().tolist()]


def words(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text() for text in axes.texts] + [axes.get_xlabel(), axes.get_ylabel()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
    pairs = [(one, other) for i, one in enumerate(boxes) for other in boxes[i + 1 :]]
    return [(one[0], other[0]) for one, other in pairs if one[1].overlaps(other[1])]


def test_the_file_is_a_png_for_a_readme(tmp_path: Path) -> None:
    write_pareto(family(), tmp_path / "pareto.png")
    content = (tmp_path / "pareto.png").read_bytes()
    assert content.startswith(PNG)
    assert struct.unpack(">II", content[16:24]) == (1800, 1120)
    assert [path.name for path in tmp_path.iterdir()] == ["pareto.png"]


def test_the_same_family_gives_the_same_bytes() -> None:
    assert pareto_png(family()) == pareto_png(family())


def test_a_path_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        write_pareto(family(), tmp_path / "file" / "pareto.png")


def test_kept_models_show_validation_and_test_accuracy_at_their_latency() -> None:
    figure = pareto_figure(family())
    assert (1.51, 96.25) in series(figure, "kept, validation accuracy")
    assert (1.51, 95.33) in series(figure, "kept, test accuracy")
    assert len(series(figure, "kept, test accuracy")) == len(TEST)


def test_other_candidates_show_validation_accuracy() -> None:
    shown = series(pareto_figure(family()), "other candidates, validation accuracy")
    assert len(shown) == 8
    assert (0.801, 73.75) in shown
    assert (0.801, 78.75) not in shown


def test_kept_models_are_labelled() -> None:
    figure = pareto_figure(family())
    assert {"unpruned", "30 % pruned", "50 % pruned", "70 % pruned", "90 % pruned"} <= set(words(figure))


def front(figure: Figure) -> list[list[float]]:
    lines = [line for line in figure.axes[0].lines if line.get_label() == "Pareto front of all trials"]
    assert all(line.get_drawstyle() == "steps-post" for line in lines)
    return [[round(y, 2) for y in line.get_ydata()] for line in lines]


def colors(figure: Figure, label: str) -> list[list[float]]:
    (found,) = [s for s in figure.axes[0].collections if s.get_label() == label]
    return found.get_facecolors().tolist()


def test_the_front_of_all_trials_is_a_step_line() -> None:
    assert front(pareto_figure(family())) == [[78.75, 93.75, 96.25, 97.5]]
    better = trial(0.5, 9, KEPT_PER_LAYER[0.5], 0.99)
    assert front(pareto_figure(family(unpruned(), *candidates(0.3), better))) == [[99.0]]
    assert front(pareto_figure(family(unpruned(latency=None)))) == []


def test_dominated_trials_are_faint() -> None:
    better = trial(0.5, 9, KEPT_PER_LAYER[0.5], 0.97)
    figure = pareto_figure(family(unpruned(), *candidates(0.3), *candidates(0.5), better))
    assert [alpha for *_, alpha in colors(figure, "kept, validation accuracy")] == pytest.approx([1.0, 0.4])
    others = colors(figure, "other candidates, validation accuracy")
    assert [alpha for *_, alpha in others] == pytest.approx([0.6] * 4 + [1.0])


def test_models_planned_for_a_budget_are_told_apart_with_their_budgets() -> None:
    sample = budget_family()
    figure = pareto_figure(sample)
    assert {"budget 1.9 ms", "budget 1.3 ms", "budget 0.8 ms", "30 % pruned"} <= set(words(figure))
    assert len(series(figure, "kept, planned for a latency budget")) == 3
    limits = [line.get_xdata()[0] for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert sorted(limits) == [0.8, 1.3, 1.9]
    asked = pareto_figure(sample, budget_ms=1.3)
    lines = [line.get_xdata()[0] for line in asked.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert sorted(lines) == [0.8, 1.3, 1.9]  # the asked one once, not twice


def test_intervals_are_drawn_at_their_bounds() -> None:
    figure = pareto_figure(family(unpruned()))
    (bars,) = [c.get_segments() for c in figure.axes[0].collections if hasattr(c, "get_segments")]
    assert bars[0][:, 0].tolist() == pytest.approx([0.982 * 2.3992, 1.02 * 2.3992])


def test_only_the_chosen_model_is_ringed() -> None:
    sample = family()
    assert series(pareto_figure(sample, chosen=kept_at(sample, 0.7)), "chosen model") == [(1.148, 93.75)]
    assert series(pareto_figure(sample), "chosen model") == []


def test_the_budget_is_a_line_on_the_axis() -> None:
    figure = pareto_figure(family(), budget_ms=1.6)
    assert "budget 1.6 ms" in words(figure)
    assert any(list(line.get_xdata()) == [1.6, 1.6] for line in figure.axes[0].lines)


@pytest.mark.parametrize(("budget_ms", "side"), [(500.0, "right"), (1e-9, "left")])
def test_a_budget_far_off_is_told_rather_than_squashing_the_plot(budget_ms: float, side: str) -> None:
    sample = family(unpruned()) if side == "left" else family()
    figure = pareto_figure(sample, budget_ms=budget_ms)
    assert figure.axes[0].get_xlim()[1] < 5
    assert any(f"far to the {side}" in text for text in words(figure))


def test_labels_do_not_cover_one_another_where_latencies_are_close() -> None:
    close = [
        trial(rate, 7, KEPT_PER_LAYER[rate], 0.9, latency=latency(1 + rate / 50), kept=True)
        for rate in KEPT_PER_LAYER
    ]
    figure = pareto_figure(family(unpruned(), *close), budget_ms=1.1)
    assert overlapping(figure) == []


@pytest.mark.parametrize(
    "sample",
    [
        family(unpruned()),
        family(unpruned(latency=None, error="no answer")),
        family(unpruned(latency=None), *candidates(0.3)),
        family(unpruned(validation_accuracy=None)),
        family(unpruned(validation_accuracy=None, test_accuracy=None)),
        family(unpruned(), trial(0.3, 7, KEPT_PER_LAYER[0.3], None, latency=None, error="lost")),
        family(unpruned(), trial(0.5, 7, KEPT_PER_LAYER[0.5], 0.9625, test_accuracy=0.9667, kept=True)),
        family(unpruned(latency=latency(0.0))),
        family(unpruned(kept=False)),
        budget_family(),
        family(unpruned(), budget_trial(1.3, budget_ms=1e6)),
        family(unpruned(), budget_trial(1.3, budget_ms=None, stage="budget-0.5x")),
        family(dataset="$\\frac{1$ ^_ \n" + "long " * 60),
    ],
    ids=str.split(
        "one unmeasured gap test-only no-accuracy error equal zero none-kept budgets far-budget ratio name"
    ),
)
def test_every_family_can_be_drawn(sample: Family) -> None:
    chosen = next(iter(sample.kept()), None)
    assert pareto_png(sample, budget_ms=2.0, chosen=chosen, palette=DARK, layout=NARROW).startswith(PNG)


def test_kept_models_that_cannot_be_drawn_are_named() -> None:
    figure = pareto_figure(family(unpruned(latency=None), *candidates(0.3)))
    assert any("without latency or accuracy: unpruned" in text for text in words(figure))
    assert "unpruned" not in words(figure)


def test_pyplot_and_its_global_state_are_not_touched() -> None:
    code = "import sys, host.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
