"""Plays the episodes of a run, one attempt each; shared parts are opened once.

All episodes share the model, if its kind does not depend on the task, and the interpreter of variables. Environments
are kept when an episode ends and used again by the next one, so there are never more of them than episodes under way;
one that an episode has left in an unknown state is closed instead.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from thread_cli.assembly.branching import arrange, require_answers, require_short_answers
from thread_cli.assembly.checking import FormatCheck
from thread_cli.assembly.models import model_file
from thread_cli.assembly.playing import Models, environment_for, executor_for, interpreter_for, require_price
from thread_cli.assembly.watchers import open_watchers
from thread_cli.assembly.width import fitted
from thread_cli.bench import FailureClass, Result
from thread_cli.bench.classes import Signs
from thread_cli.bench.methods import method, prompt_of, without_variables
from thread_cli.bench.plan import Item, Plan, fingerprint, key_of, prompt_hash, selected
from thread_cli.bench.recordings import Recordings
from thread_cli.bench.suite import tasks_of
from thread_cli.contracts.errors import Ending, Status, ThreadFailure, UserError
from thread_cli.contracts.events import EpisodeEnded, Failed, Generated, ThreadEnded, Totals
from thread_cli.models.embedded import unfamiliar
from thread_cli.record import EpisodeLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from thread_cli.bench.suite import Part, Variant
    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.events import Event
    from thread_cli.protocols.prompt import Prompt

__all__ = ["Attempt", "Player", "Players", "Spent"]

_GRACE: Final = 60.0
"""Seconds after its time is up in which an episode must have ended by itself."""

_UNKNOWN_STATE: Final = {Status.environment_error, Status.engine_error}

Spent = Callable[[int, float | None], None]
"""Called after each model call with the tokens and the US dollars that it cost."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of one attempt at an episode. `seconds` is wall time."""

    status: Status
    reward: float | None
    marks: dict[str, float]
    message: str
    totals: Totals
    failure: FailureClass | None
    seconds: float
    pruned: int = 0
    """Threads that watchers pruned."""
    stopped: bool = False
    """Whether a watcher ended the episode."""
    format_problems: tuple[str, ...] | None = None
    """The faults of the main thread's text; None where its wire format has no checker."""

    def result(self, plan: Plan, item: Item, attempts: int) -> Result:
        """The result of the episode, if this is the attempt that counts."""
        part = plan.suite.parts[item.part]
        return Result(
            key=item.key,
            environment=part.environment,
            split=part.split,
            task=item.task.id,
            category=item.task.category,
            text=item.task.text,
            method=item.method,
            model=plan.model,
            variant=item.variant.name if item.variant else "",
            epoch=item.epoch,
            status=self.status,
            reward=self.reward,
            marks=self.marks,
            message=self.message,
            failure=self.failure,
            totals=self.totals,
            pruned=self.pruned,
            stopped=self.stopped,
            format_correct=None if self.format_problems is None else not self.format_problems,
            format_problems=self.format_problems or (),
            attempts=attempts,
            seconds=round(self.seconds, 3),
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )


class Players(Protocol):
    """A place where episodes are played: this process, or a cluster."""

    async def play(self, item: Item, log: Path, spent: Spent) -> Attempt:
        """Play an episode, with its events written to `log`.

        Raises:
            UserError: no episode can be played with these settings.
        """
        ...

    async def aclose(self) -> None:
        """Close all that was opened. May be called twice."""
        ...


