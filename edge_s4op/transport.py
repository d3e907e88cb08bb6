"""One request to an agent: sent until something answers, read strictly, every failure typed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from edge_s4op.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    UsageError,
)

__all__ = ["RetryPolicy", "Transport", "checked_url", "json_body"]

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a request is repeated: 0.2, 0.4, 0.8, 1.6 s by default."""

    retries: int = 4
    first_delay_s: float = 0.2
    factor: float = 2.0
    max_delay_s: float = 5.0

    def delay_s(self, attempt: int) -> float:
        """Pause after failed attempt number `attempt` (from 0)."""
        return min(self.first_delay_s * self.factor**attempt, self.max_delay_s)


@dataclass(frozen=True)
class Transport:
    """An HTTP client with retries, and the agent's conventions for answers."""

    http: httpx.Client
    retry: RetryPolicy = RetryPolicy()
    sleep: Callable[[float], None] = time.sleep

    @property
    def url(self) -> str:
        """The agent's address, as errors name it."""
        return str(self.http.base_url).rstrip("/")

    def call(
        self, method: str, path: str, kind: type[T], *, body: BaseModel | None = None, **options: Any
    ) -> T:
        """Send, and read a successful answer as `kind`. Raises AgentError in all its kinds."""
        if body is not None:
            options["content"] = json_body(body)
        return self.parsed(self.send(method, path, **options), kind)

    def send(self, method: str, path: str, *, retry_busy: bool = True, **options: Any) -> httpx.Response:
        """Send until something answers; a busy agent (503 with Retry-After) is asked again too."""
        for attempt in range(self.retry.retries + 1):
            last = attempt == self.retry.retries
            try:
                response = self.http.request(method, path, **options)
            except httpx.DecodingError as error:
                raise self.not_an_agent(f"a body that cannot be decoded ({error})") from error
            except httpx.TransportError as error:
                if last:
                    raise self._lost(error) from error
                self.sleep(self.retry.delay_s(attempt))
                continue
            pause_s = _retry_after_s(response) if retry_busy and not last else None
            if pause_s is None:
                return response
            self.sleep(min(pause_s, self.retry.max_delay_s))
        raise AssertionError("a retry policy with negative retries")

    def parsed(self, response: httpx.Response, kind: type[T]) -> T:
        """Read a successful answer as `kind`. Raises AgentRefusedError, AgentProtocolError."""
        self.check(response)
        try:
            return TypeAdapter(kind).validate_json(response.content)
        except ValidationError as error:
            raise self.not_an_agent(_described(response)) from error

    def check(self, response: httpx.Response) -> None:
        """Raise AgentRefusedError unless the answer is a success."""
        if response.is_success:
            return
        raise AgentRefusedError(
            f"{self.url} refused (HTTP {response.status_code}): {self.error_text(response)}",
            status_code=response.status_code,
        )

    def error_text(self, response: httpx.Response) -> str:
        """What the agent says in its {"error": ...}; raises AgentProtocolError for any other body."""
        try:
            return str(TypeAdapter(dict[str, str]).validate_json(response.content)["error"])
        except (ValidationError, KeyError) as error:
            raise self.not_an_agent(_described(response)) from error

    def not_an_agent(self, found: str) -> AgentProtocolError:
        """The error for an answer no agent of ours would give."""
        return AgentProtocolError(
            f"{self.url} does not answer as a device agent",
            expected="the agent's JSON",
            found=found,
            fix="check the address, and that agent and host have the same version",
        )

    def _lost(self, error: httpx.TransportError) -> AgentError:
        if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
            return self.not_an_agent(f"no HTTP ({error})")
        return AgentUnreachableError(
            f"no device agent can be reached at {self.url}: {str(error) or type(error).__name__}",
            fix="start one with `s4op-agent`, or check the address and the network",
        )


def json_body(body: BaseModel) -> bytes:
    """A request as JSON; what is None, left to the agent, is left out."""
    return body.model_dump_json(exclude_none=True).encode()


def checked_url(url: str) -> str:
    """`url` if it is an agent's address ("http://jetson:8600"). Raises UsageError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is no agent address: {error}", expected="http://HOST:PORT") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError("not an agent address", expected="http://HOST:PORT", found=repr(url))
    return url


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if response.status_code == 503 and text.isdecimal() else None


def _described(response: httpx.Response) -> str:
    kind = response.headers.get("Content-Type", "no content type")
    return f"HTTP {response.status_code} with {kind}, {response.text[:60]!r}"
