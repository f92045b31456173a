"""The checks of the suite for environments, each a small function that raises `Failure`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import os
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.assembly.environments import task_of
from thread_cli.conformance.environment_case import Case, answers, require_same, series
from thread_cli.conformance.verdicts import Failure, NotApplicable, require
from thread_cli.contracts.environment import (
    InOwnProcess,
    Marks,
    Parallel,
    Scores,
    SetsUp,
    Snapshots,
    Step,
    Task,
    Teaches,
)
from thread_cli.contracts.errors import EnvironmentFailed, Status, UserError
from thread_cli.contracts.limits import Limits
from thread_cli.engine.executor import Executor
from thread_cli.environments.process import OwnProcess
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules

if TYPE_CHECKING:
    from thread_cli.contracts.environment import Environment
    from thread_cli.engine.episode import Episode

__all__ = ["CHECKS"]

_NOWHERE: Final = "no such task or split zxqj"
_BAD_ACTIONS: Final = {
    "an empty action": "",
    "a blank action": "   ",
    "100 kB": "look " * 20_000,
    "control characters": "\x00\x07\x1b[31m\x7f",
    "other scripts": "去 🐙 הלך",
    "two lines": "look\nlook",
    "code": "__import__('os').system('true')",
    "signs": "{task} %s \\ '\" [ ( *",
}
_SOON: Final = 1.0  # seconds that a hanging call is given
_LATE: Final = 10.0  # seconds that ending it may take besides


async def _declares(case: Case) -> None:
    """Metadata are of the right types, and the constructor takes keyword arguments with defaults, seed among them."""
    adapter = case.adapter
    splits: Any = adapter.splits
    require(
        isinstance(splits, Mapping) and len(adapter.splits) > 0, "splits is to be a mapping with at least one split"
    )
    texts = [text for item in cast("Mapping[Any, Any]", splits).items() for text in item]
    require(all(isinstance(text, str) for text in texts), "splits is to map names to descriptions")
    requires: Any = adapter.requires
    require(isinstance(requires, Sequence) and not isinstance(requires, str), "requires is to be a sequence of names")
    require(adapter.extra is None or isinstance(cast("Any", adapter.extra), str), "extra is to be a name or None")
    require(isinstance(cast("Any", adapter.graded), bool), "graded is to be True or False")
    Rules.model_validate({**adapter.rules})
    parameters = inspect.signature(adapter).parameters
    require("seed" in parameters, "the constructor is to take `seed`")
    for name, parameter in parameters.items():
        keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        optional = parameter.default is not inspect.Parameter.empty
        require(keyword and optional, f"{name} of the constructor is to be an optional keyword argument")
    for name in ("reset", "step", "close"):
        require(inspect.iscoroutinefunction(getattr(adapter, name)), f"{name} is to be a coroutine function")
    async with case.opened() as environment:
        if isinstance(environment, Parallel):
            require(environment.parallel is True, "parallel is declared, so it is to be True")
        if isinstance(environment, InOwnProcess):
            require(isinstance(cast("Any", environment.process), OwnProcess), "process is to be an OwnProcess")


async def _lists_tasks(case: Case) -> None:
    """Every split lists the same tasks each time; where data can be set up, only the default split has to be there."""
    async with case.opened() as environment, case.opened() as other:
        for place, split in enumerate(environment.splits):
            try:
                tasks = list(environment.tasks(split))
            except UserError:
                if place and issubclass(case.adapter, SetsUp):
                    continue
                raise
            ids = [task.id for task in tasks]
            require(all(isinstance(cast("Any", name), str) and name for name in ids), f"{split}: ids are to be texts")
            require(len(set(ids)) == len(ids), f"{split}: two tasks have the same id")
            require(tasks == list(environment.tasks(split)), f"{split}: a second listing differs")
            require(tasks == list(other.tasks(split)), f"{split}: another object lists other tasks")


async def _refuses_unknown(case: Case) -> None:
    """Unknown splits and tasks end in a UserError."""
    async with case.opened() as environment:
        await _require_raises(UserError, lambda: environment.tasks(_NOWHERE), "a split that it has not")
        if not environment.tasks(next(iter(environment.splits))):
            return
        await _require_raises(UserError, lambda: task_of(environment, case.name, _NOWHERE), "a task that it has not")
        await _require_raises(UserError, lambda: environment.reset(Task(_NOWHERE)), "reset with a task that it has not")


async def _is_deterministic(case: Case) -> None:
    """Two objects give the same answers to the same task, seed and actions."""
    async with case.opened() as environment:
        await case.require_usual(environment, "played again")


async def _is_the_same_elsewhere(case: Case) -> None:
    """Another process with another hash seed gives the same answers, and leaves no files in its working folder."""
    expected = json.loads(json.dumps(await case.reference()))
    for seed in ("1", "2"):
        with tempfile.TemporaryDirectory() as folder:
            found = await asyncio.to_thread(case.elsewhere, await case.actions(), folder, seed)
            left = sorted(entry.name for entry in os.scandir(folder))
        require_same(expected, found, f"under the hash seed {seed}")
        require(not left, f"it writes into the working folder: {', '.join(left[:5])}")


async def _is_isolated(case: Case) -> None:
    """Two episodes of two objects, played alternately, give the answers that they give alone: with one task, and with
    two.
    """
    actions, tasks = await case.actions(), await case.tasks()
    for other_task in tasks:
        async with case.opened() as alone:
            expected = await series(alone, other_task, actions)
        async with case.opened() as one, case.opened() as other:
            first, second = answers(one, tasks[0], actions), answers(other, other_task, actions)
            # The second episode lags one answer behind, so that the two are never in the same state.
            one_answers: list[list[Any] | None] = [await anext(first)]
            other_answers: list[list[Any] | None] = [None]
            while one_answers[-1] is not None or other_answers[-1] is not None:
                other_answers.append(await anext(second, None))
                one_answers.append(await anext(first, None))
        require_same(await case.reference(), _said(one_answers), "beside another episode")
        require_same(expected, _said(other_answers), "beside an episode that began earlier")


async def _answers_bad_actions(case: Case) -> None:
    """Nonsensical actions are answered by an observation, and the episode goes on."""
    task, good = (await case.tasks())[0], (await case.actions())[0]
    async with case.opened() as environment:
        for what, action in _BAD_ACTIONS.items():
            await environment.reset(task)
            try:
                step = await environment.step(action)
            except Exception as error:
                raise Failure(f"{what}: {type(error).__name__}: {error}") from error
            require(not step.done, f"{what}: the episode ends")
            for answer in (step, await environment.step(good)):
                texts: list[Any] = [answer.observation, answer.view]
                require(all(isinstance(text, str) for text in texts), f"{what}: observation and view are to be texts")


async def _wants_reset(case: Case) -> None:
    """A step before any reset raises EnvironmentFailed, in an environment that takes actions."""
    async with case.opened() as environment:
        if not environment.tasks(next(iter(environment.splits))):
            raise NotApplicable("it has no tasks to begin")
        if isinstance(environment, Teaches) and not (await case.taught())[1]:
            raise NotApplicable("its threads do not act on it")
        action = (await case.actions())[0]
        await _require_raises(EnvironmentFailed, lambda: environment.step(action), "a step before reset")


async def _survives_the_end(case: Case) -> None:
    """A step after the end does no harm, or raises EnvironmentFailed; the next episode is not affected."""
    if (await case.reference())[-1][2:3] != [True]:
        raise NotApplicable("the known actions do not end an episode")
    async with case.opened() as environment:
        await case.require_usual(environment, "at first")
        try:
            late = await environment.step((await case.actions())[0])
        except EnvironmentFailed:
            pass
        else:
            require(late.reward == 0, f"a step after the end earns a reward of {late.reward:g}")
        await case.require_usual(environment, "after an episode that had ended")


async def _begins_anew(case: Case) -> None:
    """A second reset begins a new episode, whatever happened before it."""
    tasks, action = await case.tasks(), (await case.actions())[0]
    async with case.opened() as environment:
        await environment.reset(tasks[-1])
        await case.require_usual(environment, "after a reset")
        await environment.reset(tasks[0])
        await environment.step(action)
        await case.require_usual(environment, "after an unfinished episode")


async def _closes(case: Case) -> None:
    """It can be closed twice, and without ever having been reset."""
    async with case.opened() as environment:
        await environment.close()
    async with case.opened() as environment:
        await environment.reset((await case.tasks())[0])
        await environment.close()


async def _survives_a_crash(case: Case) -> None:
    """A crash in a step ends the episode as a fault of the environment; the next episode is not affected."""

    async def crash(environment: Environment) -> None:
        if isinstance(environment, InOwnProcess):
            _send(environment, signal.SIGKILL)
        else:
            raise ConnectionError("a crash, to see what becomes of it")

    async with case.opened(_disturbed(case.adapter, crash)) as environment:
        if isinstance(environment, InOwnProcess):
            await environment.reset((await case.tasks())[0])
            require(environment.process.pid, "it declares a process of its own, but none runs after a reset")
        episode = await _act(case, environment)
        require(episode.status is Status.environment_error, f"it ended as {episode.status}: {episode.message}")
        await case.require_usual(environment, "after a crash")


async def _survives_a_hang(case: Case) -> None:
    """A step that hangs is ended in time; the next episode is not affected."""
    hanging: list[float] = []

    async def hang(environment: Environment) -> None:
        hanging.append(time.monotonic())
        if isinstance(environment, InOwnProcess):
            environment.process.seconds = _SOON
            _send(environment, signal.SIGSTOP)
        else:
            await asyncio.Event().wait()

    async with case.opened(_disturbed(case.adapter, hang)) as environment:
        own = environment.process if isinstance(environment, InOwnProcess) else None
        seconds, began = own.seconds if own else 0, time.monotonic()
        await environment.reset((await case.tasks())[0])
        wall_time = None if own else 2 * (time.monotonic() - began) + _SOON
        episode = await _act(case, environment, Limits(wall_time=wall_time))
        took = time.monotonic() - max(hanging, default=began)
        expected = Status.environment_error if own else Status.limited
        require(hanging and episode.status is expected, f"it ended as {episode.status}: {episode.message}")
        require(took < _LATE + (wall_time or 0), f"it took {took:.0f} seconds to end it")
        if own:
            own.seconds = seconds
        await case.require_usual(environment, "after a hang")


async def _rewinds(case: Case) -> None:
    """After a snapshot is restored, the same actions get the same answers, however often it is restored."""
    actions, expected = await case.actions(), await case.reference()
    middle = (len(expected) - 1) // 2
    async with case.opened() as environment:
        if not isinstance(environment, Snapshots):
            raise NotApplicable("it takes no snapshots")
        before = await series(environment, (await case.tasks())[0], actions[:middle])
        snapshot = await environment.snapshot()
        for when in ("after a snapshot", "after it was restored", "after it was restored again"):
            if when != "after a snapshot":
                await environment.restore(snapshot)
            steps = [await environment.step(action) for action in actions[middle : len(expected) - 1]]
            after = [[step.observation, step.reward, step.done, step.view] for step in steps]
            require_same(expected, [*before, *after], when)


async def _is_solved_by_its_teacher(case: Case) -> None:
    """Its teacher solves the first task, through the executor and under the environment's own prompt."""
    episode, _ = await case.taught()
    judged = case.adapter.graded
    require(episode.status is (Status.solved if judged else Status.answered), f"{episode.status}: {episode.message}")