class Player:
    """Plays the episodes of a plan in this process. `tell` gets lines for people where opening takes long."""

    def __init__(self, plan: Plan, tell: Callable[[str], None] | None = None) -> None:
        self._plan = plan
        self._tell = tell
        self._models = Models(plan.config.model, tell)
        self._idle: defaultdict[int, list[Environment]] = defaultdict(list)
        self._prompts: dict[tuple[int, str, str], Prompt] = {}
        spec = plan.config.model.named.innermost
        self._recordings = Recordings(spec) if spec.kind == "replay" and spec.rest else None

    def settle(self) -> tuple[Plan, list[Item], dict[str, str]]:
        """The plan with its identity, its episodes in the order of playing, and its few-shot prompts by hash.

        Raises:
            UserError: tasks, prompts or watchers are not there, or not such as the suite says.
        """
        require_price(self._plan.config)
        # A model on a hub is fetched first, with lines for people: which prompt is its own depends on its size.
        model_file(self._plan.config.model.named, self._tell)
        items: list[Item] = []
        prompts: defaultdict[str, set[str]] = defaultdict(set)
        played: dict[str, str] = {}
        for part, where in enumerate(self._plan.suite.parts):
            environment = self._opened(part)
            self._idle[part].append(environment)
            self._require_watchable(where, environment)
            tasks = selected(tasks_of(where, environment), self._plan)
            played[f"{where.name} ({part + 1})" if where.name in played else where.name] = fingerprint(tasks)
            items += [item for task in tasks for item in self._items(part, environment, task)]
        self._warn()  # after all checks that may refuse the run: a refusal is one line
        for prompt in self._prompts.values():
            prompts[prompt.name].add(prompt_hash(prompt, self._plan.keys))
        distinct = {item.key: item for item in sorted(items, key=lambda item: item.epoch)}
        hashes = {name: tuple(sorted(hashes)) for name, hashes in prompts.items()}
        for item in distinct.values():
            self._recording(item)
        plan = self._plan.settled(played, hashes, distinct)
        texts = {prompt_hash(prompt, self._plan.keys): prompt.q for prompt in self._prompts.values()}
        return plan, list(distinct.values()), texts

    async def play(self, item: Item, log: Path, spent: Spent) -> Attempt:
        """Play an episode; see `Players`."""
        ended, signs, checked = _Ended(), Signs(), FormatCheck()
        wall_time = self._plan.config.limits.wall_time
        began = time.monotonic()
        error: Exception | None = None
        written = EpisodeLog(log)
        try:
            async with asyncio.timeout(None if wall_time is None else wall_time + _GRACE):
                await self._episode(item, [written, signs, ended, checked, _Meter(spent)])
        except UserError:
            raise
        except Exception as caught:  # noqa: BLE001 - a fault of the infrastructure, whatever it is
            error = caught
        finally:
            written.close()
        attempt = ended.attempt(error, signs, time.monotonic() - began)
        return replace(attempt, format_problems=checked.problems())

    async def aclose(self) -> None:
        """Close all that was opened. May be called twice."""
        idle = [environment for environments in self._idle.values() for environment in environments]
        self._idle.clear()
        for environment in idle:
            with suppress(ThreadFailure):
                await environment.close()
        await self._models.close()

    async def _episode(self, item: Item, sinks: list[Callable[[Event], None]]) -> None:
        part, way = self._plan.suite.parts[item.part], method(item.method)
        config = way.config(self._plan.config_of(part, item.variant))
        async with AsyncExitStack() as stack:
            environment = await stack.enter_async_context(self._environment(item.part))
            prompt = self._prompt(item.part, environment, item.task, item.variant)
            recording = self._recording(item)
            model = await stack.enter_async_context(self._models.use(environment, item.task, recording=recording))
            width = config.max_parallel
            if width == "auto" or prompt.asks_for_width:
                prompt, width = await fitted(width, model, prompt)
            interpreter = interpreter_for(config, environment, item.task)
            stack.push_async_callback(interpreter.close)
            if item.variant and not item.variant.variables:
                interpreter = without_variables(interpreter)
            arranged = arrange(
                way.model(model),
                limits=way.limits(config.limits),
                watchers=open_watchers(config),
                branches=config.branches,
                protocol=way.protocol(prompt),
                plain=prompt.protocol(),
                inside=model,
            )
            executor = executor_for(
                config.model_copy(update={"limits": arranged.limits, "seed": config.seed + item.epoch}),
                model=arranged.model,
                prompt=prompt,
                protocol=arranged.protocol,
                interpreter=interpreter,
                environment=environment,
                sinks=sinks,
                watchers=arranged.watchers,
                width=width,
            )
            episode = await executor.run(item.task, config.environment)
            if episode.status in _UNKNOWN_STATE:
                raise _Unusable

    @asynccontextmanager
    async def _environment(self, part: int) -> AsyncGenerator[Environment]:
        """An environment that no other episode uses inside the block."""
        idle = self._idle[part]
        environment = idle.pop() if idle else self._opened(part)
        try:
            yield environment
        except BaseException:
            await environment.close()
            raise
        idle.append(environment)

    def _require_watchable(self, part: Part, environment: Environment) -> None:
        """Make sure that the watchers of a part can be used, and its branches vote, and be probed where they are."""
        for variant in self._plan.suite.variants or (None,):
            config = method(self._method(variant)).config(self._plan.config_of(part, variant))
            watchers = open_watchers(config)
            if config.branches is not None:
                require_answers(environment, part.environment)
            require_short_answers(environment, part.environment, config, watchers)

    def _warn(self) -> None:
        """Say which environments the model was not made for, once each."""
        spec = self._plan.config.model.named.innermost.text
        names = dict.fromkeys(part.environment for part in self._plan.suite.parts)
        for line in filter(None, (unfamiliar(spec, name) for name in names)):
            if self._tell:
                self._tell(f"thread: {line}")

    def _recording(self, item: Item) -> Path | None:
        """The recorded episode that an episode repeats; None where the model is no recorded one."""
        if self._recordings is None:
            return None
        return self._recordings.file(self._plan.suite.parts[item.part], item)

    def _opened(self, part: int) -> Environment:
        return environment_for(self._plan.config_of(self._plan.suite.parts[part]))

    def _items(self, part: int, environment: Environment, task: Task) -> list[Item]:
        """The episodes of a task: one for each variant and epoch."""
        found: list[Item] = []
        for variant in self._plan.suite.variants or (None,):
            name = self._method(variant)
            prompt = self._prompt(part, environment, task, variant)
            for epoch in range(self._plan.epochs):
                key = key_of(self._plan, part, task, method=name, variant=variant, prompt=prompt, epoch=epoch)
                found.append(Item(key, part, task, name, variant, epoch))
        return found

    def _method(self, variant: Variant | None) -> str:
        return (variant and variant.method) or self._plan.method

    def _prompt(self, part: int, environment: Environment, task: Task, variant: Variant | None) -> Prompt:
        """The prompt for a task; all tasks of a category have the same.

        Raises:
            UserError: there is none, or a watcher would probe branches that answer in its format.
        """
        place = (part, variant.name if variant else "", task.category)
        if place not in self._prompts:
            config, way = self._plan.config_of(self._plan.suite.parts[part], variant), method(self._method(variant))
            prompt = self._prompts[place] = prompt_of(way, config, environment, task, variant)
            if config.watch:
                watchers, protocol = open_watchers(way.config(config)), way.protocol(prompt) or prompt.protocol()
                require_short_answers(protocol, f"the protocol {prompt.rules.protocol}", config, watchers)
        return self._prompts[place]


