"""Checks of what an adapter promises about threads that run at the same time, for each kind of concurrency."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from thread_cli.conformance.environment_case import require_same, series
from thread_cli.conformance.verdicts import Failure, NotApplicable, require
from thread_cli.contracts.environment import Joins, Snapshots
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Conflicted, Observed
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.protocol import Act, Child, End, Spawn
from thread_cli.engine.executor import Executor
from thread_cli.engine.stage import concurrency_of
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.conformance.environment_case import Case
    from thread_cli.contracts.environment import Concurrency, Environment, Task
    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Request
    from thread_cli.contracts.protocol import Move, Result, StopReason

__all__ = ["forks_worlds", "keeps_its_promise", "kind_of"]

_MOST: Final = 4
"""Actions of each thread."""


def kind_of(environment: Environment) -> Concurrency:
    """The concurrency that it declares; raises Failure where it cannot be kept."""
    try:
        return concurrency_of(environment)
    except UserError as error:
        raise Failure(error.message) from None


async def forks_worlds(case: Case) -> None:
    """Two worlds that begin from one snapshot, acted on by turns, give the answers that each of them gives alone."""
    actions, task = await _harmless(case), (await case.tasks())[0]
    begun, rest = actions[: len(actions) // 2], actions[len(actions) // 2 :]
    async with case.opened() as environment:
        if not isinstance(environment, Snapshots) or kind_of(environment) != "forkable":
            raise NotApplicable("it is not forkable")
        plans = [rest, [*reversed(rest)]]
        expected = [await series(environment, task, [*begun, *plan]) for plan in plans]
        played = [await series(environment, task, begun), []]
        played[1] = list(played[0])
        at = [await environment.snapshot()] * 2
        for number in range(len(rest)):
            for world in (0, 1):
                await environment.restore(at[world])
                step = await environment.step(plans[world][number])
                played[world].append([step.observation, step.reward, step.done, step.view])
                at[world] = await environment.snapshot()
        for world in (0, 1):
            require_same(expected[world], played[world], "beside another world")


async def keeps_its_promise(case: Case) -> None:
    """Children that act at the same time, in an episode of the executor, get the answers that the declared concurrency
    promises, and so does their parent afterwards.

    `exclusive`: those of a serial run. `forkable`: each those of a serial run without its siblings; after the join
    those of a serial run of all children whose conflict was not reported. `shared`: an answer to each action.
    """
    actions, task = await _harmless(case), (await case.tasks())[0]
    third = max(1, len(actions) // 3)
    begun, after = actions[:third], actions[2 * third :] or actions[:1]
    children = {"0.0": actions[third : 2 * third], "0.1": actions[: 2 * third]}
    async with case.opened() as environment:
        kind = kind_of(environment)
        at_join = environment.at_join if isinstance(environment, Joins) else "replay"
        events = await _played(case, environment, begun, children, after)
    found = {thread: [_answer(event) for event in events if _observed(event, thread)] for thread in ("0", *children)}
    if kind == "shared":
        over = any(answer[-1] for answers in found.values() for answer in answers)
        for thread, plan in (("0", [*begun, *after]), *children.items()):
            require(over or len(found[thread]) == len(plan), f"thread {thread} gets too few answers")
        return
    history, over = list(begun), False
    async with case.opened() as alone:
        for child, plan in children.items():
            joined = [] if over else await _answers(alone, task, history, plan)
            seen = joined if kind == "exclusive" else await _answers(alone, task, begun, plan)
            require_same(seen, found[child], f"in child {child}, which acts beside another")
            told = any(isinstance(event, Conflicted) and event.child == child for event in events)
            replayed = kind == "forkable" and at_join == "replay" and not over
            require(told == (replayed and joined != seen), f"child {child}: a conflict is {'' if told else 'not '}told")
            if kind == "exclusive" or (replayed and not told):
                history += plan
                over = over or any(done for *_, done in joined)
        expected = [] if over else await _answers(alone, task, history, after)
        require_same(expected, found["0"][len(begun) :], "after its children have joined")


async def _harmless(case: Case) -> Sequence[str]:
    """Actions for the first task, without those that end the episode."""
    reference = await case.reference()
    going_on = [answer[2] is False for answer in reference[1:]]
    actions = [action for action, goes_on in zip(await case.actions(), going_on, strict=False) if goes_on]
    if not actions:
        raise NotApplicable("each known action ends an episode")
    return actions[: 3 * _MOST]


class _Forks:
    """A wire format: `> action =>` acts, `fork =>` spawns two children, anything else ends a thread."""

    stop: tuple[str, ...] = ("=>",)

    def open(self, context: str) -> str:
        return f"{context}\n"

    def read(self, y: str, stop: StopReason) -> Move:
        line = y.rpartition("\n")[2]
        if stop != "listen" or not line:
            return End()
        return Spawn((Child(context="0"), Child(context="1"))) if line == "fork " else Act(line[2:], verbatim=True)

    def body(self, text: str, stop: StopReason) -> str:  # noqa: ARG002
        return ""

    def join(self, results: Sequence[Result]) -> str:
        return "".join(f"=> {result.text}\n" for result in results)

    def answer(self, observation: str) -> str:
        return f"=> {observation}\n"


async def _played(
    case: Case,
    environment: Environment,
    begun: Sequence[str],
    children: Mapping[str, Sequence[str]],
    after: Sequence[str],
) -> list[Event]:
    """The events of an episode in which the main thread acts, forks, and acts again."""
    texts = {thread: [f"> {action.strip()}=>" for action in plan] for thread, plan in children.items()}
    texts["0"] = [*(f"> {action.strip()}=>" for action in begun), "fork =>"]
    texts["0"] += [f"> {action.strip()}=>" for action in after]
    written = {thread: iter(script) for thread, script in texts.items()}

    def script(request: Request) -> str:
        return next(written[request.thread], "The end.")

    events: list[Event] = []
    interpreter = VariableInterpreter()
    try:
        executor = Executor(
            model=_Together(script),
            prompt=Prompt("none", "", Rules(psi="whole_sequence", code_errors="hide")),
            interpreter=interpreter,
            environment=environment,
            limits=Limits(repeats=1000, calls=None),
            sinks=[events.append],
            protocol=_Forks(),
        )
        episode = await executor.run((await case.tasks())[0], case.name)
    finally:
        await interpreter.close()
    require(not episode.status.infrastructure, f"it ended as {episode.status}: {episode.message}")
    return events


class _Together(ScriptedModel):
    """A scripted model whose threads take turns."""

    async def complete(self, request: Request) -> Any:
        await asyncio.sleep(0)
        return await super().complete(request)


def _observed(event: Event, thread: str) -> bool:
    return isinstance(event, Observed) and event.thread == thread


def _answer(event: Event) -> list[Any]:
    return [event.observation, event.reward, event.done] if isinstance(event, Observed) else []


async def _answers(
    environment: Environment, task: Task, before: Sequence[str], actions: Sequence[str]
) -> list[list[Any]]:
    """The answers to actions after others, in an episode of one thread, without the views."""
    answers = await series(environment, task, [*before, *actions])
    return [answer[:3] for answer in answers[1 + len(before) :]]
