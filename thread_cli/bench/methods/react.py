"""ReAct: one thread that thinks and acts by turns."""

from __future__ import annotations

from thread_cli.bench.methods.base import Method

__all__ = ["React"]


class React(Method):
    """Thought, action, observation, in one thread (ReAct, arXiv 2210.03629)."""

    name = "react"
    description = "one thread that thinks and acts by turns (ReAct, arXiv 2210.03629)"
    prompt_name = "react"
    depth = 0
