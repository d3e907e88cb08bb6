"""The shipped library in a real registry, and a real ONNX parser that hands it a really exported file."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from edge_s4op import op

PROGRAM = Path(__file__).with_name("tensorrt_rtx_parse.py")

if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip(
        "no tensorrt_rtx: the plugin is not loaded into a real registry; pip install tensorrt-rtx-cu12 "
        "(Linux, x86_64) would run this",
        allow_module_level=True,
    )
torch = pytest.importorskip("torch", reason="no torch, which exports the file that the parser reads")


@pytest.fixture(scope="module", params=["s4d", "s4"])
def exported(request: pytest.FixtureRequest) -> onnx.ModelProto:
    """Two layers, the second one pruned to channels 1 and 5; without the functions, as engines are built."""
    from host.export import export_model
    from host.models import Classifier, ModelConfig

    torch.manual_seed(0)
    sizes = {"num_classes": 3, "seq_len": 70, "d_input": 2, "d_model": 8, "d_state": 16, "depth": 2}
    model = Classifier(ModelConfig(kind=request.param, **sizes))
    model.set_kept_operators((tuple(range(8)), (1, 5)))
    proto = onnx.load_model_from_string(export_model(model.eval()).content)
    del proto.functions[:]
    return proto


def _parse(library: Path, proto: onnx.ModelProto, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(library), str(path)], capture_output=True, text=True, timeout=120
    )


def _changed(proto: onnx.ModelProto, layer: int, name: str, value: int | list[int]) -> onnx.ModelProto:
    """A copy whose `layer`-th SSMConv node has another value for the attribute `name`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    node = [node for node in copy.graph.node if op.is_ssm_conv(node)][layer]
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
    return copy


def test_parser_finds_the_plugin_and_makes_it(cuda_plugin: Path, exported: onnx.ModelProto, tmp_path: Path):
    done = _parse(cuda_plugin, exported, tmp_path)
    assert f"fields: {','.join(op.ATTRIBUTES)}" in done.stdout
    assert "Searching for plugin: SSMConv, plugin_version: 1, plugin_namespace:" in done.stdout
    assert "Successfully created plugin: SSMConv" in done.stdout, done.stdout[-2000:] + done.stderr
    assert done.stderr.count("SSMConv") == 0  # the plugin had nothing to say
    # The end, as far as it goes without a GPU: see tensorrt_rtx_parse.py.
    assert done.returncode < 0
    assert "parsed:" not in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_channels", 5, "expected ascending channels within [0, 5), found 5 behind 4"),
        ("channels", [2, 6, 3], "expected ascending channels within [0, 8), found 3 behind 6"),
        ("gelu", 3, "expected 0 or 1, found 3"),
        ("plugin_version", "2", None),
    ],
)
def test_values_of_the_file_reach_the_plugin(
    cuda_plugin: Path, exported: onnx.ModelProto, tmp_path: Path, name: str, value: int, message: str | None
):
    done = _parse(cuda_plugin, _changed(exported, 0, name, value), tmp_path)
    assert "Successfully created plugin" not in done.stdout
    assert done.returncode == 0, done.stderr  # a wrong file is an error of the parser, not a crash
    assert "parsed: False" in done.stdout
    if message is not None:  # None: TensorRT looks for another plugin, and does not ask ours
        assert "SSMConv block0/ssm: attribute" in done.stderr
        assert message in done.stderr
