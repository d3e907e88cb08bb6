"""The library that was compiled with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.runtime.onnxruntime_plugin import built_plugin


@pytest.fixture(scope="session")
def library() -> Path:
    found = built_plugin()
    if found is None:
        pytest.skip("SSMConv's library is not built: with a C++ compiler, installing the package builds it")
    return found
