"""The `s4op` command. Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

import edge_s4op
from edge_s4op.errors import S4opError, UsageError
from host.cli.demo import demo_command
from host.cli.deploy import deploy_command
from host.cli.export import export_command
from host.cli.infer import infer_command
from host.cli.measure import measure_command
from host.cli.prune import prune_command
from host.cli.report import report_command
from host.cli.train import train_command

__all__ = ["main"]

_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "prune": prune_command,
    "export": export_command,
    "measure": measure_command,
    "deploy": deploy_command,
    "infer": infer_command,
    "report": report_command,
    "demo": demo_command,
}
for _name, _command in _COMMANDS.items():
    _app.command(_name)(_command)


@_app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Fit state space models (S4, S4D) into a latency budget on a small device.

    Train a classifier, prune its SSM operators on latencies measured by the agent on the device, export it
    as one ONNX file, serve it and query it. `s4op demo` shows all of it. Start an agent with `s4op-agent`.
    """
    if version:
        typer.echo(f"s4op {edge_s4op.__version__}")
        raise typer.Exit


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are one line on stderr."""
    try:
        _app(arguments, prog_name="s4op")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        print("s4op: interrupted", file=sys.stderr)
        return 130
    except S4opError as error:
        if "--debug" in arguments:
            raise
        print(f"s4op: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0
