"""Knowledge distillation: a smaller model learns from the labels and from a larger model's answers."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_s4op.errors import UsageError
from host.data.batches import Batch
from host.models.classifier import Classifier

__all__ = ["Distillation", "check_distillation", "distillation_loss", "teacher_sha256"]

_SHARED = ("num_classes", "seq_len", "d_input", "vocab_size", "padded")


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 2.0, weight: float = 0.5
) -> Tensor:
    """Cross-entropy with the labels and divergence from the teacher, mean over the batch: ().

    (1 - w) CE(student, labels) + w T^2 KL(softmax(teacher / T) || softmax(student / T))

    student, teacher: logits (B, num_classes); labels: int64 (B,). Gradients of the second term shrink as
    1 / T^2, hence the factor: the weight means the same at every temperature.
    Hinton, Vinyals, Dean 2015, arXiv 1503.02531, section 2.
    """
    hard = functional.cross_entropy(student, labels)
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - weight) * hard + weight * temperature**2 * soft


@dataclass(frozen=True, eq=False)
class Distillation:
    """An Objective: `distillation_loss` with `teacher`'s logits on the same batch.

    The teacher is copied, so nothing happens to the one that was given, and later changes to it change
    nothing here. It answers in eval mode, without gradients, on the device of the batch.

    Raises UsageError for a temperature not above zero or a weight outside [0, 1], and at the first batch
    when the teacher takes other input or gives other classes than the student.
    """

    teacher: Classifier
    temperature: float = 2.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_distillation(self.temperature, self.weight)
        teacher = copy.deepcopy(self.teacher).eval().requires_grad_(False)
        object.__setattr__(self, "teacher", teacher)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self._check(model)
        with torch.no_grad():
            teacher = self.teacher.to(batch.x.device)(batch.x, batch.lengths)  # (B, num_classes)
        student = model(batch.x, batch.lengths)
        return distillation_loss(
            student.float(),
            teacher.float(),
            batch.y,
            temperature=self.temperature,
            weight=self.weight,
        )

    def identity(self) -> dict[str, Any]:
        return {
            "kind": "distillation",
            "teacher_sha256": teacher_sha256(self.teacher),
            "temperature": self.temperature,
            "weight": self.weight,
        }

    def _check(self, model: nn.Module) -> None:
        config = getattr(model, "config", None)
        for name in _SHARED if config is not None else ():
            expected, found = getattr(config, name), getattr(self.teacher.config, name)
            if expected != found:
                raise UsageError(
                    f"the teacher does not fit the model: {name}",
                    expected=expected,
                    found=found,
                    fix="use a teacher trained on the same dataset",
                )


def check_distillation(temperature: float, weight: float) -> None:
    """Raise UsageError for a temperature not above zero or a weight outside [0, 1]."""
    if not temperature > 0:
        raise UsageError("the distillation temperature is too low", expected="above 0", found=temperature)
    if not 0 <= weight <= 1:
        raise UsageError("the distillation weight is out of range", expected="0 to 1", found=weight)


def teacher_sha256(teacher: Classifier) -> str:
    """Hex SHA-256 of a model's config, weights and masks."""
    digest = hashlib.sha256(json.dumps(teacher.config.model_dump(mode="json"), sort_keys=True).encode())
    for name, tensor in sorted(teacher.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
