"""Our default search against the published one, and latency budgets held by measurement.

On real UCR/UEA data, S4D and S4 are trained, then pruned at 30, 50, 70 and 90 % by
    published  random criterion, depth-exponential shares, the best of five candidates (S4oP, arXiv
               2606.18096), fine-tuned for an eighth of the epochs each at a tenth of the training's rate:
               its published settings have a tenth to a thousandth
    same rate  the same at the training's full rate, which the paper does not use: a stronger baseline (S4D)
    ours       the defaults of `s4op prune`: one candidate
from the same trained model. Figures are differences of test accuracy in points, means over models and seeds.

Then, alone on the machine: three latency budgets a model, each planned and measured on an agent's ONNX
Runtime, and measured once more when all is done; and GunPoint with residual channels pruned too.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.harness import Report, run
from edge_s4op.artifact import read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import BudgetError
from edge_s4op.messages import MeasurementRequest, MeasurementSettings
from host.agent_process import local_agent
from host.family import Family, Trial, read_family
from host.models import ModelConfig
from host.provenance import DataSource
from host.search import Budget, Placement, PruneOptions, prune_search, published_options
from host.training.config import TrainConfig
from host.workflow import shape_of, train_model

RATES = (0.3, 0.5, 0.7, 0.9)
BUDGETS = (0.85, 0.7, 0.55)  # of the unpruned model's p50; one operator a layer takes about half of it
COLUMNS = ("model", "search", "unpruned", *(f"r{rate * 100:g}" for rate in RATES), "epochs", "note")
FEATURE_BUDGET = 0.4
FEATURE_WIDTH = 128  # the published ECG models' (4 layers too): narrow ones are mostly overhead of operators
MODEL = {"d_model": 32, "d_state": 64, "depth": 4, "norm": "batch", "dropout": 0.1}
QUICK_MEASUREMENT = MeasurementSettings(min_duration_ms=100, max_duration_ms=1000, precision=0.05)
MEASUREMENT = MeasurementSettings(min_duration_ms=1000, max_duration_ms=5000)


@dataclass(frozen=True)
class Setting:
    """A dataset and how long S4D and S4 (three times as slow) are trained on it."""

    dataset: str
    epochs: dict[str, int]
    batch_size: int


SETTINGS = (
    Setting("GunPoint", {"s4d": 96, "s4": 64}, 16),
    Setting("ArrowHead", {"s4d": 192, "s4": 96}, 8),
    Setting("BasicMotions", {"s4d": 64, "s4": 32}, 8),
    Setting("OSULeaf", {"s4d": 64, "s4": 32}, 16),
)

QUICK = Setting("GunPoint", {"s4d": 32}, 16)


@dataclass(frozen=True)
class Case:
    """One model to train and prune; a quick one leaves out the stronger baseline and the wide model."""

    setting: Setting
    kind: str
    seed: int
    quick: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.setting.dataset} seed {self.seed}"


@dataclass(frozen=True)
class Compared:
    """Test accuracy of the unpruned model and, by search and rate, of the pruned ones; epochs by search."""

    case: Case
    unpruned: float
    accuracy: dict[str, tuple[float, ...]]
    epochs: dict[str, int]


@dataclass(frozen=True)
class Budgeted:
    """What became of one budget: what it was, what the model measured then and again at the end."""

    case: Case
    name: str
    budget_ms: float
    p50_high_ms: float | None
    again_ms: float | None
    unpruned_ms: float
    unpruned_accuracy: float
    accuracy: float | None

    @property
    def met(self) -> bool:
        """Measured under the budget, interval included, when it was found."""
        return self.p50_high_ms is not None and self.p50_high_ms <= self.budget_ms


def measure(quick: bool) -> Report:
    """Our default search against the published one; budgets met by measurement."""
    compared = _all_compared(_cases(quick), processes=1 if quick else 2)
    held = budgets(quick)
    figures = {**_comparison_figures(compared), **held.figures}
    return Report(COLUMNS, [*_comparison_rows(compared), *held.rows], figures)


def budgets(quick: bool) -> Report:
    """Latency budgets met by measurement."""
    models = [case for case in _cases(quick) if case.seed == 0]
    with tempfile.TemporaryDirectory() as folder, local_agent(Path(folder) / "agent") as url:
        budgeted = [found for case in models for found in _budgets(case, url, Path(folder))]
    return Report(COLUMNS, [_budget_row(each) for each in budgeted], _budget_figures(budgeted))


def _cases(quick: bool) -> list[Case]:
    if quick:
        return [Case(QUICK, "s4d", 0, quick=True)]
    every = itertools.product((0, 1, 2), ("s4", "s4d"), SETTINGS[::-1])
    return [Case(setting, kind, seed) for seed, kind, setting in every]


def _all_compared(cases: Sequence[Case], processes: int) -> list[Compared]:
    compared = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for found in pool.map(compare, cases):
            compared.append(found)
            print(found, file=sys.stderr, flush=True)
    return compared


def compare(case: Case) -> Compared:
    """Train a model and prune it three ways."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, local_agent(Path(name) / "agent") as url:
        folder = Path(name)
        training = _train(case, folder)
        common = {"rates": RATES, "training": training, "measurement": QUICK_MEASUREMENT}
        searches = {
            "published": published_options(**common, fine_tuning={"lr": training.lr / 10}),
            "ours": PruneOptions(**common),  # type: ignore[arg-type]
        }
        if case.kind == "s4d" and not case.quick:
            searches["same rate"] = published_options(**common)
        families = {key: _search(case, folder, url, options, key) for key, options in searches.items()}
    first = families["ours"].trials[0]
    accuracy = {key: tuple(_kept(family, rate) for rate in RATES) for key, family in families.items()}
    epochs = {
        key: options.fine_tuning_of(0).epochs * options.candidates * len(RATES)
        for key, options in searches.items()
    }
    return Compared(case, first.test_accuracy or 0.0, accuracy, epochs)