async def _marks(case: Case) -> None:
    """Marks go from 0 to 1; the first is less for nonsense, and 1 for the teacher's answer where answers are marked."""
    task = (await case.tasks())[0]
    async with case.opened() as environment:
        if not isinstance(environment, (Scores, Marks)):
            raise NotApplicable("it marks no answers")
        await environment.reset(task)
        # Where a state is marked, it has to be reached as well.
        told = isinstance(environment, Teaches) and isinstance(environment, Scores)
        right = (await case.taught())[0].answer if told else None
        for answer in ("zxqj vwk", "", *([right] if right is not None else [])):
            if isinstance(environment, Scores):
                marks = environment.score(task, answer)
            else:
                marks = await environment.marks(task, answer)
            require(marks, f"there is no mark for {answer!r}")
            require(all(0 <= mark <= 1 for mark in marks.values()), f"marks for {answer!r} are {dict(marks)}")
            first = next(iter(marks.values()))
            require((first == 1) == (answer == right), f"the first mark for {answer!r} is {first:g}")


async def _leaves_nothing(case: Case) -> None:
    """A closed environment leaves no process and no open file behind."""
    if not os.access("/proc/self/fd", os.R_OK):
        raise NotApplicable("this system does not show the open files of a process")
    tasks, actions = await case.tasks(), await case.actions()
    found: list[Counter[str]] = []
    for _ in range(3):
        async with case.opened() as environment:
            await series(environment, tasks[0], actions)
        gc.collect()
        found.append(_held())
    # Files that the first episode opens for good are shared by all later ones.
    more = found[-1] - found[0]
    require(not more, f"two more episodes leave {', '.join(sorted(more)[:5])}")


