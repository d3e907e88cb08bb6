"""A load generator for one HTTP/1.1 server: sockets kept alive under epoll, in a process of its own.

It must cost little, since it shares the cores with the server: a request is bytes made beforehand, an answer
is read up to its Content-Length, and bodies are looked at when the load is over (`serving_wire.py`).

Closed loop (`rate_per_s` None): every client sends its next request when it has its answer. Open loop:
requests are due at random times of that mean rate (a Poisson process), whether the server keeps up or not;
latency counts from when a request was due, so that one which had to wait for a free connection is not made
better.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import re
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

__all__ = ["Answer", "Load", "Plan", "generate", "load_process", "percentile_ms"]

OK, BUSY = 200, (429, 503)

_DRAIN_S = 10.0  # for answers still under way when the load is over
_CHUNK_BYTES = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FIRST = 8  # so many of the first answers are kept, whatever `keep_every` is


@dataclass(frozen=True)
class Plan:
    """What to send where: `requests` are whole HTTP requests, sent in turn."""

    port: int
    requests: tuple[bytes, ...]
    clients: int
    duration_s: float
    warmup_s: float = 0.3  # not counted
    rate_per_s: float | None = None
    keep_every: int = 20
    host: str = "127.0.0.1"
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """One answer as it came, head and body, and which of the plan's requests it is to."""

    request: int
    content: bytes


@dataclass(frozen=True)
class Load:
    """What came back within the counted time. `kept`: one accepted answer in `keep_every`, to be checked.

    `others`: how many answers had another status than 200, 429 or 503; 0 stands for a connection that ended.
    `cpu_share`: of one core, that the generator itself took.
    """

    accepted_ms: np.ndarray
    refused_ms: np.ndarray
    others: Mapping[int, int]
    kept: tuple[Answer, ...]
    refused: Answer | None  # one of them
    elapsed_s: float
    cpu_share: float

    @property
    def accepted_per_s(self) -> float:
        """Requests answered with 200, a second."""
        return len(self.accepted_ms) / self.elapsed_s


def percentile_ms(sorted_or_not_ms: np.ndarray, percent: float) -> float:
    """trtexec's percentile: of n ascending values number max(n - 1 - int((1 - p/100) n), 0). NaN of none."""
    count = len(sorted_or_not_ms)
    if count == 0:
        return float("nan")
    return float(np.sort(sorted_or_not_ms)[max(count - 1 - int((1 - percent / 100) * count), 0)])