def _train(case: Case, folder: Path, **sizes: int) -> TrainConfig:
    training = TrainConfig(
        epochs=case.setting.epochs[case.kind],
        batch_size=case.setting.batch_size,
        lr=1e-2,
        seed=case.seed,
        device="cpu",
    )
    source = _source(case)
    dataset = source.load()
    config = ModelConfig.model_validate({**MODEL, "kind": case.kind, **sizes, **shape_of(dataset)})
    train_model(source, dataset, config, training, folder / "train")
    return training


def _source(case: Case) -> DataSource:
    return DataSource(spec=f"ucr:{case.setting.dataset}", validation_fraction=0.3, seed=case.seed)


def _search(case: Case, folder: Path, url: str, options: PruneOptions, name: str) -> Family:
    with AgentClient.connect(url) as agent:
        return prune_search(
            folder / "train" / "model",
            _source(case).load(),
            agent,
            options,
            folder / name,
            placement=Placement(workers=1),
        )


def _kept(family: Family, rate: float) -> float:
    return next(trial.test_accuracy or 0.0 for trial in family.kept() if trial.rate == rate)


def _budgets(case: Case, url: str, parent: Path) -> list[Budgeted]:
    """Three budgets (quick: two) on operators alone; on GunPoint also one with features, of a wider model."""
    torch.set_num_threads(1)
    folder = parent / str(case).replace(" ", "-")
    found = _under(case, folder, url, BUDGETS[::2] if case.quick else BUDGETS, "operators")
    if (case.setting.dataset, case.kind, case.quick) == ("GunPoint", "s4d", False):
        found += _under(case, folder / "wide", url, (FEATURE_BUDGET,), "features", d_model=FEATURE_WIDTH)
    for each in found:
        print(each, file=sys.stderr, flush=True)
    return found


def _under(
    case: Case, folder: Path, url: str, ratios: Sequence[float], name: str, **sizes: int
) -> list[Budgeted]:
    options = PruneOptions(
        budgets=tuple(Budget(quantity="latency_ratio", value=ratio) for ratio in ratios),
        features=name == "features",
        training=_train(case, folder, **sizes),
        measurement=MEASUREMENT,
    )
    missed: list[Budgeted] = []
    try:
        family = _search(case, folder, url, options, name)
    except BudgetError as error:  # one below reach; those before it are in the family that was left
        print(f"{case}: {error}", file=sys.stderr, flush=True)
        family = read_family(folder / name)
        missed = [Budgeted(case, f"{name} below reach", error.budget, None, None, 0.0, 0.0, None)]
    unpruned = family.trials[0]
    time.sleep(1)
    held = family.kept()[1:]
    return [_budgeted(case, name, family, each, unpruned, folder / name, url) for each in held] + missed


