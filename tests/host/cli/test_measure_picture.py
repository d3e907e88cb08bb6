"""The picture of a measurement."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from edge_s4op.messages import MeasurementResult
from host.measure_view import write_picture
from host.measure_view.picture import picture_png
from tests.host.cli.measure_samples import DEADLINE, DISTURBED, FULL, result_of, samples


@pytest.mark.parametrize(
    ("measured", "taken"),
    [
        (result_of(**FULL, deadline=DEADLINE, disturbed=DISTURBED), samples()),
        (result_of(), samples(0)),
        (result_of(), np.array([1.0])),
        (result_of(), np.zeros(10)),
        (result_of(), np.geomspace(0.1, 100, 300)),
    ],
    ids=["everything", "plain", "one sample", "zeros", "three decades"],
)
def test_any_measurement_can_be_drawn(tmp_path: Path, measured: MeasurementResult, taken: np.ndarray) -> None:
    write_picture(measured, taken, tmp_path / "m.png", "model_$x_1$.onnx")
    image = matplotlib.image.imread(tmp_path / "m.png")
    assert image.shape[1] == 1080
    assert 0.3 < float(image[..., :3].mean()) < 0.999  # neither black nor blank


def test_layers_have_a_part_of_the_picture(tmp_path: Path) -> None:
    heights = []
    for number, measured in enumerate((result_of(), result_of(layers=FULL["layers"]))):
        write_picture(measured, samples(), tmp_path / f"{number}.png", "model.onnx")
        heights.append(matplotlib.image.imread(tmp_path / f"{number}.png").shape[0])
    assert heights[1] > heights[0] + 100


def test_many_samples_are_thinned_but_no_outlier_is_lost() -> None:
    """A hundred thousand samples draw as a picture of ordinary size."""
    taken = np.tile(samples(), 500)
    assert len(picture_png(result_of(stability=FULL["stability"]), taken, "many")) < 400_000
