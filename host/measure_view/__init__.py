"""A measurement for people: tables and bars for the terminal, one picture."""

from host.measure_view.picture import write_picture
from host.measure_view.terminal import shown

__all__ = ["shown", "write_picture"]
