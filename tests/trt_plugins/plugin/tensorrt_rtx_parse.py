"""Loads a plugin library into TensorRT-RTX and has its ONNX parser read a file: LIBRARY MODEL.

A program of its own, because TensorRT-RTX runs no plugins: it aborts once the parser, having made the
plugin, adds it to the network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorrt_rtx as trt


class Log(trt.ILogger):
    def __init__(self) -> None:
        trt.ILogger.__init__(self)

    def log(self, severity: object, text: str) -> None:
        print(f"{severity}: {text}", flush=True)


def main(library: str, model: str) -> None:
    log = Log()
    builder = trt.Builder(log)
    registry = trt.get_plugin_registry()
    registry.load_library(library)
    creator = registry.get_creator("SSMConv", "1", "")
    print("fields:", ",".join(field.name for field in creator.field_names), flush=True)
    network = builder.create_network(0)  # the parser does not keep it alive
    parser = trt.OnnxParser(network, log)
    print("parsed:", parser.parse(Path(model).read_bytes()), flush=True)
    for i in range(parser.num_errors):
        print("parser:", parser.get_error(i).desc(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
