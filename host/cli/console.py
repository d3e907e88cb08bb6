"""What commands print: progress and prose to stderr, results to stdout, `--json` as one line."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from edge_s4op.errors import AgentError, StorageError

__all__ = ["emit_json", "log", "result", "resumable"]

# No markup: brackets in a path or in a device's message are what they are.
log = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
result = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140)


def emit_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of stdout, for scripts."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Work that leaves its state in `folder`: where something outside stops it, say how to go on."""
    try:
        yield
    except (AgentError, StorageError, KeyboardInterrupt):
        if folder.exists():
            log.print(f"what is finished is kept in {folder}: continue with --resume")
        raise
