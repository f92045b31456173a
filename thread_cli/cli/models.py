"""`thread models`: how models are named."""

from __future__ import annotations

from thread_cli.cli.listing import print_table
from thread_cli.models.registry import KINDS

__all__ = ["models"]


def models() -> None:
    """List the kinds of models, how --model names them, and what is missing."""
    rows = [(kind.spec, "no" if kind.missing else "yes", kind.description) for kind in KINDS.values()]
    remedies = {name: kind.remedy for name, kind in KINDS.items() if kind.missing}
    print_table(("--model", "installed", "what it is"), rows, remedies)
