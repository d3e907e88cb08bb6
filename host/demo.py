"""The whole loop once: train, prune on measured latency, export, serve, query over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_s4op.artifact import read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import BudgetError, S4opError
from edge_s4op.messages import MeasurementSettings, ServeRequest
from host.data.dataset import Dataset
from host.family import Family, Trial, select
from host.models import ModelConfig, load_checkpoint
from host.provenance import DataSource, Provenance
from host.search import PruneOptions, prune_search
from host.search.progress import OnProgress
from host.training.config import TrainConfig
from host.training.evaluate import evaluate
from host.training.history import Progress
from host.workflow import TrainedModel, batch_size_for, infer_split, shape_of, train_model

__all__ = [
    "RATES",
    "VALIDATION_FRACTION",
    "Served",
    "demo_budget_ms",
    "demo_options",
    "prune_trained",
    "serve_and_query",
    "train_demo_model",
]

MODEL = {"kind": "s4d", "d_model": 64, "d_state": 64, "depth": 4, "dropout": 0.1}
TRAINING = TrainConfig(epochs=100, batch_size=16, lr=1e-2, seed=0)
RATES = (0.3, 0.5, 0.7)
MEASUREMENT = MeasurementSettings(min_duration_ms=2000, max_duration_ms=6000)
VALIDATION_FRACTION = 0.4  # of GunPoint's 50 training sequences: a fifth would tell no candidates apart


@dataclass(frozen=True)
class Served:
    """A deployed model and what it answered to the whole test split over HTTP."""

    name: str
    url: str
    samples: int
    accuracy_http: float
    accuracy_offline: float


def train_demo_model(
    source: DataSource, dataset: Dataset, out: Path, on_progress: Callable[[Progress], None]
) -> TrainedModel:
    """Train the unpruned model into `out`."""
    config = ModelConfig.model_validate({**MODEL, **shape_of(dataset)})
    return train_model(source, dataset, config, TRAINING, out, on_progress=on_progress)


def demo_options(provenance: Provenance) -> PruneOptions:
    """The default search at three rates; each structure is measured for at least two seconds."""
    return PruneOptions(rates=RATES, training=provenance.training, measurement=MEASUREMENT)


def prune_trained(
    trained: TrainedModel, dataset: Dataset, agent: AgentClient, out: Path, on_progress: OnProgress
) -> Family:
    """Prune `trained` at the demo's rates."""
    options = demo_options(trained.provenance)
    return prune_search(trained.folder, dataset, agent, options, out, on_progress=on_progress)


def demo_budget_ms(family: Family) -> float:
    """A budget this device can just be asked for: halfway between the slowest and the fastest kept model."""
    latencies = [trial.latency.p50_ms for trial in family.kept() if trial.latency is not None]
    if not latencies:
        raise S4opError("no model of the demo could be measured", fix="see the agent's log in OUT/agent")
    return max(min(latencies), round((min(latencies) + max(latencies)) / 2, 3))


def serve_and_query(
    family: Family, folder: Path, budget_ms: float, dataset: Dataset, agent: AgentClient, name: str
) -> tuple[Trial, Served]:
    """Deploy the model that fits the budget, send it the whole test split, and compare with PyTorch.

    Raises BudgetError when none fits, and S4opError when the accuracy over HTTP is another than offline.
    """
    chosen = select(family, budget_ms)
    if chosen.model is None:
        raise BudgetError(budget_ms, budget_ms)
    path = folder / family.models[chosen.model]
    artifact = read_artifact(path / "model.onnx")
    agent.put_artifact(artifact)
    serving = agent.serve(name, ServeRequest(artifact_sha256=artifact.sha256)).serving
    answers = infer_split(agent, name, dataset.test, batch_size=batch_size_for(serving))
    model, _ = load_checkpoint(path)
    offline = evaluate(model, dataset.test, device="cpu").accuracy
    if answers.accuracy != offline:
        raise S4opError(
            "the served model answers otherwise than the model on disk",
            expected=f"accuracy {offline:.4f} on {len(dataset.test)} test sequences",
            found=f"{answers.accuracy}",
        )
    url = f"{agent.url}/v2/models/{name}/infer"
    return chosen, Served(name, url, len(dataset.test), answers.accuracy, offline)
