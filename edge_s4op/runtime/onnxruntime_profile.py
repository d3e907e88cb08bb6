"""Where ONNX Runtime's time goes, by our layers: from the profile a session of its own writes.

What ONNX Runtime makes of a function's body or puts in between (layout changes, fusions) has names of its
own. It runs between nodes that have kept theirs, so it belongs to the SSMConv that stands between those two
in the file, else to the layer of the next one. Nodes within a Scan run during the Scan: they are in its time,
and what recording them costs is taken off.
"""

from __future__ import annotations

import bisect
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edge_s4op import op
from edge_s4op.errors import InferenceError
from edge_s4op.messages import Layers
from edge_s4op.runtime.layer_names import OTHER, layer_of_node, layers_message
from edge_s4op.runtime.protocol import Array

__all__ = ["layers_of_profile", "profile_layers"]

_FEWEST, _MOST, _AT_MOST_S = 5, 100, 2.0  # runs; ONNX Runtime keeps a million events
_SUFFIX = "_kernel_time"

Event = Mapping[str, Any]


def profile_layers(
    content: bytes,
    options: Any,
    feeds: Mapping[str, Array],
    plain: Callable[[], object],
    open_session: Callable[[bytes, Any], Any],
    should_stop: Callable[[], bool],
) -> Layers:
    """Run the file `content` under ONNX Runtime's profiler: once to warm up, then 5 to 100 times within 2 s.

    `options` are those of an ordinary session, `plain` runs one, as often, to see what profiling costs.
    Raises InferenceError, also when `should_stop()` is true.
    """
    plain_s = _run(plain, should_stop)
    with tempfile.TemporaryDirectory(prefix="s4op-profile-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(content, options)
        _run(lambda: session.run(None, dict(feeds)), should_stop)
        events = json.loads(Path(session.end_profiling()).read_text())
    return layers_of_profile(events, content, statistics.median(plain_s) * 1e6)


def layers_of_profile(events: Sequence[Event], content: bytes, plain_us: float) -> Layers:
    """The table from a profile's events, the file that ran, and what a run takes without a profiler.

    The first run warmed up and is left out.
    """
    nodes = onnx.load_model_from_string(content).graph.node
    file = _File.of([(node.name, _is_ssm(node)) for node in _with_branches(nodes)])
    runs = list(_runs(events))[1:]
    return layers_message("onnxruntime profile", [file.named(run.timed(plain_us)) for run in runs])


def _run(run: Callable[[], object], should_stop: Callable[[], bool]) -> list[float]:
    """Seconds of each run but the first, which warms up."""
    began = time.monotonic()
    seconds: list[float] = []
    while len(seconds) <= _FEWEST or (len(seconds) <= _MOST and time.monotonic() - began < _AT_MOST_S):
        if should_stop():
            raise InferenceError("the profile was cancelled")
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


@dataclass(frozen=True)
class _Timed:
    """A node that ran: name, operator, time."""

    name: str
    operator: str
    us: float


@dataclass(frozen=True)
class _Run:
    """The node events of one run, by start, the enclosing before the enclosed, and what the run took."""

    events: Sequence[Event]
    us: float

    def timed(self, plain_us: float) -> list[_Timed]:
        """Nodes that no other encloses, without what it cost to record those that they enclose.

        A loop's body is recorded node by node, in the loop's time: for S4D hundreds of records of small
        operators. A record is taken to cost what the run took longer than without a profiler, over all
        records; a node keeps at least what the nodes within it took.
        """
        record_us = max(self.us - plain_us, 0.0) / max(len(self.events), 1)
        return [_timed(outer, inner, record_us) for outer, inner in _nested(self.events)]


def _timed(outer: Event, inner: Sequence[Event], record_us: float) -> _Timed:
    within_us = sum(event["dur"] for event in inner)
    us = max(outer["dur"] - record_us * len(inner), within_us)
    return _Timed(outer["name"].removesuffix(_SUFFIX), str(outer["args"].get("op_name", "?")), us)


def _runs(events: Sequence[Event]) -> Iterator[_Run]:
    nodes = sorted((e for e in events if _is_node(e)), key=lambda e: (e["ts"], -e["dur"]))
    starts = [event["ts"] for event in nodes]
    for run in sorted((e for e in events if e.get("name") == "model_run"), key=lambda e: e["ts"]):
        first = bisect.bisect_left(starts, run["ts"])
        last = bisect.bisect_right(starts, run["ts"] + run["dur"])
        yield _Run(nodes[first:last], run["dur"])


def _is_node(event: Event) -> bool:
    """Whether a node ran; an If is what its branch ran."""
    if event.get("cat") != "Node" or event["args"].get("op_name") == "If":
        return False
    return str(event.get("name", "")).endswith(_SUFFIX)


def _with_branches(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes in order, those of an If's branches in its place."""
    for node in nodes:
        if node.op_type != "If":
            yield node
        else:
            for branch in node.attribute:
                yield from _with_branches(branch.g.node)


def _nested(events: Sequence[Event]) -> Iterator[tuple[Event, list[Event]]]:
    """Each event that no other encloses, with those that it does; those start before it ends."""
    outer: Event | None = None
    inner: list[Event] = []
    for event in events:
        if outer is not None and event["ts"] < outer["ts"] + outer["dur"]:
            inner.append(event)
            continue
        if outer is not None:
            yield outer, inner
        outer, inner = event, []
    if outer is not None:
        yield outer, inner


@dataclass(frozen=True)
class _File:
    """The file's nodes in order: names without the leading "/" of traced models, and which are SSMConvs."""

    names: tuple[str, ...]
    ssm: tuple[int, ...]

    @classmethod
    def of(cls, nodes: Sequence[tuple[str, bool]]) -> _File:
        names = tuple(name.lstrip("/") for name, _ in nodes)
        return cls(names, tuple(position for position, (_, is_ssm) in enumerate(nodes) if is_ssm))

    def named(self, run: Sequence[_Timed]) -> list[tuple[str, str, float]]:
        """(layer, operator, ms) of each node that ran."""
        at = [self._position(timed.name.lstrip("/")) for timed in run]
        return [(self._layer(at, i), timed.operator, timed.us / 1000) for i, timed in enumerate(run)]

    def _position(self, name: str) -> int | None:
        """Where in the file the node `name` stands, or the one it is made from ("..._nchwc"); or None."""
        if name in self._index:
            return self._index[name]
        if "/" not in name:
            return None
        origins = [known for known in self._index if "/" in known and name.startswith(known)]
        return self._index[max(origins, key=len)] if origins else None

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names) if name}

    def _layer(self, at: Sequence[int | None], i: int) -> str:
        here = at[i]
        if here is not None:
            return layer_of_node(self.names[here])
        before = next((p for p in reversed(at[:i]) if p is not None), -1)
        after = next((p for p in at[i + 1 :] if p is not None), None)
        end = len(self.names) if after is None else after
        between = [self.names[position] for position in self.ssm if before < position < end]
        if between:
            return layer_of_node(between[0])
        return OTHER if after is None else layer_of_node(self.names[after])


def _is_ssm(node: onnx.NodeProto) -> bool:
    return (node.domain, node.op_type) == (op.DOMAIN, op.NAME)