def _budgeted(
    case: Case, name: str, family: Family, trial: Trial, unpruned: Trial, folder: Path, url: str
) -> Budgeted:
    assert trial.model is not None
    assert trial.latency is not None
    assert unpruned.latency is not None
    artifact = read_artifact(folder / family.models[trial.model] / "model.onnx")
    request = MeasurementRequest(artifact_sha256=artifact.sha256, **MEASUREMENT.model_dump())
    with AgentClient.connect(url) as agent:
        again = agent.measure(artifact, request).latency_ms.median
    return Budgeted(
        case,
        f"{name} {trial.stage}",
        trial.budget_ms or 0.0,
        trial.latency.p50_interval_ms.high,
        again,
        unpruned.latency.p50_ms,
        unpruned.test_accuracy or 0.0,
        trial.test_accuracy,
    )


def _comparison_rows(compared: Sequence[Compared]) -> list[list[object]]:
    """Per model and search: mean and spread over the seeds."""
    rows: list[list[object]] = []
    for key in dict.fromkeys((each.case.kind, each.case.setting.dataset) for each in compared):
        seeds = [each for each in compared if (each.case.kind, each.case.setting.dataset) == key]
        for search in seeds[0].accuracy:
            cells = [_mean([each.accuracy[search][i] for each in seeds]) for i in range(len(RATES))]
            unpruned = _mean([each.unpruned for each in seeds])
            epochs = seeds[0].epochs[search]
            rows.append([" ".join(key), search, unpruned, *cells, epochs, f"{len(seeds)} seeds"])
    return rows


def _mean(values: Iterable[float]) -> str:
    values = [100 * value for value in values]
    spread = f" +-{statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def _comparison_figures(compared: Sequence[Compared]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for baseline, name in (("published", "published"), ("same rate", "published_same_rate_s4d")):
        for index, rate in enumerate(RATES):
            differences = [
                100 * (each.accuracy["ours"][index] - each.accuracy[baseline][index])
                for each in compared
                if baseline in each.accuracy
            ]
            if not differences:
                continue
            key = f"ours_minus_{name}_r{rate * 100:.0f}"
            figures[key] = round(statistics.mean(differences), 2)
            if len(differences) > 1:
                error = statistics.stdev(differences) / len(differences) ** 0.5
                figures[f"{key}_stderr"] = round(error, 2)
    ours, published = (sum(each.epochs[key] for each in compared) for key in ("ours", "published"))
    return {**figures, "epochs_ratio": round(ours / published, 4)}


def _budget_row(each: Budgeted) -> list[object]:
    spent = "not met" if each.p50_high_ms is None else f"{each.p50_high_ms:.3f}"
    again = "" if each.again_ms is None else f", again {each.again_ms:.3f} ms"
    note = f"budget {each.budget_ms:.3f} ms: {spent} (upper end){again}, unpruned {each.unpruned_ms:.3f} ms"
    accuracy = "" if each.accuracy is None else f"{100 * each.accuracy:.1f}"
    unpruned = f"{100 * each.unpruned_accuracy:.1f}"
    model = f"{each.case.kind} {each.case.setting.dataset}"
    return [model, each.name, unpruned, accuracy, "", "", "", "", note]


def _budget_figures(budgeted: Sequence[Budgeted]) -> dict[str, float]:
    operators = [each for each in budgeted if each.name.startswith("operators")]
    figures: dict[str, float] = {
        "budgets_met": sum(each.met for each in operators),
        "budgets": len(operators),
        "budgets_met_again": sum((each.again_ms or 1e9) <= each.budget_ms for each in operators),
    }
    for each in budgeted:
        if each.name.startswith("features") and each.again_ms is not None and each.accuracy is not None:
            reduction = 100 * (1 - each.again_ms / each.unpruned_ms)
            figures[f"features_{each.case.kind}_latency_reduction_pct"] = round(reduction, 1)
            loss = 100 * (each.unpruned_accuracy - each.accuracy)
            figures[f"features_{each.case.kind}_accuracy_loss_points"] = round(loss, 2)
    return figures


if __name__ == "__main__":
    run("pruning", measure)