@contextmanager
def load_process() -> Iterator[Callable[[Plan], Load]]:
    """`generate` in a process of its own, so that it has its own interpreter lock."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda plan: pool.submit(generate, plan).result()


def generate(plan: Plan) -> Load:
    """Put the load on the server. Raises ConnectionError when nothing listens there."""
    client = _Generator(plan)
    gc.collect()
    gc.disable()
    try:
        return client.run()
    finally:
        gc.enable()
        client.close()


class _Connection:
    """One kept-alive connection with at most one request under way."""

    __slots__ = ("due_ns", "end", "received", "request", "sock")

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=_DRAIN_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.end, self.request, self.due_ns = bytearray(), 0, -1, 0

    def send(self, request: int, content: bytes, due_ns: int) -> None:
        self.received, self.end, self.request, self.due_ns = bytearray(), 0, request, due_ns
        self.sock.sendall(content)

    def receive(self) -> bool | None:
        """Whether the answer is there; None when the server has closed the connection."""
        part = self.sock.recv(_CHUNK_BYTES)
        if not part:
            return None
        self.received += part
        if not self.end:
            head_end = self.received.find(b"\r\n\r\n")
            if head_end < 0:
                return False
            length = _LENGTH.search(self.received, 0, head_end)
            if length is None:
                raise ValueError(f"an answer without Content-Length: {bytes(self.received[:200])!r}")
            self.end = head_end + 4 + int(length[1])
        return len(self.received) >= self.end


class _Generator:
    """The loop: sends what is due, receives what is there, notes both."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._poll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._idle = [self._connected() for _ in range(plan.clients)]
        self._waiting: deque[int] = deque()  # due times of requests without a free connection
        self._next = itertools.cycle(range(len(plan.requests)))
        self._accepted: list[int] = []
        self._refused: list[int] = []
        self._others: Counter[int] = Counter()
        self._kept: list[Answer] = []
        self._one_refused: Answer | None = None

    def run(self) -> Load:
        begin_ns = time.perf_counter_ns()
        self._from_ns = begin_ns + int(self._plan.warmup_s * 1e9)
        self._until_ns = self._from_ns + int(self._plan.duration_s * 1e9)
        cpu_s = time.process_time()
        self._open(begin_ns) if self._plan.rate_per_s else self._closed(begin_ns)
        took_s = (time.perf_counter_ns() - begin_ns) / 1e9
        cpu_share = (time.process_time() - cpu_s) / took_s
        self._drain()
        return Load(
            np.array(self._accepted) / 1e6,
            np.array(self._refused) / 1e6,
            dict(self._others),
            tuple(self._kept),
            self._one_refused,
            self._plan.duration_s,
            cpu_share,
        )

    def close(self) -> None:
        for connection in self._by_fd.values():
            connection.sock.close()
        self._poll.close()

    def _closed(self, now_ns: int) -> None:
        while self._idle:
            self._send(self._idle.pop(), now_ns)
        while now_ns < self._until_ns:
            self._receive(timeout_s=0.1)
            now_ns = time.perf_counter_ns()
            while self._idle and now_ns < self._until_ns:
                self._send(self._idle.pop(), now_ns)
                now_ns = time.perf_counter_ns()

    def _open(self, begin_ns: int) -> None:
        arrivals = _arrivals_ns(self._plan, begin_ns)
        due_ns, now_ns = next(arrivals), begin_ns
        while now_ns < self._until_ns:
            while due_ns <= now_ns:
                self._waiting.append(due_ns)
                due_ns = next(arrivals)
            while self._idle and self._waiting:
                self._send(self._idle.pop(), self._waiting.popleft())
            self._receive(timeout_s=max(min(due_ns, self._until_ns) - time.perf_counter_ns(), 0) / 1e9)
            now_ns = time.perf_counter_ns()

    def _drain(self) -> None:
        """Wait for what is under way, so that the server is idle when the next load begins."""
        deadline = time.monotonic() + _DRAIN_S
        while len(self._idle) < len(self._by_fd) and time.monotonic() < deadline:
            self._receive(timeout_s=0.1)

    def _receive(self, timeout_s: float) -> None:
        # epoll waits whole milliseconds; select on its descriptor waits as long as asked.
        if not select.select([self._poll], [], [], timeout_s)[0]:
            return
        for descriptor, _ in self._poll.poll(0):
            connection = self._by_fd[descriptor]
            try:
                done = connection.receive()
            except ConnectionError:
                done = None
            if done is None:
                self._replace(descriptor, connection)
            elif done:
                self._note(connection, time.perf_counter_ns())
                self._idle.append(connection)

    def _note(self, connection: _Connection, now_ns: int) -> None:
        status, took_ns = int(connection.received[9:12]), now_ns - connection.due_ns
        request, connection.request = connection.request, -1
        if not self._from_ns <= now_ns < self._until_ns:
            return
        if status == OK:
            self._accepted.append(took_ns)
            count = len(self._accepted)
            if count <= _FIRST or count % self._plan.keep_every == 0:
                self._kept.append(Answer(request, bytes(connection.received)))
        elif status in BUSY:
            self._refused.append(took_ns)
            self._one_refused = Answer(request, bytes(connection.received))
        else:
            self._others[status] += 1

    def _replace(self, descriptor: int, connection: _Connection) -> None:
        """The server ended the connection: fine between requests, else the request is lost."""
        if connection.request >= 0:
            self._others[0] += 1
        else:
            self._idle.remove(connection)
        self._poll.unregister(descriptor)
        del self._by_fd[descriptor]
        connection.sock.close()
        self._idle.append(self._connected())

    def _connected(self) -> _Connection:
        connection = _Connection((self._plan.host, self._plan.port))
        self._by_fd[connection.sock.fileno()] = connection
        self._poll.register(connection.sock, select.EPOLLIN)
        return connection

    def _send(self, connection: _Connection, due_ns: int) -> None:
        request = next(self._next)
        try:
            connection.send(request, self._plan.requests[request], due_ns)
        except ConnectionError:
            self._replace(connection.sock.fileno(), connection)


def _arrivals_ns(plan: Plan, begin_ns: int) -> Iterator[int]:
    """Times of a Poisson process of the plan's rate, from `begin_ns` on."""
    assert plan.rate_per_s
    draw = partial(np.random.default_rng(plan.seed).exponential, 1e9 / plan.rate_per_s, 1024)
    now_ns = float(begin_ns)
    while True:
        for gap_ns in draw():
            now_ns += gap_ns
            yield int(now_ns)
