"""Servers that are no device agent."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Python's own `http.server` on `folder`."""
    handler = partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def fixed_server(answer: bytes) -> Iterator[tuple[str, list[int]]]:
    """Reads a request, sends `answer`, hangs up; (address, the number of requests in a list)."""
    listener = socket.create_server(("127.0.0.1", 0))
    count = [0]
    thread = threading.Thread(target=_answer_all, args=(listener, answer, count))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", count
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextlib.contextmanager
def scripted_server(answers: Sequence[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Gives one answer after the other, hanging up after each; (address, the paths asked for)."""
    listener = socket.create_server(("127.0.0.1", 0))
    paths: list[str] = []
    thread = threading.Thread(target=_answer_in_turn, args=(listener, answers, paths))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", paths
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def json_answer(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def _answer_all(listener: socket.socket, answer: bytes, count: list[int]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                count[0] += 1
                connection.sendall(answer)


def _answer_in_turn(listener: socket.socket, answers: Sequence[bytes], paths: list[str]) -> None:
    with contextlib.suppress(OSError):
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(65536).decode()
                paths.append(request.split()[1].partition("?")[0])
                connection.sendall(answer)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return
