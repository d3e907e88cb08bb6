"""The `s4op` command. Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

import edge_s4op
from edge_s4op.errors import S4opError, UsageError

__all__ = ["COMMANDS", "main", "run"]

# The first line of each command's help. A command's module is imported only when it is asked for: all of
# them together take 3 s (torch, matplotlib), which nobody should wait for to read `s4op --help`.
COMMANDS = {
    "train": "Train a classifier on DATASET and save its best epoch.",
    "prune": "Prune a trained model, steered by latencies measured on the device.",
    "export": "Write a model as one ONNX file that onnxruntime runs as it is.",
    "measure": "Measure the latency of a model file on the device.",
    "deploy": "Serve a model under NAME; one already served so is replaced.",
    "infer": "Send sequences to a served model and print its answers.",
    "report": "Print a family of pruned models; write report.html and pareto.png.",
    "demo": "Train, prune, export, serve and query a model: all of it at once.",
}

_NO_TRACEBACK = "--debug"
_Misuse: type[Exception] = typer.BadParameter.__mro__[1]  # the UsageError of click, which typer brings along


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are one line on stderr."""
    debug = _NO_TRACEBACK in arguments
    arguments = [argument for argument in arguments if argument != _NO_TRACEBACK]
    try:
        return _code_of(_app(arguments)(arguments or ["--help"], prog_name="s4op", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        return _code_of(130)
    except _Misuse as error:
        return _failed(2, _misuse_line(error))
    except S4opError as error:
        if debug:
            raise
        return _failed(2 if isinstance(error, UsageError) else 1, f"s4op: {_one_line(error)}")
    except Exception as error:  # a defect of ours, or a machine in trouble: still one line, not a page
        if debug:
            raise
        return _failed(1, f"s4op: {type(error).__name__}: {_one_line(error)}; --debug shows where")


def _app(arguments: list[str]) -> typer.Typer:
    """The commands; only those named in `arguments` can run, of the others only the summary is there."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        command = _imported(name) if name in arguments else _options
        app.command(name, short_help=summary)(command)
    return app


def _imported(name: str):  # noqa: ANN202
    return getattr(import_module(f"host.cli.{name}"), f"{name}_command")
