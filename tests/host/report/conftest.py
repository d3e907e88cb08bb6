"""A curve is drawn once for all tests of this folder: drawing is what takes their time."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from host.report import latency_section


@pytest.fixture(scope="session", autouse=True)
def drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency_section, "curve_png", functools.cache(latency_section.curve_png))
        yield
