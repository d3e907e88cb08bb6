"""An agent that listens, in this process: what streams has to be read while it is written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import httpx
import uvicorn

from device_agent.agent import Agent
from device_agent.app import create_app
from device_agent.observer import Observer
from device_agent.one_write import OneWriteProtocol
from device_agent.server import listen, url_of
from edge_s4op.profiler.telemetry import Board
from tests.device_agent.fakes import wait_until


@contextlib.contextmanager
def live(agent: Agent, find_board: Callable[[], Board] | None = None) -> Iterator[httpx.Client]:
    """A client of `agent`, which ends with the block; it has this machine's sensors or those given."""
    app = create_app(agent)
    if find_board is not None:
        app.state.observer = Observer(agent, find_board)
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(app, http=OneWriteProtocol, log_config=None, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            with httpx.Client(base_url=url_of(listener), timeout=20, trust_env=False) as http:
                yield http
        finally:
            agent.stop()
            server.should_exit = True
            thread.join(20)
