"""An agent of one's own: there inside the block, gone after it, and a clear word when it does not start."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import AgentUnreachableError
from host.agent_process import local_agent, terminate_as_interrupt

ONCE = RetryPolicy(retries=0)


def test_the_agent_lives_as_long_as_the_block(tmp_path: Path) -> None:
    with local_agent(tmp_path / "agent") as url, AgentClient.connect(url, retry=ONCE) as client:
        assert client.health()
        assert client.device().cores >= 1
    assert not (tmp_path / "agent" / "port").exists()
    with AgentClient.connect(url, retry=ONCE) as client, pytest.raises(AgentUnreachableError):
        client.health()


def test_the_agent_goes_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), local_agent(tmp_path / "agent") as url:
        raise KeyboardInterrupt
    with AgentClient.connect(url, retry=ONCE) as client, pytest.raises(AgentUnreachableError):
        client.health()


def test_surroundings_do_not_move_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S4OP_AGENT_HOST", "203.0.113.1")
    monkeypatch.setenv("S4OP_AGENT_PORT", "1")
    with local_agent(tmp_path / "agent") as url, AgentClient.connect(url, retry=ONCE) as client:
        assert client.health()


def test_an_agent_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S4OP_AGENT_LOG_LEVEL", "shout")
    with pytest.raises(AgentUnreachableError, match=r"exited with 2: .*log_level") as caught:
        local_agent(tmp_path / "agent").__enter__()
    assert str(tmp_path / "agent" / "agent.log") in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_unwinds_like_ctrl_c(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before