CHECKS: Final[Sequence[tuple[str, Callable[[Case], Awaitable[None]]]]] = (
    ("declares what it is", _declares),
    ("lists its tasks", _lists_tasks),
    ("refuses tasks that it has not", _refuses_unknown),
    ("is solved by its teacher", _is_solved_by_its_teacher),
    ("gives marks", _marks),
    ("plays the same by the same seed", _is_deterministic),
    ("plays the same in another process", _is_the_same_elsewhere),
    ("keeps two episodes apart", _is_isolated),
    ("answers bad actions", _answers_bad_actions),
    ("wants a reset before a step", _wants_reset),
    ("begins anew after the end", _survives_the_end),
    ("begins anew at any time", _begins_anew),
    ("takes snapshots", _rewinds),
    ("survives a crash in a step", _survives_a_crash),
    ("survives a hang in a step", _survives_a_hang),
    ("can be closed twice", _closes),
    ("leaves nothing behind", _leaves_nothing),
)
"""Name of each check, as a verdict shows it, and the check, in the order in which they run."""


def _said(series_of_answers: Sequence[list[Any] | None]) -> list[list[Any]]:
    return [answer for answer in series_of_answers if answer is not None]


async def _require_raises(kind: type[Exception], call: Callable[[], object], what: str) -> None:
    """Require that a call, or the awaitable that it returns, raises an exception of that kind."""
    try:
        result = call()
        if inspect.isawaitable(result):
            await result
    except kind:
        return
    except Exception as error:
        raise Failure(f"{what} raises {type(error).__name__} instead of {kind.__name__}: {error}") from error
    raise Failure(f"{what} raises no {kind.__name__}")


