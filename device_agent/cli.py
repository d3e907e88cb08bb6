"""`s4op-agent`: start an agent."""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from device_agent.agent import open_agent
from device_agent.errors import validation_sentence
from device_agent.server import listen, run, url_of
from device_agent.settings import Settings
from edge_s4op.errors import S4opError
from edge_s4op.files import write_text

__all__ = ["serve"]

_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,  # it takes [default: ...] for markup
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@_app.command()
def _serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 for the network.  [default: 127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.  [default: 8600]")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of model files and results.  [default: ~/.local/share/s4op-agent]"),
    ] = None,
    port_file: Annotated[
        Path | None, typer.Option(help="File to write the port to once the agent listens.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Backend of requests that name none.  [default: onnxruntime]")
    ] = None,
    engine_dir: Annotated[
        Path | None, typer.Option(help="Folder of built TensorRT engines.  [default: DATA_DIR/engines]")
    ] = None,
    build_memory_mb: Annotated[
        int | None, typer.Option(help="MiB of memory an engine build may take.  [default: what is free]")
    ] = None,
    build_timeout_s: Annotated[
        float | None, typer.Option(help="Seconds an engine build may take.  [default: 1800]")
    ] = None,
    while_measuring: Annotated[
        str | None,
        typer.Option(
            help="refuse: inference waits for a measurement, then gets 503. share: it runs at once, and the"
            " measurement is marked as contended.  [default: refuse]"
        ),
    ] = None,
    device_lock: Annotated[
        Path | None,
        typer.Option(
            help="File locked while measuring; the same for all who measure on this machine."
            "  [default: /run/lock/s4op-device.lock]"
        ),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    access_log: Annotated[bool | None, typer.Option(help="Log every request.")] = None,
    debug: Annotated[bool, typer.Option(help="Show the traceback of a failure.")] = False,
) -> None:
    """Store, measure and serve models on this device, over HTTP.

    Every option can also be set as S4OP_AGENT_HOST, S4OP_AGENT_PORT and so on. Ctrl-C stops the agent;
    the next start on the same data folder goes on where it stopped.
    """
    options = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "port_file": port_file,
        "backend": backend,
        "engine_dir": engine_dir,
        "build_memory_mb": build_memory_mb,
        "build_timeout_s": build_timeout_s,
        "while_measuring": while_measuring,
        "device_lock": device_lock,
        "log_level": log_level,
        "access_log": access_log,
    }
    settings = _settings({name: value for name, value in options.items() if value is not None})
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        _run(settings)
    except S4opError as error:
        if debug:
            raise
        print(f"s4op-agent: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def serve() -> None:
    """Read the command line and serve until the process is told to stop."""
    _app(prog_name="s4op-agent")


def _settings(options: dict[str, Any]) -> Settings:
    try:
        return Settings(**options)
    except ValidationError as error:
        print(f"s4op-agent: bad setting {validation_sentence(error.errors())}", file=sys.stderr)
        raise SystemExit(2) from None


def _run(settings: Settings) -> None:
    with listen(settings.host, settings.port) as listener, closing(open_agent(settings)) as agent:
        url = url_of(listener)

        def announce() -> None:
            if settings.port_file is not None:
                write_text(settings.port_file, f"{listener.getsockname()[1]}\n")
            print(f"s4op-agent ready on {url}", flush=True)

        run(agent, listener, announce)
