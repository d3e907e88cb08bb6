"""The store of streams: what is idle goes, what is busy stays, limits hold."""

from __future__ import annotations

import pytest

from device_agent.errors import RequestError
from device_agent.streams import Ending, Streams
from edge_s4op.artifact import Streaming
from edge_s4op.runtime.streaming import StreamModel, StreamState
from tests.device_agent.stream_agents import floats
from tests.edge_s4op.stream_samples import FLOATS, stream_manifest


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def state(streams: int = 1) -> StreamState:
    """8 bytes a stream."""
    manifest = stream_manifest(FLOATS)
    assert isinstance(manifest.streaming, Streaming)
    return StreamModel(_Runner(), manifest.streaming).new_state(streams)


class _Runner:
    manifest = floats().manifest


def test_an_idle_sequence_is_forgotten_and_a_websocket_is_not(clock: Clock) -> None:
    streams = Streams(10, 1000, idle_s=60, clock=clock)
    streams.open("m", "sha", state(), sequence_id=1)
    streams.open("m", "sha", state())
    clock.now += 59.9
    assert streams.totals() == (2, 16)
    used = streams.find("m", 1)
    assert used is not None
    streams.move(used, used.state)
    clock.now += 59.9
    assert streams.find("m", 1) is used
    assert [round(info.idle_s, 1) for info in streams.all()] == [59.9, 119.8]
    clock.now += 0.2
    assert streams.find("m", 1) is None
    assert streams.totals() == (1, 8)


def test_a_sequence_whose_samples_wait_does_not_expire(clock: Clock) -> None:
    streams = Streams(10, 1000, idle_s=60, clock=clock)
    stream = streams.open("m", "sha", state(), sequence_id=1)
    streams.begin(stream)
    clock.now += 1000
    assert streams.count == 1
    streams.fail(stream)
    clock.now += 59
    assert streams.count == 1
    clock.now += 1
    assert streams.count == 0


def test_a_limit_says_when_to_come_back(clock: Clock) -> None:
    streams = Streams(2, 1000, idle_s=60, clock=clock)
    streams.open("m", "sha", state(), sequence_id=1)
    clock.now += 20
    streams.open("m", "sha", state(), sequence_id=2)
    with pytest.raises(RequestError, match="2 streams are open") as caught:
        streams.open("m", "sha", state())
    assert (caught.value.status_code, caught.value.retry_after_s) == (503, 40)
    streams.open("m", "sha", state(), sequence_id=2)  # takes its own place
    clock.now += 40
    streams.open("m", "sha", state())


def test_ending_all_lets_no_more_in(clock: Clock) -> None:
    streams, told = Streams(10, 1000, idle_s=60, clock=clock), []
    stream = streams.open("m", "sha", state(), on_end=lambda: told.append(True))
    streams.end_all(Ending(1012, "the agent stops"))
    assert (streams.count, told, stream.ending) == (0, [True], Ending(1012, "the agent stops"))
    with pytest.raises(RequestError, match="the agent stops"):
        streams.open("m", "sha", state())
    streams.close(stream)  # once more does nothing
