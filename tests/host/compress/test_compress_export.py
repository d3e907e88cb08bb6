"""A user's own model: what is masked, what is cut and what is exported are one function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_s4op.artifact import artifact_from_bytes
from edge_s4op.errors import ExportError, UsageError
from edge_s4op.op import channels_of_node, is_ssm_conv
from edge_s4op.runtime import open_runner
from edge_s4op.runtime.tensorrt.graph import inline_functions
from host.compress import SSMLayer, copy_model, cut, export, ssm_layers
from host.compress.forms import dense_form
from host.models import Classifier, ModelConfig
from host.models.parameters import is_ssm_parameter
from tests.host.compress.compress_samples import LENGTH, OwnModel, Plain, example, own_model

KINDS = [("s4d", "s4d"), ("s4", "s4"), ("s4d", "s4")]


@pytest.fixture(params=KINDS, ids=lambda kinds: "+".join(kinds))
def model(request: pytest.FixtureRequest) -> OwnModel:
    return own_model(*request.param, masked=True)


def run(content: bytes, **feeds: Tensor) -> dict[str, np.ndarray]:
    runner = open_runner(artifact_from_bytes(content, "the file"), "onnxruntime", threads=1)
    try:
        return runner.run({name: value.numpy() for name, value in feeds.items()})
    finally:
        runner.close()


def ssm_nodes(content: bytes) -> list[onnx.NodeProto]:
    return [node for node in onnx.load_model_from_string(content).graph.node if is_ssm_conv(node)]


@torch.no_grad()
def test_masked_and_cut_models_are_one_function(model: OwnModel) -> None:
    x = torch.randn(3, LENGTH, 2)
    small = cut(model)
    np.testing.assert_allclose(small(x), model(x), rtol=0, atol=1e-6)
    assert [len(layer.channels) for layer in ssm_layers(small).values()] == [3, 1]
    assert [len(layer.channels) for layer in ssm_layers(model).values()] == [6, 4], "the model was changed"


def test_a_cut_layer_keeps_what_the_optimiser_looks_for(model: OwnModel) -> None:
    for twin in (copy_model(model), cut(model)):
        marks = {name.split(".")[-1] for name, p in twin.named_parameters() if is_ssm_parameter(p)}
        assert marks == {name.split(".")[-1] for name, p in model.named_parameters() if is_ssm_parameter(p)}


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_file_computes_what_the_masked_model_computes(model: OwnModel, batch: int) -> None:
    x = torch.randn(batch, LENGTH, 2)
    found = run(export(model, example()).content, input=x)["output"]
    np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-5)


def test_each_call_of_a_layer_is_a_node_that_keeps_what_the_layer_keeps(model: OwnModel) -> None:
    artifact = export(model, example())
    nodes = ssm_nodes(artifact.content)
    assert [channels_of_node(node) for node in nodes] == [(1, 2, 5), (3,), (3,)]
    assert artifact.manifest.kept_operators == ((1, 2, 5), (3,), (3,))
    assert artifact.manifest.states == (8, 4, 4)
    assert (artifact.manifest.d_model, artifact.manifest.seq_len) == (6, LENGTH)


def test_an_exact_gelu_behind_a_layer_is_the_nodes_own() -> None:
    artifact = export(own_model(), example())
    gelu = [next(a.i for a in node.attribute if a.name == "gelu") for node in ssm_nodes(artifact.content)]
    assert gelu == [1, 0, 1], "the second call is followed by ReLU"
    assert "Gelu" not in {n.op_type for n in onnx.load_model_from_string(artifact.content).graph.node}


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
def test_all_layers_share_one_body(kinds: tuple[str, str]) -> None:
    proto = onnx.load_model_from_string(export(own_model(*kinds), example()).content)
    assert [(f.name, f.overload) for f in proto.functions] == [("SSMConv", "")]
    assert proto.ir_version == 9
    assert {len(node.input) for node in ssm_nodes(proto.SerializeToString())} == {
        5 if "s4" not in kinds else 6
    }


@torch.no_grad()
def test_s4d_is_a_case_of_the_dense_form() -> None:
    torch.manual_seed(0)
    layer = SSMLayer(5, kind="s4d", d_state=8)
    a, b, c = dense_form(layer).values()
    states = [b]
    for _ in range(199):
        states.append((a @ states[-1][..., None])[..., 0])
    kernel = torch.stack([(c * state).sum(-1) for state in states], dim=1)  # (H, 200)
    np.testing.assert_allclose(kernel, layer.operators.kernel(200), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    "behind",
    [lambda y: functional.gelu(y) + y, lambda y: functional.gelu(y, approximate="tanh"), lambda y: y],
    ids=["read-twice", "approximate", "none"],
)
def test_only_an_exact_gelu_that_alone_reads_a_layer_is_fused(behind: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model, x = Loop(lambda m, x: behind(m.ssm(x))).eval(), 3 * torch.randn(2, 2, 40)
    artifact = export(model, x)
    assert [a.i for node in ssm_nodes(artifact.content) for a in node.attribute if a.name == "gelu"] == [0]
    np.testing.assert_allclose(run(artifact.content, input=x)["output"], model(x), rtol=0, atol=1e-5)


class Halving(nn.Module):
    """Three lengths: what is left of averages over neighbours."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SSMLayer(3, kind=kind, d_state=4, dt_min=1e-2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, L) -> (B, 3, L / 4)
        for layer in self.layers:
            x = functional.avg_pool1d(layer(x), 2)
        return x


