"""What commands print: progress and prose to stderr, results to stdout, `--json` as one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

__all__ = ["emit_json", "log", "result"]

log = Console(stderr=True, highlight=False, soft_wrap=True)
result = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def emit_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of stdout, for scripts."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
