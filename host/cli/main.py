"""The `s4op` command. Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

import edge_s4op
from edge_s4op.errors import S4opError, UsageError

__all__ = ["COMMANDS", "main", "run"]

# Each command and the first line of its help. A command's module is imported only when the command is
# named: importing all of them takes 3 s (torch, matplotlib), and `s4op --help` should not.
COMMANDS = {
    "train": "Train a classifier on DATASET and save its best epoch.",
    "prune": "Prune a trained model, steered by latencies measured on the device.",
    "export": "Write a model as one ONNX file that onnxruntime runs as it is.",
    "measure": "Measure the latency of a model file on the device.",
    "deploy": "Serve a model on the device under a name.",
    "infer": "Send sequences to a served model and print its answers.",
    "report": "Print a family of pruned models; write report.html and pareto.png.",
    "demo": "Train, prune, export, serve and query a model, all in one go.",
}

_DEBUG = "--debug"
_Misuse: type[Exception] = typer.BadParameter.__mro__[1]  # click's UsageError, which typer does not export


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an error is one line on stderr.

    With --debug, anywhere in the line, an error is raised as it is.
    """
    rest = [argument for argument in arguments if argument != _DEBUG]
    try:
        return _run(rest)
    except _Misuse as error:
        return _failed(2, _misuse_line(error))
    except Exception as error:
        if _DEBUG in arguments:
            raise
        return _failed(2 if isinstance(error, UsageError) else 1, _error_line(error))


def _run(arguments: list[str]) -> int:
    try:
        code = _app(arguments)(arguments or ["--help"], prog_name="s4op", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    return _failed(130, "s4op: interrupted") if code == 130 else int(code or 0)


def _failed(code: int, line: str) -> int:
    print(line, file=sys.stderr)
    return code


def _misuse_line(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "s4op"
    return f"{command}: {_one_line(error.format_message())} See `{command} --help`."  # type: ignore[attr-defined]


def _error_line(error: Exception) -> str:
    """What an expected failure says itself; of any other also its kind, since its text may say little."""
    if isinstance(error, S4opError):
        return f"s4op: {_one_line(error)}"
    return f"s4op: {type(error).__name__}: {_one_line(error)}; {_DEBUG} shows where it came from"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _app(arguments: list[str]) -> typer.Typer:
    """The commands: those named in `arguments` whole, of the others what `s4op --help` prints."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        app.command(name, short_help=summary)(_command(name) if name in arguments else _not_asked_for)
    return app


def _command(name: str) -> Callable[..., None]:
    command: Callable[..., None] = getattr(import_module(f"host.cli.{name}"), f"{name}_command")
    return command


def _not_asked_for() -> None:
    raise AssertionError("a command that the command line does not name")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"s4op {edge_s4op.__version__}")
        raise typer.Exit


def _options(
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of a failure.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Fit state space models (S4, S4D) into a latency budget on a small device.

    Train a classifier, prune its SSM operators on latencies measured by the agent on the device, export it
    as one ONNX file, serve it and query it. `s4op demo` shows all of it. Start an agent with `s4op-agent`.
    `s4op COMMAND --help` says more of each command.
    """