@torch.no_grad()
@pytest.mark.parametrize("kind", ["s4d", "s4"])
@pytest.mark.parametrize("length", [20, 150, 4096])
def test_layers_of_different_lengths_run_in_one_file(kind: str, length: int) -> None:
    torch.manual_seed(0)
    model, x = Halving(kind).eval(), torch.randn(4, 3, length)
    artifact = export(model, x)
    assert len(onnx.load_model_from_string(artifact.content).functions) == 1
    np.testing.assert_allclose(run(artifact.content, input=x)["output"], model(x), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_layers_of_different_lengths_can_be_inlined_for_tensorrt(kind: str) -> None:
    """As its parser gets the file where there is no plugin; the network is built too, without a GPU."""
    trt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx-cu12 (extra dev, Linux on x86_64)")
    torch.manual_seed(0)
    inlined = inline_functions(export(Halving(kind).eval(), torch.randn(2, 3, 150)).content)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network, config = builder.create_network(0), builder.create_builder_config()
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(inlined.SerializeToString()), [
        parser.get_error(index).desc() for index in range(parser.num_errors)
    ]
    profile = builder.create_optimization_profile()
    profile.set_shape("input", (1, 3, 150), (1, 3, 150), (4, 3, 150))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


class Tokens(nn.Module):
    """Integers in, real lengths beside them, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.ssm, self.head = nn.Embedding(11, 4), SSMLayer(4, d_state=4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.gelu(self.ssm(self.table(tokens).transpose(1, 2)))  # (B, 4, L)
        real = (torch.arange(tokens.shape[1]) < lengths[:, None]).float()[:, None]  # (B, 1, L)
        return self.head((y * real).sum(-1) / lengths[:, None]), y


@torch.no_grad()
def test_inputs_and_outputs_have_names_and_types() -> None:
    torch.manual_seed(0)
    model = Tokens().eval()
    feeds = {"tokens": torch.randint(0, 11, (3, 20)), "lengths": torch.tensor([4, 20, 7])}
    artifact = export(
        model, feeds, outputs=("logits", "features"), vocab_size={"tokens": 11}, class_labels=("a", "b")
    )
    found = run(artifact.content, **feeds)
    for name, value in zip(("logits", "features"), model(*feeds.values()), strict=True):
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5)
    assert [info.shape for info in artifact.manifest.outputs] == [(-1, 2), (-1, 4, 20)]
    assert artifact.manifest.inputs[0].vocab_size == 11


def test_the_same_model_is_the_same_file_whatever_batch_it_was_shown() -> None:
    x = example()
    assert export(own_model(), x).sha256 == export(own_model(), x[:1]).sha256


def test_exporting_changes_nothing() -> None:
    model = own_model(masked=True).double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export(model, example().double())
    assert model.training
    assert type(model.first) is SSMLayer
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_it_says_nothing_of_exporters(recwarn: pytest.WarningsRecorder) -> None:
    export(own_model(), example())
    assert [str(warning.message) for warning in recwarn] == []


class Loop(nn.Module):
    """An SSM layer inside a forward pass of the test's own."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.ssm, self._own = SSMLayer(2, d_state=4), forward

    def forward(self, x: Tensor) -> object:
        return self._own(self, x)


class Wrapped(nn.Module):
    """A classifier of ours inside another model."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"seq_len": 30, "d_input": 2, "d_model": 8, "d_state": 4, "depth": 2}
        self.inner = Classifier(ModelConfig(kind="s4d", num_classes=3, **sizes))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).softmax(-1)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_classifier_inside_loses_its_masked_channels_too() -> None:
    torch.manual_seed(0)
    model, x = Wrapped().eval(), torch.randn(3, 30, 2)
    model.inner.set_kept_features([0, 1, 2, 4, 6, 7])
    model.inner.blocks[0].ssm.set_kept_operators([1, 6])
    artifact = export(model, x)
    assert artifact.manifest.d_model == 6
    assert artifact.manifest.kept_operators == ((1, 4), (0, 1, 2, 3, 4, 5))
    np.testing.assert_allclose(run(artifact.content, input=x)["output"], model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("forward", "error", "message"),
    [
        (lambda m, x: m.ssm(x) + m.ssm(x[..., :5]).mean(), UsageError, "different lengths"),
        (lambda m, x: {"y": m.ssm(x)}, UsageError, "found dict"),
        (lambda m, x: m.ssm(x).mean(), UsageError, "one row for each of the 2 samples"),
        (lambda m, x: m.ssm(x).mean(0), UsageError, None),
        (lambda m, x: m.ssm(x) * float(x.mean()), ExportError, "disagree on one sample"),
        (lambda m, x: (m.ssm(x), x)[1], ExportError, "no output depends on one"),
        (lambda m, x: torch.linalg.svdvals(m.ssm(x)), ExportError, "torch cannot export"),
        (lambda m, x: m.ssm(x) / 0, ExportError, "disagree on the example"),
    ],
    ids=["lengths", "dict", "scalar", "no-batch", "constant", "unused", "no-operator", "infinite"],
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_model_that_no_file_can_hold_is_refused(
    forward: Callable[[nn.Module, Tensor], object], error: type[Exception], message: str | None
) -> None:
    torch.manual_seed(0)
    with pytest.raises(error, match=message):
        export(Loop(forward), torch.randn(2, 2, 12) if message else torch.randn(3, 2, 12))


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ({}, {}, "no batch of inputs"),
        (torch.tensor(1.0), {}, "no batch of inputs"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(3, 3)}, {}, "not one batch size"),
        (torch.zeros(0, 3), {}, "at least one"),
        (torch.zeros(2, 3, dtype=torch.bool), {}, "input 'input' is of a type"),
        (torch.zeros(2, 3, dtype=torch.int64), {}, r"sizes of \['input'\]"),
        (torch.zeros(2, LENGTH, 2), {"vocab_size": {"input": 3}}, "floating-point inputs have none"),
        (torch.zeros(2, LENGTH, 2), {"outputs": ("a", "b")}, "the model's outputs are not the 2"),
    ],
)
def test_an_example_that_is_none_is_refused(inputs: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(own_model(), inputs, **options)


def test_a_model_without_ssm_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="a Plain without SSM layers cannot be pruned"):
        export(Plain(), example())
    with pytest.raises(UsageError, match=r"at least one host\.models\.SSMLayer"):
        cut(Plain())
