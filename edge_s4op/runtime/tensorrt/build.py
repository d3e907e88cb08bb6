"""Build one engine: `python -m edge_s4op.runtime.tensorrt.build FOLDER`, run by `engines` in a child.

FOLDER holds model.onnx and spec.json (a BuildSpec); the engine is written to FOLDER/engine. A folder
without a parent process works too: then nothing is reported but the exit status.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

from edge_s4op.artifact import Manifest, artifact_from_bytes
from edge_s4op.errors import BuildError, S4opError
from edge_s4op.files import write_bytes
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.graph import count_ssm_conv, inline_functions, strip_functions
from edge_s4op.runtime.tensorrt.plugin import load_plugin
from edge_s4op.runtime.tensorrt.progress import make_monitor
from edge_s4op.runtime.tensorrt.records import BuildSpec
from edge_s4op.runtime.tensorrt.report import Report, be_expendable

__all__ = ["BUILDING", "build", "check_plugin_layers", "configure", "main", "parse", "plugin_layers"]

BUILDING, PARSING = "building engine", "reading model"
MODEL_FILE, SPEC_FILE, ENGINE_FILE, TIMING_FILE = "model.onnx", "spec.json", "engine", "timing.cache"


def main(folder: Path) -> int:
    """Build what `folder` asks for; 0, or 1 after reporting why not."""
    report = Report()
    be_expendable()
    warnings.simplefilter("ignore", DeprecationWarning)  # TensorRT-RTX: a timing cache does nothing there
    spec = BuildSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    try:
        report.result(build(folder, spec, report))
    except S4opError as error:
        report.error(error)
        print(error, file=sys.stderr)
        return 1
    return 0


def build(folder: Path, spec: BuildSpec, report: Report) -> dict[str, Any]:
    """Write FOLDER/engine; layers counted and seconds taken. Raises BuildError."""
    began = time.monotonic()
    report.stage(PARSING)
    trt, content = library.load(), (folder / MODEL_FILE).read_bytes()
    manifest = artifact_from_bytes(content, MODEL_FILE).manifest
    logger = library.make_logger(lambda line: print(line, file=sys.stderr, flush=True))
    builder = trt.Builder(logger)
    if spec.plugin is not None:
        load_plugin(spec.plugin)
        model = strip_functions(content)
    else:
        model = inline_functions(content)
    network = parse(builder, logger, model.SerializeToString())
    found = plugin_layers(network)
    check_plugin_layers(found, count_ssm_conv(content) if spec.plugin is not None else 0)
    config = configure(builder, network, manifest, spec, folder / TIMING_FILE)
    monitor = make_monitor(lambda share: report.stage(BUILDING, share))
    if monitor is not None:
        config.progress_monitor = monitor
    report.stage(BUILDING, None if monitor is None else 0.0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildError(f"{library.name()} {library.version()} built no engine", reason="refused")
    write_bytes(folder / ENGINE_FILE, bytes(engine))
    write_bytes(folder / TIMING_FILE, bytes(config.get_timing_cache().serialize()))
    return {
        "network_layers": network.num_layers,
        "plugin_layers": found,
        "build_s": time.monotonic() - began,
    }


def parse(builder: Any, logger: Any, content: bytes) -> Any:
    """The network of an ONNX file. Raises BuildError with everything the parser objects to."""
    trt = library.load()
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        errors = [_described(parser.get_error(index)) for index in range(parser.num_errors)]
        raise BuildError(
            f"{library.name()} {library.version()} cannot read the model: {'; '.join(errors) or 'no reason'}",
            reason="refused",
        )
    return network


def check_plugin_layers(found: int, expected: int) -> None:
    """Raise BuildError unless the network has one plugin layer for each SSMConv node.

    TensorRT's parser may take a model-local function or another plugin in its place and say nothing;
    then the figures would be those of another program.
    """
    if found != expected:
        raise BuildError(
            "the network does not run what was asked for",
            reason="refused",
            expected=f"{expected} plugin layer(s), one for each SSMConv node",
            found=found,
            fix="report this with the versions of TensorRT and of the plugin",
        )


def plugin_layers(network: Any) -> int:
    """How many layers of a network are plugins."""
    kind = getattr(library.load().LayerType, "PLUGIN_V3", None)  # TensorRT 8 has none
    return sum(network.get_layer(index).type == kind for index in range(network.num_layers))


def _network_flags(trt: Any) -> int:
    """Types as the file has them. TensorRT 8 must be told of the batch dimension, 11 knows it all."""
    flags = trt.NetworkDefinitionCreationFlag.__members__
    return sum(1 << int(flags[name]) for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if name in flags)


def _described(error: Any) -> str:
    return f"node {error.node()} {error.node_name()!r} ({error.node_operator()}): {error.desc()}"


def configure(builder: Any, network: Any, manifest: Manifest, spec: BuildSpec, timing: Path) -> Any:
    """The builder's settings: precision, workspace, batches 1 to spec.batch, timings of earlier builds."""
    trt, config = library.load(), builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # names of ONNX nodes in layer profiles
    if not spec.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default; its error is 3e-4
    if spec.memory_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.memory_bytes)
    profile = builder.create_optimization_profile()
    for info in manifest.inputs:
        if -1 in info.shape:
            low, high = (tuple(n if s == -1 else s for s in info.shape) for n in (1, spec.batch))
            profile.set_shape(info.name, low, high, high)  # tuned for the largest batch
    config.add_optimization_profile(profile)
    _use_timings(config, timing.read_bytes() if timing.is_file() else b"")
    return config


def _use_timings(config: Any, serialized: bytes) -> None:
    """Start from earlier timings; from none if TensorRT does not take them (another device, torn)."""
    cache = config.create_timing_cache(serialized)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