async def _act(case: Case, environment: Environment, limits: Limits | None = None) -> Episode:
    """An episode of one action, which a script writes."""
    action = (await case.actions())[0]
    interpreter = VariableInterpreter()
    try:
        executor = Executor(
            model=ScriptedModel([f"> {action} =>", "print('done')\n"]),
            prompt=Prompt("none", "", Rules(code_errors="hide")),
            interpreter=interpreter,
            environment=environment,
            limits=limits,
        )
        return await executor.run((await case.tasks())[0], case.name)
    finally:
        await interpreter.close()


def _disturbed(adapter: type[Environment], fault: Callable[[Environment], Awaitable[None]]) -> type[Environment]:
    """The adapter with a fault in its first step."""
    pending = [fault]

    async def step(self: Environment, action: str) -> Step:
        if pending:
            await pending.pop()(self)
        return await adapter.step(self, action)

    return type(adapter.__name__, (adapter,), {"step": step})


def _send(environment: InOwnProcess, number: signal.Signals) -> None:
    if environment.process.pid is not None:
        os.kill(environment.process.pid, number)


def _held() -> Counter[str]:
    """The files that this process has open, and its children."""
    held: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            held[re.sub(r":\[\d+\]", "", str(descriptor.readlink()))] += 1
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, parent = re.findall(r"\((.*)\) \w (\d+)", status.read_text("utf-8", "replace"), re.DOTALL)[0]
            held[f"the process {name}"] += int(parent) == os.getpid()
    return held
