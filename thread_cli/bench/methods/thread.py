"""THREAD: the model itself decides which threads to spawn, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.assembly.playing import prompt_for
from thread_cli.bench.methods.base import Method

if TYPE_CHECKING:
    from thread_cli.assembly.config import Config
    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.limits import Limits
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.protocols.prompt import Prompt

__all__ = ["Thread"]


class Thread(Method):
    """THREAD (arXiv 2405.17402), as `thread run` plays it."""

    name = "thread"
    description = "threads that spawn threads (THREAD, arXiv 2405.17402)"
    prompt_name = "default"

    def prompt(self, config: Config, environment: Environment, task: Task) -> Prompt:
        """The prompt that the configuration names, or the environment's own for the task's category."""
        return prompt_for(config, environment, task)

    def protocol(self, prompt: Prompt) -> Protocol | None:  # noqa: ARG002
        return None

    def limits(self, limits: Limits) -> Limits:
        return limits
