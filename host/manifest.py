"""What every exported file says of its model, whatever graph it holds."""

from __future__ import annotations

from typing import Any

from edge_s4op.artifact import Manifest
from host.models import Classifier, count_parameters
from host.versions import git_commit, versions

__all__ = ["manifest_of"]


def manifest_of(model: Classifier, **more: Any) -> Manifest:
    """The manifest of a compact model; `more` are the fields that depend on the file or on the data."""
    return Manifest(
        model_kind=model.config.kind,
        d_model=model.config.d_model,
        d_state=model.config.d_state,
        seq_len=model.config.seq_len,
        kept_operators=model.kept_operators(),
        states=model.config.states,
        features=model.config.features,
        parameters=count_parameters(model),
        git_commit=git_commit(),
        versions=versions(),
        **more,
    )
