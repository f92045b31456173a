"""Self-consistency: several threads answer the same question, and the answer of most counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.bench.methods.thread import Thread

if TYPE_CHECKING:
    from thread_cli.assembly.config import Config

__all__ = ["SelfConsistency"]

_BRANCHES: Final = 16


class SelfConsistency(Thread):
    """Branches of one question, and the majority of their answers (arXiv 2203.11171). Each branch is a thread as the
    method `thread` plays it, with the same prompt.
    """

    name = "self-consistency"
    description = f"the majority of several threads' answers, {_BRANCHES} unless --branches says (arXiv 2203.11171)"

    def config(self, config: Config) -> Config:
        """The configuration, with a number of branches."""
        return config if config.branches is not None else config.model_copy(update={"branches": _BRANCHES})
