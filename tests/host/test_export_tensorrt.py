"""TensorRT's parser and builder read a file in fp16 as it is meant: strongly typed, function inlined."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.inliner
import pytest

from host.export import export_model
from tests.host.export_samples import sample_model

trt = pytest.importorskip(
    "tensorrt_rtx", reason="needs tensorrt-rtx-cu12 (extra dev, Linux on x86_64); no GPU"
)
HALF, FLOAT = "HALF", "FLOAT"
TYPES = {
    "encoder/matmul": HALF,
    "block0/mix/value": HALF,
    "block1/mix/glu": HALF,
    "block2/residual": HALF,
    "block0/ssm/k": FLOAT,
    "head/mean": FLOAT,
    "head/linear": FLOAT,
}


@pytest.fixture(scope="module")
def builder() -> Any:
    return trt.Builder(trt.Logger(trt.Logger.ERROR))


def _parsed(builder: Any, content: bytes) -> Any:
    """The network; TensorRT-RTX's are always strongly typed."""
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    inlined = onnx.inliner.inline_local_functions(onnx.load_model_from_string(content))
    parsed = parser.parse(inlined.SerializeToString())
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    return network


def _built(builder: Any, network: Any) -> Any:
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for index in range(network.num_inputs):
        value = network.get_input(index)
        smallest, largest = (tuple(n if s == -1 else s for s in value.shape) for n in (1, 4))
        profile.set_shape(value.name, smallest, smallest, largest)
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_types_of_the_file_are_those_of_the_network(builder: Any, kind: str, norm: str, padded: bool):
    artifact = export_model(sample_model(kind, norm=norm, padded=padded), precision="fp16")
    network = _parsed(builder, artifact.content)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    found = {layer.name: layer.get_output_type(0).name for layer in layers}
    expected = TYPES | {"block1/norm/normalize": HALF if norm == "layer" else FLOAT}
    assert {name: found[name] for name in expected} == expected
    assert [network.get_output(0).dtype.name, network.get_input(0).dtype.name] == [FLOAT, FLOAT]
    assert _built(builder, network) is not None
