"""What a training run is told: one frozen value, written into every snapshot."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from edge_s4op.errors import UsageError

__all__ = ["DeviceName", "TrainConfig", "resolve_device"]

DeviceName = Literal["auto", "cpu", "cuda"]


class TrainConfig(BaseModel):
    """Settings of one training run.

    SSM parameters (dt, A, B) train at `ssm_lr` without weight decay, the others at `lr`. The rate
    rises linearly over `warmup_fraction` of all steps, then falls to zero along a cosine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-2, gt=0)
    ssm_lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float | None = Field(default=1.0, gt=0, description="None: no clipping")
    patience: int | None = Field(default=None, ge=1, description="epochs without a better one")
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: DeviceName = "auto"
    amp: bool = Field(default=False, description="bfloat16 outside the SSM kernel; CUDA only")
    eval_batch_size: int = Field(default=64, ge=1)


def resolve_device(name: str, *, amp: bool = False) -> torch.device:
    """The torch device `name` stands for here; "auto" is CUDA where there is one.

    Raises UsageError when CUDA is asked for (or needed by `amp`) and absent.
    """
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise UsageError("device 'cuda' is not available here", fix="use device 'auto' or 'cpu'")
    if amp and (name == "cpu" or not cuda):
        raise UsageError(
            "amp (bfloat16) runs on CUDA only", expected="a CUDA device", found="cpu", fix="set amp to false"
        )
    return torch.device("cuda" if cuda and name != "cpu" else "cpu")
