"""`thread prompts`: which few-shot prompts are installed."""

from __future__ import annotations

from thread_cli.assembly.environments import installed as environments
from thread_cli.cli.listing import print_table
from thread_cli.protocols.prompt import installed

__all__ = ["prompts"]


def prompts() -> None:
    """List the installed prompts, with their ϕ and ψ."""
    rows = [
        (
            found.name,
            f"{name} (default)" if rules.default else name,
            f"{rules.description} (ϕ {rules.phi}, ψ {rules.psi})",
        )
        for found in environments()
        for name, rules in installed(found.name)
    ]
    print_table(("environment", "--prompt", "what it is"), rows)
