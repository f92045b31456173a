"""Lines for people, beside what a command prints for programs."""

from __future__ import annotations

import sys

__all__ = ["tell"]


def tell(line: str) -> None:
    """Print a line to stderr."""
    print(line, file=sys.stderr, flush=True)
