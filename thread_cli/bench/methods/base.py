"""What a method decides: the prompt, the wire format, the limits, and who writes which threads.

Everything else is the same for all methods: executor, models, environments, interpreters, scoring, log. So a comparison
of methods compares nothing but these decisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from thread_cli.contracts.errors import UserError
from thread_cli.protocols.acting import ActingProtocol
from thread_cli.protocols.prompt import installed, load

if TYPE_CHECKING:
    from thread_cli.assembly.config import Config
    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.limits import Limits
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.protocols.prompt import Prompt
    from thread_cli.protocols.thread import ThreadProtocol

__all__ = ["Method"]

_REPEATS: Final = 10


class Method:
    """A method of playing, with the parts that most baselines share: a prompt and a format of their own."""

    name: ClassVar[str]
    description: ClassVar[str]
    prompt_name: ClassVar[str]
    """The prompt in `prompts/ENVIRONMENT/methods/` that is used where none is named."""
    format: ClassVar[type[ThreadProtocol]] = ActingProtocol
    phi: ClassVar[str | None] = None
    """The ϕ of threads that the method spawns."""
    depth: ClassVar[int | None] = None
    """Of the deepest thread; None for the configuration's limit."""
    writes: ClassVar[bool] = False
    """Whether the method, and not the model, writes the main thread."""

    def prompt(self, config: Config, environment: Environment, task: Task) -> Prompt:  # noqa: ARG002
        """The few-shot prompt with which `task` is played.

        Raises:
            UserError: there is none, or it cannot be used; or the configuration asks for what the method cannot do.
        """
        self._require_fitting(config)
        where = f"{config.environment}/methods"
        if config.prompt is None and self.prompt_name not in dict(installed(where)):
            raise UserError(
                f"there is no prompt for the method {self.name} in {config.environment}: give one with --prompt FILE"
            )
        # Examples for threads that a method spawns have an empty line after each answer, in every environment.
        led = {"phi": self.phi, "psi": "printed", "blank_line": True} if self.phi else {}
        return load(config.prompt or self.prompt_name, where, plain_rules=environment.rules, override=led)

    def protocol(self, prompt: Prompt) -> Protocol | None:
        """The wire format; None for the one that the prompt declares."""
        return self.format.of(prompt.rules, {})

    def config(self, config: Config) -> Config:
        """The configuration with which an episode is played.

        Raises:
            UserError: it asks for branches, and the method writes the main thread itself.
        """
        if config.branches is not None and self.writes:
            raise UserError(f"the method {self.name} has no branches: leave out --branches, or use self-consistency")
        return config

    def limits(self, limits: Limits) -> Limits:
        """The limits of an episode, where the configuration's are `limits`.

        Depth is only ever lowered. `repeats` is raised: who plays a task alone has to take the same step more often (to
        craft the same thing four times, say) than a thread that has a small part of it.
        """
        depth = limits.depth if self.depth is None else min(limits.depth, self.depth)
        return limits.model_copy(update={"depth": depth, "repeats": max(limits.repeats, _REPEATS)})

    def model(self, model: Model) -> Model:
        """Who writes the threads: the model itself, or a method that writes some of them around it.

        The returned model holds nothing: the model is closed by whoever has opened it.
        """
        return model

    def _require_fitting(self, config: Config) -> None:
        if config.protocol:
            raise UserError(f"the method {self.name} has its own protocol: leave out --protocol, or use thread")
        if config.phi or config.psi:
            raise UserError(f"the method {self.name} has its own ϕ and ψ: leave out --phi and --psi, or use thread")
        if config.model.named.innermost.text == "teacher":
            raise UserError(
                f"teachers play by the methods thread and self-consistency only: choose another --model for {self.name}"
            )
