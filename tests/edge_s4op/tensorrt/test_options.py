"""Options that no backend could use are refused before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_s4op.errors import BuildError, UnknownNameError, UsageError
from edge_s4op.runtime import RunnerOptions, available_backends, open_runner
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.loading import open_tensorrt
from tests.edge_s4op import tiny


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": 0},
        {"batch": 0},
        {"build_timeout_s": 0.0},
        {"build_timeout_s": float("nan")},
        {"build_memory_bytes": 0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        RunnerOptions(**wrong)


def test_threads_stand_for_those_of_the_options():
    with pytest.raises(UsageError, match="threads = -1"):
        open_runner(tiny.linear_artifact(), threads=-1, options=RunnerOptions(threads=2))


def test_tensorrt_is_a_backend_where_it_is_installed():
    installed = library.version()
    assert available_backends().get("tensorrt") == installed
    with pytest.raises(UnknownNameError, match="tensorrt"):
        open_runner(tiny.linear_artifact(), "tensort")
    if installed is None:
        with pytest.raises(UsageError, match="install tensorrt on this device"):
            open_runner(tiny.linear_artifact(), "tensorrt")


def test_a_build_error_has_a_reason_of_the_list():
    assert BuildError("no engine", reason="timeout", log=["a", "b"]).log == ("a", "b")
    with pytest.raises(ValueError, match="reason must be one of"):
        BuildError("no engine", reason="bad luck")


def test_a_file_whose_sequences_vary_in_length_is_refused_before_anything_is_built():
    artifact = tiny.linear_artifact()
    free = artifact.manifest.inputs[0].model_copy(update={"shape": (-1, -1, tiny.CHANNELS)})
    manifest = artifact.manifest.model_copy(update={"inputs": (free,)})
    varying = replace(artifact, manifest=manifest)
    with pytest.raises(BuildError, match=r"takes no size that varies.*onnxruntime"):
        open_tensorrt(varying, RunnerOptions())
