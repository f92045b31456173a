"""What an ablation takes away: variables, or few-shot examples."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.interpreter import Ends, Names
from thread_cli.engine.namespace import Namespace
from thread_cli.protocols.prompt import Prompt
from thread_cli.protocols.turns import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.assembly.config import Config
    from thread_cli.bench.methods.base import Method
    from thread_cli.bench.suite import Variant
    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.interpreter import Interpreter, Outcome

__all__ = ["prompt_of", "with_examples", "without_variables"]

_SEPARATOR: Final = "\n" * 6


def prompt_of(
    way: Method, config: Config, environment: Environment, task: Task, variant: Variant | None = None
) -> Prompt:
    """The few-shot prompt with which a method plays a task, with the examples that a variant leaves of it.

    Raises:
        UserError: as `Method.prompt`, and where the prompt has fewer examples than are to be left.
    """
    prompt = way.prompt(config, environment, task)
    return prompt if variant is None else with_examples(prompt, **variant.examples.model_dump())


def with_examples(prompt: Prompt, *, keep: int | None = None, shuffle: int | None = None) -> Prompt:
    """The prompt with other examples: first put into the random order of the seed `shuffle`, then the first `keep`.

    None leaves the order, or the number, as it is. What stands before the first example stays.

    Raises:
        UserError: the prompt has fewer examples.
    """
    head, *examples = EXAMPLE.split(prompt.q)
    if keep is not None and keep > len(examples):
        raise UserError(f"prompt {prompt.name}: {keep} examples are to be kept, and it has {len(examples)}")
    if shuffle is not None:
        random.Random(shuffle).shuffle(examples)
    shown = [head, *examples[:keep]] if head else examples[:keep]
    return Prompt(prompt.name, _SEPARATOR.join(shown), prompt.rules)


def without_variables(interpreter: Interpreter) -> Interpreter:
    """An interpreter for one episode under which variables stay where they are bound.

    A thread's code still finds what its own code has bound before, `task` and `observation`. But names are not handed
    on, neither to children nor to parents, and `{name}` stands for nothing.
    """
    return _Apart(interpreter)


class _Apart:
    """Keeps what code binds to itself, by thread, where the engine would hand it on."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._bound: dict[str, Namespace] = {}
        self.patience = interpreter.patience

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
        own = self._bound.setdefault(thread, Namespace())
        given = Names({**names, **own.values}, own.values.kept)
        outcome = await self._interpreter.run(code, given, thread=thread)
        own.bind(outcome.names, outcome.gone)
        return replace(outcome, names={}, gone=())

    def ended(self, thread: str) -> None:
        self._bound.pop(thread, None)
        if isinstance(self._interpreter, Ends):
            self._interpreter.ended(thread)

    async def close(self) -> None:
        await self._interpreter.close()
