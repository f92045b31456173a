"""Playing one episode from a resolved configuration."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thread_cli.engine.errors import UserError
from thread_cli.engine.executor import Executor
from thread_cli.environments import Computes
from thread_cli.environments.registry import open_environment, task_of
from thread_cli.interpreters.monty import MontyInterpreter
from thread_cli.models import Opens
from thread_cli.models.registry import open_model
from thread_cli.protocols.prompt import load
from thread_cli.record import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.config import Config
    from thread_cli.engine.episode import Episode
    from thread_cli.engine.events import Sink
    from thread_cli.environments import Environment, Task
    from thread_cli.interpreters import Interpreter
    from thread_cli.protocols.prompt import Prompt

__all__ = ["Played", "interpreter_for", "play"]


@dataclass(frozen=True, slots=True)
class Played:
    """An episode with the folder that it was recorded in."""

    episode: Episode
    folder: RunFolder
    task: Task


async def play(
    config: Config,
    *sinks: Sink,
    ready: Callable[[RunFolder], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Played:
    """Play the task that `config` names, telling `sinks` and the log what happens.

    `ready` is called once all input is found to be right, before the first event. `tell` gets a line for people where
    something takes long before that.

    Raises:
        UserError: something in the configuration cannot be used, or the log cannot be written.
    """
    environment = open_environment(config.environment, {"seed": config.seed, **config.options})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(environment.close)
        task = task_of(environment, config.environment, config.task)
        prompt = _prompt(config, environment, task)
        _require_price(config)
        model = open_model(config.model, environment, task, tell)
        stack.push_async_callback(model.close)
        if isinstance(model, Opens):
            await model.open()
        interpreter = interpreter_for(config, environment, task)
        stack.push_async_callback(interpreter.close)
        name = f"{config.environment}-{task.id}".replace("/", "-")
        about = {"config": config.model_dump(mode="json"), "prompt": {"name": prompt.name, **prompt.rules.model_dump()}}
        folder = RunFolder.create(config.log, name, about, prompt.q)
        log = folder.log(task.id)
        stack.callback(log.close)
        if ready:
            ready(folder)
        executor = Executor(
            model=model,
            prompt=prompt,
            interpreter=interpreter,
            environment=environment,
            limits=config.limits,
            child_limits=config.child_limits,
            on_failure=config.on_failure,
            temperature=config.model.temperature,
            seed=config.seed,
            sinks=[log, *sinks],
        )
        return Played(await executor.run(task, config.environment), folder, task)


def interpreter_for(config: Config, environment: Environment, task: Task) -> Interpreter:
    """What runs the code of threads that play `task`."""
    if not isinstance(environment, Computes):
        return MontyInterpreter()
    from thread_cli.interpreters.session import SessionInterpreter

    return SessionInterpreter(environment.workspace(task), unsafe=config.unsafe_python)


def _prompt(config: Config, environment: Environment, task: Task) -> Prompt:
    return load(
        config.prompt,
        config.environment,
        category=task.category,
        plain_rules=environment.rules,
        override={"phi": config.phi, "psi": config.psi},
    )


def _require_price(config: Config) -> None:
    limited = [limits for limits in (config.limits, config.child_limits) if limits and limits.cost is not None]
    if limited and config.model.price is None:
        raise UserError(
            "a cost limit needs prices, in dollars per million tokens: "
            "-o model.price.prompt=… -o model.price.generated=…"
        )
