"""`s4op-agent`, and `python -m device_agent`.

The process may have to start itself again, so nothing heavy is imported before that.
"""

from __future__ import annotations

from edge_s4op.huge_pages import restart_with_huge_pages

__all__ = ["main"]


def main() -> None:
    """The console script."""
    restart_with_huge_pages()
    from device_agent.cli import serve

    serve()


if __name__ == "__main__":
    main()
