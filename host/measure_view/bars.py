"""Horizontal bars made of characters, for the histogram and the layers."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

__all__ = ["Bar"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"


class Bar:
    """A bar over `share` of its `width`; in "#" where the terminal's encoding has no blocks.

    What is not nothing shows at least an eighth of a character.
    """

    def __init__(self, share: float, width: int = 40, style: str = "") -> None:
        self.share, self.width, self.style = min(max(share, 0.0), 1.0), width, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self.width, options.max_width)
        text = self._plain(width) if options.ascii_only else self._blocks(width)
        yield Segment(text, Style.parse(self.style) if self.style else None)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(10, self.width), self.width)

    def _blocks(self, width: int) -> str:
        eighths = max(round(8 * width * self.share), 1 if self.share > 0 else 0)
        return _FULL * (eighths // 8) + _EIGHTHS[eighths % 8].strip()

    def _plain(self, width: int) -> str:
        return "#" * max(round(width * self.share), 1 if self.share > 0 else 0)
