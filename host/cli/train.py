"""`s4op train`: train an S4 or S4D classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from host.cli.console import emit_json, log, resumable
from host.cli.options import Json, checked
from host.cli.progress import training_bar
from host.models import ModelConfig
from host.provenance import DataSource
from host.training.config import TrainConfig
from host.workflow import TrainedModel, shape_of, train_model

__all__ = ["train_command"]


def train_command(
    dataset: Annotated[str, typer.Argument(help="ucr:NAME, listops[:KEY=VALUE,...] or npz:PATH.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the model goes to OUT/model.")],
    kind: Annotated[str, typer.Option(help="s4d (diagonal) or s4 (HiPPO-LegS, low-rank).")] = "s4d",
    d_model: Annotated[int, typer.Option(help="Channels H, one operator each per layer.")] = 32,
    d_state: Annotated[int, typer.Option(help="States N per operator.")] = 64,
    depth: Annotated[int, typer.Option(help="Layers.")] = 4,
    norm: Annotated[str, typer.Option(help="layer or batch.")] = "layer",
    prenorm: Annotated[
        bool, typer.Option("--prenorm", help="Norm before the layer instead of after.")
    ] = False,
    dropout: Annotated[float, typer.Option(help="Dropout probability.")] = 0.1,
    epochs: Annotated[int, typer.Option(help="Epochs at most.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Sequences a step.")] = 16,
    lr: Annotated[float, typer.Option(help="Highest learning rate of the ordinary parameters.")] = 5e-3,
    ssm_lr: Annotated[float, typer.Option(help="The same for dt, A and B.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's, not applied to dt, A and B.")] = 0.01,
    warmup_fraction: Annotated[float, typer.Option(help="Share of steps with a rising rate.")] = 0.1,
    patience: Annotated[
        int | None, typer.Option(help="Stop after this many epochs without a better one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of initial weights, order and dropout.")] = 0,
    data_seed: Annotated[int, typer.Option(min=0, help="Seed of the validation split.")] = 0,
    validation_fraction: Annotated[float, typer.Option(help="Share of training data held out.")] = 0.2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    amp: Annotated[bool, typer.Option("--amp", help="bfloat16 outside the SSM kernel (CUDA).")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in OUT where it was stopped or killed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a classifier on DATASET and save its best epoch.

    A validation split is held out of the training data and decides which epoch is kept; the test split
    is looked at once, at the end.

    Example: s4op train ucr:GunPoint --out runs/gunpoint
    """
    source = checked(
        DataSource, {"spec": dataset, "validation_fraction": validation_fraction, "seed": data_seed}
    )
    training = checked(
        TrainConfig,
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "ssm_lr": ssm_lr,
            "weight_decay": weight_decay,
            "warmup_fraction": warmup_fraction,
            "patience": patience,
            "seed": seed,
            "device": device,
            "amp": amp,
        },
    )
    data = source.load()
    sizes = {"kind": kind, "d_model": d_model, "d_state": d_state, "depth": depth}
    block = {"norm": norm, "prenorm": prenorm, "dropout": dropout}
    config = checked(ModelConfig, {**sizes, **block, **shape_of(data)})
    log.print(f"{data.name}: {len(data.train)} training, {len(data.validation)} validation sequences")
    with resumable(out), training_bar("training") as follow:
        trained = train_model(source, data, config, training, out, resume=resume, on_progress=follow)
    _show(trained, as_json)


def _show(trained: TrainedModel, as_json: bool) -> None:
    if as_json:
        emit_json({"model": str(trained.folder), **trained.summary()})
        return
    accuracy = trained.provenance.accuracy
    log.print(
        f"best epoch {trained.training.best_epoch} of {trained.training.epochs_run}: "
        f"validation {accuracy['validation']:.1%}, test {accuracy['test']:.1%} "
        f"({trained.training.seconds:.0f} s)"
    )
    log.print(f"saved to {trained.folder}")
