"""Plays one episode from a resolved configuration, and opens its parts: for bench runs and training too."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from thread_cli.assembly.branching import Arranged, arrange, require_answers, require_short_answers
from thread_cli.assembly.environments import open_environment, task_of
from thread_cli.assembly.models import open_model, parameters, priced
from thread_cli.assembly.watchers import open_watchers
from thread_cli.assembly.width import fitted
from thread_cli.contracts.environment import Computes
from thread_cli.contracts.errors import ExitCode, InterpreterFailed, UserError
from thread_cli.contracts.model import Opens
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter, described
from thread_cli.models.embedded import EMBEDDED, TRAINED_FOR, specialist, specialist_digest, unfamiliar
from thread_cli.protocols.prompt import load
from thread_cli.record import RunFolder
from thread_cli.supervision import note

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from thread_cli.assembly.config import Config, ModelConfig
    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.events import Sink
    from thread_cli.contracts.interpreter import Interpreter
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.contracts.watcher import Watcher
    from thread_cli.engine.episode import Episode
    from thread_cli.protocols.prompt import Prompt

__all__ = [
    "Models",
    "Opened",
    "Played",
    "environment_for",
    "executor_for",
    "interpreter_for",
    "opened",
    "play",
    "prompt_for",
    "require_price",
]

_SHARED: Final = ("openai", "llama", EMBEDDED)
"""Kinds of models that do not depend on the task, so that one object serves all episodes."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An episode of which everything is open: `executor.run(task, config.environment)` plays it."""

    executor: Executor
    task: Task
    folder: RunFolder


@dataclass(frozen=True, slots=True)
class Played:
    """An episode with the folder that it was recorded in."""

    episode: Episode
    folder: RunFolder
    task: Task


async def play(config: Config, *sinks: Sink, tell: Callable[[str], None] | None = None) -> Played:
    """Play the task that `config` names, telling `sinks` and the log what happens.

    `tell` gets a line for people where something takes long before the first event.

    Raises:
        UserError: something in the configuration cannot be used, or the log cannot be written.
    """
    async with opened(config, *sinks, tell=tell) as found:
        return Played(await found.executor.run(found.task, config.environment), found.folder, found.task)


@asynccontextmanager
async def opened(config: Config, *sinks: Sink, tell: Callable[[str], None] | None = None) -> AsyncGenerator[Opened]:
    """The episode that `config` names, ready to be played: all input is found to be right, and nothing has happened.

    `tell` gets a line for people where something takes long.

    Raises:
        UserError: something in the configuration cannot be used, or the log cannot be written.
    """
    environment = environment_for(config)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(environment.close)
        task = task_of(environment, config.environment, config.task)
        require_price(config)
        watchers = open_watchers(config) if config.watch or config.watchers else []
        if config.branches is not None:
            require_answers(environment, config.environment)
        if watchers:
            require_short_answers(environment, config.environment, config, watchers)
        prompt = prompt_for(config, environment, task, tell)
        if watchers:
            require_short_answers(prompt.protocol(), f"the protocol {prompt.rules.protocol}", config, watchers)
        spec = config.model.named.innermost
        strange = spec.kind == EMBEDDED and config.environment not in TRAINED_FOR
        if tell and strange and (line := unfamiliar(spec.text, config.environment)):
            tell(f"thread: {line}")
        models = Models(config.model, tell)
        stack.push_async_callback(models.close)
        model = await stack.enter_async_context(models.use(environment, task))
        width = config.max_parallel
        if width == "auto" or prompt.asks_for_width:
            prompt, width = await fitted(width, model, prompt)
        about = _about(config, prompt)
        interpreter = interpreter_for(config, environment, task)
        stack.push_async_callback(interpreter.close)
        await _open(interpreter)
        name = f"{config.environment}-{task.id}".replace("/", "-")
        folder = RunFolder.create(config.log, name, about, prompt.q)
        log = folder.log(task.id)
        stack.callback(log.close)
        note(log=str(log.path))
        stack.callback(note, log=None)
        arranged = Arranged(model, None, config.limits, [])
        if config.branches is not None or watchers or spec.kind == "replay":
            arranged = arrange(
                model,
                limits=config.limits,
                watchers=watchers,
                branches=config.branches,
                protocol=None,
                plain=prompt.protocol(),
            )
        executor = executor_for(
            config.model_copy(update={"limits": arranged.limits}),
            model=arranged.model,
            prompt=prompt,
            interpreter=interpreter,
            environment=environment,
            sinks=[log, *sinks],
            protocol=arranged.protocol,
            watchers=arranged.watchers,
            width=width,
        )
        yield Opened(executor, task, folder)


