"""`thread models`: how models are named."""

from __future__ import annotations

from thread_cli.cli.listing import print_table
from thread_cli.models.registry import KINDS

__all__ = ["models"]


def models() -> None:
    """List the kinds of models, how --model names them, and what is missing."""
    rows = [(kind.spec, kind.description, f"no: {kind.remedy}" if kind.missing else "yes") for kind in KINDS.values()]
    print_table(("--model", "what it is", "installed"), rows)
