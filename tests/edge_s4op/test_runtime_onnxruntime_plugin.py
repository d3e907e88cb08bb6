"""Which library runs SSMConv in ONNX Runtime: found, named, left out, of no use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_s4op.artifact import Artifact
from edge_s4op.errors import UsageError
from edge_s4op.files import sha256_of_file
from edge_s4op.profiler.device import device_facts
from edge_s4op.runtime import RunnerOptions, available_backends, open_runner
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.onnxruntime_plugin import (
    ISA_VARIABLE,
    VARIABLE,
    built_plugin,
    find_plugin,
    instruction_set,
    plugin_fact,
)
from edge_s4op.runtime.protocol import ProfiledRunner

FACT = "ssm-conv-onnxruntime"

needs_library = pytest.mark.skipif(
    built_plugin() is None,
    reason="SSMConv's library is not built: with a C++ compiler, installing the package builds it",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(ISA_VARIABLE, raising=False)


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def artifact(request: pytest.FixtureRequest) -> Artifact:
    pytest.importorskip("torch", reason="exporting a model needs torch: install the host extra")
    from host.export import export_model
    from tests.host.export_samples import sample_model

    return export_model(sample_model(), precision=request.param)


def operators(artifact: Artifact, options: RunnerOptions) -> set[str]:
    """What ONNX Runtime runs in the layers block*/ssm."""
    runner = open_runner(artifact, options=options)
    assert isinstance(runner, ProfiledRunner)
    layers = runner.layers(random_feeds(artifact.manifest, 1)).layers
    return {operator for row in layers if row.name.endswith("/ssm") for operator in row.operators}


@needs_library
def test_a_float32_file_runs_by_the_library_others_by_their_body(artifact: Artifact) -> None:
    found = operators(artifact, RunnerOptions())
    assert found == {"SSMConv"} if artifact.manifest.precision == "fp32" else "MatMul" in found


@needs_library
def test_both_ways_give_the_same(artifact: Artifact) -> None:
    feeds = random_feeds(artifact.manifest, 3)
    ways = [open_runner(artifact, options=RunnerOptions(plugin=plugin)) for plugin in ("auto", None)]
    found, expected = (way.run(feeds)["logits"] for way in ways)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_a_library_the_function_body_runs(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "SSMConv" not in operators(artifact, RunnerOptions(plugin=None))
    monkeypatch.setenv(VARIABLE, "none")
    assert find_plugin() is None
    assert "SSMConv" not in operators(artifact, RunnerOptions())


@needs_library
def test_a_library_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = built_plugin()
    assert built is not None
    assert find_plugin() == built
    other = tmp_path / "other.so"
    other.write_bytes(built.read_bytes())
    monkeypatch.setenv(VARIABLE, str(other))
    assert find_plugin() == other
    assert plugin_fact() == f"{instruction_set(built)}, library {sha256_of_file(other)[:12]}"
    assert find_plugin(built) == built.resolve()  # what the caller names comes first
    assert find_plugin(None) is None


def test_a_named_library_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = tmp_path / "missing.so"
    with pytest.raises(UsageError, match=r"no SSMConv library .*missing\.so"):
        find_plugin(missing)
    monkeypatch.setenv(VARIABLE, str(missing))
    with pytest.raises(UsageError, match=f"no SSMConv library .*unset {VARIABLE}"):
        find_plugin()
    assert plugin_fact() == "unusable"


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF" + bytes(60)])
def test_a_file_that_is_no_library_is_not_the_models_fault(
    artifact: Artifact, tmp_path: Path, content: bytes
) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(content)
    if artifact.manifest.precision == "fp16":
        open_runner(artifact, options=RunnerOptions(plugin=library))  # not asked for
        return
    with pytest.raises(UsageError, match=rf"library .*library\.so cannot be loaded.*{VARIABLE}=none"):
        open_runner(artifact, options=RunnerOptions(plugin=library))


def test_another_library_is_refused(tmp_path: Path) -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as another

    with pytest.raises(UsageError, match=r"cannot be loaded: .*s4op_instruction_set"):
        instruction_set(Path(another.__file__))


@needs_library
def test_an_instruction_set_nobody_knows_is_refused(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, "mmx")
    if artifact.manifest.precision == "fp32":
        with pytest.raises(UsageError, match=f"{ISA_VARIABLE} names no instruction set.*found mmx"):
            open_runner(artifact)
    assert plugin_fact() == "unusable"


@needs_library
def test_the_fingerprint_knows_how_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    built = built_plugin()
    assert built is not None
    library = device_facts(available_backends())
    assert library.versions[FACT] == instruction_set(built)
    monkeypatch.setenv(VARIABLE, "none")
    body = device_facts(available_backends())
    assert body.versions[FACT] == "function body"
    assert body.fingerprint != library.fingerprint
    assert FACT not in device_facts({"tensorrt": "10.3"}).versions


@needs_library
def test_the_documented_session_of_ones_own_runs_by_the_library(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "onnxruntime.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(artifact.content)
    names: dict[str, Any] = {}
    if artifact.manifest.precision == "fp16":  # as the page says
        with pytest.raises(Exception, match=r"float16.*invalid"):
            exec(compile(code, str(page), "exec"), names)
        return
    exec(compile(code, str(page), "exec"), names)
    feeds = random_feeds(artifact.manifest, 2)
    expected = open_runner(artifact).run(feeds)["logits"]
    np.testing.assert_array_equal(names["session"].run(None, dict(feeds))[0], expected)