def _about(config: Config, prompt: Prompt) -> dict[str, Any]:
    """What a run's folder tells of it: the configuration as resolved, and what it has come to here."""
    about: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "prompt": {"name": prompt.name, **prompt.rules.model_dump()},
        "variables": described(unsafe=config.unsafe_python),
    }
    spec = config.model.named.innermost
    if spec.kind == EMBEDDED and (digest := specialist_digest(spec.text)):
        about["specialist"] = {"adapter": digest}
    return about


def environment_for(config: Config) -> Environment:
    """A new environment object; raises UserError as `open_environment` does."""
    return open_environment(config.environment, {"seed": config.seed, **config.options})


def prompt_for(
    config: Config, environment: Environment, task: Task, tell: Callable[[str], None] | None = None
) -> Prompt:
    """The prompt that the configuration names, or the environment's own for the model, its size or the task's category.

    `tell` gets a line for people where the model is fetched for that.

    Raises:
        UserError: there is no such prompt, it cannot be read, or the model cannot be fetched.
    """
    model = config.model.named.innermost
    return load(
        config.prompt,
        config.environment,
        category=task.category,
        model="" if model.text == EMBEDDED and specialist() is None else model.text,
        parameters=None if config.prompt else parameters(model, tell),
        plain_rules=environment.rules,
        override={"protocol": config.protocol, "phi": config.phi, "psi": config.psi},
    )


def interpreter_for(config: Config, environment: Environment, task: Task) -> Interpreter:
    """The interpreter for threads that play `task`."""
    if not isinstance(environment, Computes):
        return VariableInterpreter(unsafe=config.unsafe_python)
    from thread_cli.interpreters.session import SessionInterpreter

    return SessionInterpreter(environment.workspace(task), unsafe=config.unsafe_python)


async def _open(interpreter: Interpreter) -> None:
    """Open the interpreter before anything is recorded, since it may turn out to be unusable."""
    if isinstance(interpreter, Opens):
        try:
            await interpreter.open()
        except InterpreterFailed as failure:
            raise UserError(failure.message, ExitCode.infrastructure) from failure


def executor_for(
    config: Config,
    *,
    model: Model,
    prompt: Prompt,
    interpreter: Interpreter,
    environment: Environment,
    sinks: Sequence[Sink],
    protocol: Protocol | None = None,
    watchers: Sequence[Watcher] = (),
    width: int | None = None,
) -> Executor:
    """The executor of one episode, with the configuration's limits, policy and sampling.

    `width`: how many threads may generate at once, see `fitted`.
    """
    return Executor(
        model=model,
        prompt=prompt,
        interpreter=interpreter,
        environment=environment,
        limits=config.limits,
        child_limits=config.child_limits,
        on_failure=config.on_failure,
        temperature=config.model.temperature,
        seed=config.seed,
        sinks=sinks,
        protocol=protocol,
        watchers=watchers,
        logprobs=config.model.logprobs,
        policy=config.model.version or config.model.spec,
        max_parallel=width,
    )


def require_price(config: Config) -> None:
    """Make sure that a limit of cost can be enforced; raises UserError if the model's price is unknown."""
    limited = [limits for limits in (config.limits, config.child_limits) if limits and limits.cost is not None]
    if limited and not priced(config.model):
        raise UserError(
            "a cost limit needs prices, and none is published for this model; in dollars per million tokens: "
            "-o model.price.prompt=… -o model.price.generated=…"
        )


class Models:
    """The models of episodes: one for all if its kind does not depend on the task, else a new one for each.

    `tell` gets a line for people where preparing a model takes long.
    """

    def __init__(self, config: ModelConfig, tell: Callable[[str], None] | None = None) -> None:
        self._config = config
        self._tell = tell
        self._one: Model | None = None
        self._shared = config.named.innermost.kind in _SHARED

    @asynccontextmanager
    async def use(
        self, environment: Environment, task: Task, *, recording: Path | None = None
    ) -> AsyncGenerator[Model]:
        """The model for an episode of `task`, loaded; `recording` is as in `open_model`.

        Raises:
            UserError: the model cannot be opened.
        """
        if self._shared:
            self._one = self._one or open_model(self._config, None, None, self._tell)
            await _load(self._one)
            yield self._one
            return
        model = open_model(self._config, environment, task, self._tell, recording=recording)
        try:
            await _load(model)
            yield model
        finally:
            await model.close()

    async def close(self) -> None:
        """Release the shared model. May be called twice."""
        model, self._one = self._one, None
        if model is not None:
            await model.close()


async def _load(model: Model) -> None:
    if isinstance(model, Opens):
        await model.open()
