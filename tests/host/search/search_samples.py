"""A tiny search against a real agent, for the tests of the search and their child processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from starlette.testclient import TestClient

from device_agent.agent import open_agent
from device_agent.app import create_app
from device_agent.device import Device, local_device
from device_agent.settings import Settings
from edge_s4op.client import AgentClient
from edge_s4op.messages import MeasurementSettings
from host.family import Family
from host.models import save_checkpoint
from host.search import Placement, PruneOptions, SearchProgress, prune_search, published_options
from host.training import TrainConfig
from tests.host.training.training_samples import classifier, dataset

LAYERS, CHANNELS = 3, 8
DATA = dataset()
HERE = Placement(workers=1)
QUICK = MeasurementSettings(
    warmup_ms=0, max_warmup_ms=0, cooldown_max_ms=0, max_duration_ms=20, min_iterations=5
)
OPTIONS = published_options(
    rates=(0.3, 0.6),
    candidates=2,
    training=TrainConfig(epochs=16, batch_size=8, device="cpu"),
    measurement=QUICK,
    remeasure=0,  # or the number of measurements would depend on what else runs on this machine
)
ONE = OPTIONS.model_copy(update={"rates": (0.5,), "candidates": 1})


def save_unpruned(folder: Path) -> Path:
    """A checkpoint to prune; untrained, since the search does not care."""
    save_checkpoint(folder, classifier(d_model=CHANNELS, depth=LAYERS, dropout=0.2), {"from": "the test"})
    return folder


@contextlib.contextmanager
def agent_in_process(data_dir: Path, **changes: Callable[..., object]) -> Iterator[AgentClient]:
    """A client of a real agent app; `changes` replace functions of the machine it runs on."""
    device: Device = replace(local_device(), **changes)
    # Several devices on one machine: they do not wait for each other.
    settings = Settings(data_dir=data_dir, device_lock=data_dir / "device.lock")
    app = create_app(open_agent(settings, device))
    with TestClient(app, raise_server_exceptions=False) as http:
        yield AgentClient(http, sleep=lambda seconds: None)


def run_search(
    folder: Path,
    agent: AgentClient | Sequence[AgentClient],
    options: PruneOptions = OPTIONS,
    **settings: object,
) -> Family:
    """Search in `folder`/run from `folder`/unpruned, in this process unless `settings` place it elsewhere."""
    settings.setdefault("placement", HERE)
    return prune_search(folder / "unpruned", DATA, agent, options, folder / "run", **settings)


def main(folder: str, url: str, phase: str, place: list[object]) -> None:
    """Search or resume, and die by SIGKILL in the middle of reporting this phase at this place."""

    def watch(progress: SearchProgress) -> None:
        epoch = progress.training.epoch if progress.training else None
        if [progress.rate, progress.seed, epoch] == place and progress.phase == phase:
            os.kill(os.getpid(), signal.SIGKILL)

    with AgentClient.connect(url) as agent:
        run_search(Path(folder), agent, resume=True, on_progress=watch)
