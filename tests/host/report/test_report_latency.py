from __future__ import annotations

import re

import pytest

from host.latency.model import Observation
from host.report.curve_plot import CURVE_NARROW, CURVE_WIDE, curve_figure, curve_png
from host.report.latency_section import latency_section
from host.report.pareto_style import DARK
from tests.host.report.latency_samples import (
    BASE_MS,
    CLIFF,
    DISTURBED,
    GRID,
    OTHER_DEVICE,
    budget_family,
    budget_trial,
    curve,
    latency_model,
    points,
)
from tests.host.report.report_samples import CHANNELS, LAYERS, family, unpruned

PNG = b"\x89PNG\r\n\x1a\n"


def text_of(content: str) -> str:
    return re.sub("<[^>]*>", " ", content)


def test_the_curve_shows_every_point_and_its_interval() -> None:
    axes = curve_figure(curve(), "a curve").axes[0]
    assert axes.lines[0].get_xdata().tolist() == list(GRID)
    bars = [segment for each in axes.collections for segment in each.get_segments()]
    first = points()[0]
    assert len(bars) == len(GRID)
    bounds = [first.p50_interval_ms.low, first.p50_interval_ms.high]
    assert any(bar[:, 1].tolist() == pytest.approx(bounds) for bar in bars)


def test_cliffs_are_dashed_lines_named_by_their_count() -> None:
    figure = curve_figure(curve(cliffs=(8, CLIFF)), "a curve")
    axes = figure.axes[0]
    upright = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert upright == [8, CLIFF]
    assert {"8", str(CLIFF)} <= {each.get_text() for each in axes.texts}
    legend = [each.get_text() for each in figure.legends[0].get_texts()]
    assert sum("cliff" in words for words in legend) == 1


def test_disturbed_points_are_hollow_and_in_the_legend() -> None:
    (series,) = (
        c for c in curve_figure(curve(), "a curve").axes[0].containers if "disturbed" in c.get_label()
    )
    assert series.lines[0].get_xdata().tolist() == [DISTURBED]
    assert series.lines[0].get_markerfacecolor() == "none"
    steady = curve(points=[point for point in points() if not point.disturbed], cliffs=())
    legend = curve_figure(steady, "a curve").legends[0].get_texts()
    assert [each.get_text() for each in legend] == ["measured"]


@pytest.mark.parametrize("layout", [CURVE_WIDE, CURVE_NARROW], ids=["wide", "narrow"])
def test_the_legend_stays_within_the_picture(layout: object) -> None:
    figure = curve_figure(curve(), "$a_curve " * 40, DARK, layout)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


def test_any_curve_can_be_drawn_and_always_the_same() -> None:
    one = curve(points=points()[:1], cliffs=())
    assert curve_png(one, "one point").startswith(PNG)
    assert curve_png(one, "one point") == curve_png(one, "one point")


def test_a_family_without_a_latency_model_has_no_section() -> None:
    assert latency_section(family()) == ""


def test_layers_are_named_with_their_curves() -> None:
    shown = text_of(latency_section(budget_family()))
    rows = re.findall(r"Layer (\d)\s+curve (\d)\s+(\w+)", shown)
    assert rows == [("0", "1", "none"), *((str(layer), "2", str(CLIFF)) for layer in range(1, LAYERS))]
    assert f"the base is {BASE_MS:.3f} ms, the scale 1.050" in shown


def test_each_distinct_curve_has_one_figure_which_words_describe() -> None:
    content = latency_section(budget_family())
    alternatives = re.findall(r'alt="([^"]*)"', content)
    assert [each.split(":")[1].strip() for each in alternatives] == ["layer 0", "layers 1 to 3"]
    assert f"Cliffs after: {CLIFF}." in alternatives[1]
    assert f"{DISTURBED}: 0.484 ms (disturbed)" in alternatives[1]
    assert "Hollow" in content
    assert "Hollow" not in latency_section(budget_family(latency_models=(latency_model(**steady()),)))


def steady() -> dict[str, object]:
    return {"layers": ("first",) * LAYERS, "curves": {"first": latency_model().curves["first"]}}


def test_whole_models_are_predicted_against_measured() -> None:
    model = latency_model()
    full = (CHANNELS,) * LAYERS
    measured = Observation(kept_counts=full, p50_ms=model.predict_ms(full) / 1.1)
    shown = text_of(latency_section(family(latency_models=(latency_model(observations=(measured,)),))))
    assert re.search(r"32, 32, 32, 32\s+2\.16\s+1\.96\s+\+10\.0", shown)
    assert "median 10.0 %, largest 10.0 %" in shown


def test_many_whole_models_are_folded_away() -> None:
    many = latency_model(observations=latency_model().observations * 5)
    assert "<details><summary>All 20 whole models" in latency_section(family(latency_models=(many,)))
    assert "<details>" not in latency_section(budget_family())


def test_plans_stand_with_what_was_predicted_before_they_were_measured() -> None:
    shown = text_of(latency_section(budget_family()))
    assert re.search(r"budget 0.8 ms, seed 7\s+0\.8\s+0\.770\s+0\.790\s+0\.776-0\.806\s+-2\.5", shown)
    lost = budget_trial(1.3, latency=None, budget_ms=None)
    shown = text_of(latency_section(family(unpruned(), lost, latency_models=(latency_model(),))))
    assert re.search(r"budget 1.3 ms, seed 7\s+-\s+1\.31\s+-\s+-", shown)


def test_smaller_shapes_are_folded_away_and_share_curves() -> None:
    narrow = curve(num_channels=20, d_state=16, points=points()[:4], cliffs=())
    small = latency_model(
        layers=("rest", *["narrow"] * 3),
        curves={**latency_model().curves, "narrow": narrow},
        observations=(Observation(kept_counts=(32, 20, 20, 20), p50_ms=1.0),),
    )
    content = latency_section(family(latency_models=(small, latency_model())))
    assert "<summary>Models of 20 to 32 channels and 16 to 64 states</summary>" in content
    shown, _, folded = content.partition("<details>")
    assert re.findall("Curve [0-9]", "".join(re.findall(r'alt="[^"]*"', shown))) == ["Curve 1", "Curve 2"]
    assert re.findall("Curve [0-9]", "".join(re.findall(r'alt="[^"]*"', folded))) == ["Curve 3"]
    assert re.findall(r"curve (\d)", text_of(folded)) == ["2", "3", "3", "3"]
    assert "every width" in content


def test_the_models_of_several_devices_are_named() -> None:
    other = latency_model(device_fingerprint=OTHER_DEVICE.fingerprint)
    unknown = latency_model(device_fingerprint="a" * 64)
    content = latency_section(budget_family(latency_models=(latency_model(), other, unknown)))
    headings = re.findall("<h3>(.*?)</h3>", content)
    assert headings == ["PC (invented)", "Orin Nano (invented)", "device aaaaaaaa"]
