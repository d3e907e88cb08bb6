"""A training run that gets SIGKILL at a chosen moment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from host.training import Progress, train
from tests.host.training.training_samples import SETTINGS, classifier, dataset, extras

RENAME = "before the second rename"


def main(run_dir: str, model: Mapping[str, Any], where: str, threads: int, more: str) -> None:
    """`where`: "mid-epoch", in the third, or RENAME: before a snapshot takes its final name a second time."""
    torch.set_num_threads(threads)
    renames: list[object] = []

    def audit(event: str, args: tuple[object, ...]) -> None:
        if where == RENAME and event == "os.rename" and str(args[1]).endswith("snapshot.safetensors"):
            renames.append(args)
            if len(renames) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(progress: Progress) -> None:
        if where == "mid-epoch" and (progress.epoch, progress.step) == (3, 4):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    options = {"run_dir": Path(run_dir), "on_progress": watch, **extras(more)}
    train(classifier(**model), dataset(), SETTINGS, **options)
