"""Loads under way: who waits has the outcome, and what nobody wants any more is told so."""

from __future__ import annotations

import pytest

from device_agent import loads
from device_agent.loads import Load, Loads
from edge_s4op.errors import UsageError
from edge_s4op.messages import ServeRequest

REQUEST = ServeRequest(artifact_sha256="0" * 64)


def test_a_load_that_is_stopped_is_unwanted_and_the_others_are_not() -> None:
    under_way: Loads[Load] = Loads(a=Load(REQUEST), b=Load(REQUEST))
    stopped, kept = under_way["a"], under_way["b"]
    under_way.stop("a")
    assert stopped.unwanted.is_set()
    assert not kept.unwanted.is_set()
    assert under_way == {"b": kept}
    under_way.stop("a")  # nothing is loaded there any more
    assert under_way == {"b": kept}


def test_a_load_is_forgotten_only_where_no_other_has_taken_its_place() -> None:
    old, new = Load(REQUEST), Load(REQUEST)
    under_way: Loads[Load] = Loads(a=new)
    under_way.forget("a", old)
    assert under_way == {"a": new}
    under_way.forget("a", new)
    under_way.forget("a", new)
    assert under_way == {}
    assert not new.unwanted.is_set()


def test_a_failure_is_kept_for_whoever_asks_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load(REQUEST)
    assert load.result(0.0) is None
    load.report("warming up", 1.5)
    assert load.at == ("warming up", 1.0)
    load.end(UsageError("it cannot run"))
    assert (load.at, load.has_ended, load.is_forgotten) == ((None, None), True, False)
    with pytest.raises(UsageError, match="it cannot run"):
        load.result(None)
    monkeypatch.setattr(loads, "_KEPT_S", -1.0)
    assert load.is_forgotten