class _Unusable(Exception):
    """An episode ended for a fault of the infrastructure; its environment is not used again."""


class _Ended:
    """A sink that keeps how the episode ended, and counts the threads that watchers pruned."""

    def __init__(self) -> None:
        self._event: EpisodeEnded | None = None
        self._pruned = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpisodeEnded):
            self._event = event
        elif isinstance(event, ThreadEnded):
            self._pruned += event.how is Ending.pruned

    def attempt(self, error: Exception | None, signs: Signs, seconds: float) -> Attempt:
        """The outcome of the attempt, which raised `error`."""
        event = self._event
        if event is not None and (error is None or event.status.infrastructure):
            status, message = event.status, event.message
            if status is Status.cancelled:
                status, message = Status.engine_error, "the episode did not end when its time was up"
            reward, marks, totals = event.reward, dict(event.marks), event.totals
        else:
            status = Status.engine_error
            if isinstance(error, ThreadFailure):
                status = Status.__members__.get(f"{error.boundary}_error", status)
            message = " ".join(f"{type(error).__name__}: {error}".split())
            reward, marks, totals = None, {}, event.totals if event else Totals()
        stopped = event is not None and bool(event.reason)
        failure = signs.failure(status)
        return Attempt(status, reward, marks, message, totals, failure, seconds, self._pruned, stopped)


class _Meter:
    """A sink that reports the tokens and cost of each call."""

    def __init__(self, spent: Spent) -> None:
        self._spent = spent

    def __call__(self, event: Event) -> None:
        lost = isinstance(event, Failed) and event.prompt_tokens + event.generated_tokens > 0
        if isinstance(event, Generated) or (isinstance(event, Failed) and lost):
            self._spent(event.prompt_tokens + event.generated_tokens, event.cost)
