"""An adapter under check: plays and compares its episodes. Run as a program, it plays one in a process apart."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.assembly.config import Config
from thread_cli.assembly.environments import find, open_environment
from thread_cli.assembly.playing import interpreter_for
from thread_cli.conformance.verdicts import Failure, NotApplicable, require
from thread_cli.contracts.environment import Task, Teaches
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Acted
from thread_cli.engine.episode import plain
from thread_cli.engine.executor import Executor
from thread_cli.protocols.prompt import Prompt, Rules, installed, load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from thread_cli.contracts.environment import Environment
    from thread_cli.contracts.events import Event
    from thread_cli.engine.episode import Episode

__all__ = ["PATIENCE", "Case", "answers", "require_same", "series"]

PATIENCE: Final = 300.0
"""Seconds that a check may take."""
_ANYWHERE: Final = ("look", "help", "inventory", "1")
"""Actions for an environment that declares none and has no teacher."""


@dataclass
class Case:
    """An adapter under check, with the methods that all checks use."""

    name: str
    options: Mapping[str, Any]
    unsafe_python: bool = False
    _known: dict[str, Any] = field(default_factory=dict[str, Any])

    @cached_property
    def adapter(self) -> type[Environment]:
        return find(self.name).adapter

    @asynccontextmanager
    async def opened(self, adapter: Callable[..., Environment] | None = None) -> AsyncGenerator[Environment]:
        """A new object of the adapter, or of a variant of it; closed at the end."""
        environment = adapter(**self.options) if adapter else open_environment(self.name, self.options)
        try:
            yield environment
        finally:
            await environment.close()

    async def tasks(self) -> list[Task]:
        """The first two tasks of the default split, or as many as there are; a message where there are none."""
        if "tasks" not in self._known:
            async with self.opened() as environment:
                listed = environment.tasks(next(iter(environment.splits)))
                first = [listed[place] for place in range(min(len(listed), 2))]
            self._known["tasks"] = first or [Task(id="text", text="Say something.")]
        return self._known["tasks"]

    async def taught(self) -> tuple[Episode, list[str]]:
        """How the adapter's teacher played the first task through the executor, and its actions.

        Raises:
            NotApplicable: there is no teacher.
        """
        if not issubclass(self.adapter, Teaches):
            raise NotApplicable("it has no teacher")
        if "taught" not in self._known:
            try:
                async with self.opened() as environment:
                    self._known["taught"] = await self._play(environment, (await self.tasks())[0])
            except Exception as error:  # noqa: BLE001 - raised to each check that asks
                self._known["taught"] = error
        if isinstance(self._known["taught"], Exception):
            raise self._known["taught"]
        return self._known["taught"]

    async def actions(self) -> Sequence[str]:
        """Actions for the first task."""
        try:
            _, actions = await self.taught()
        except Exception:  # noqa: BLE001 - one check is about the teacher; the others go on without
            actions = []
        return actions or getattr(self.adapter, "samples", ()) or _ANYWHERE

    async def reference(self) -> list[list[Any]]:
        """The answers of a fresh object to `actions` in the first task."""
        if "reference" not in self._known:
            async with self.opened() as environment:
                self._known["reference"] = await series(environment, (await self.tasks())[0], await self.actions())
        return self._known["reference"]

    async def require_usual(self, environment: Environment, when: str) -> None:
        """Require that the first task is played on `environment` as on a fresh object."""
        played = await series(environment, (await self.tasks())[0], await self.actions())
        require_same(await self.reference(), played, when)

    def elsewhere(self, actions: Sequence[str], folder: str, hash_seed: str) -> list[list[Any]]:
        """The answers of a fresh object in another process, whose working folder is `folder`."""
        options = {key: _absolute(value) for key, value in self.options.items()}
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        ended = subprocess.run(  # noqa: S603 - this very module
            [sys.executable, "-m", __spec__.name],
            input=json.dumps({"name": self.name, "options": options, "actions": [*actions]}).encode(),
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        if ended.returncode:
            why = (ended.stderr.decode("utf-8", "replace").split("\n")[-2:] or [""])[0]
            raise Failure(f"another process exits with code {ended.returncode}: {why}")
        return json.loads(ended.stdout.splitlines()[-1])

    async def _play(self, environment: Environment, task: Task) -> tuple[Episode, list[str]]:
        events: list[Event] = []
        if not isinstance(environment, Teaches):
            raise NotApplicable("it has no teacher")
        interpreter = interpreter_for(Config(unsafe_python=self.unsafe_python), environment, task)
        prompt = self._prompt(environment, task)
        model = environment.teacher(task)
        try:
            executor = Executor(
                model=model,
                prompt=prompt,
                interpreter=interpreter,
                environment=environment,
                seed=self.options["seed"],
                sinks=[events.append],
            )
            episode = await executor.run(task, self.name)
        finally:
            await interpreter.close()
            await model.close()
        acted = prompt.rules.actions == "environment"
        return episode, [event.action for event in events if isinstance(event, Acted) and acted]

    def _prompt(self, environment: Environment, task: Task) -> Prompt:
        """The environment's own prompt; where there is none, a prompt of rules alone, which suffices for a teacher."""
        if any(installed(self.name)):
            return load(None, self.name, category=task.category, plain_rules=environment.rules)
        return Prompt("none", "", Rules.model_validate({**environment.rules}))


async def answers(environment: Environment, task: Task, actions: Sequence[str]) -> AsyncGenerator[list[Any]]:
    """The answers of an episode: the first text, then observation, reward, end and view for each action."""
    yield [await environment.reset(task)]
    for action in actions:
        step = await environment.step(action)
        yield [step.observation, step.reward, step.done, step.view]
        if step.done:
            return


async def series(environment: Environment, task: Task, actions: Sequence[str]) -> list[list[Any]]:
    """All `answers` of an episode."""
    return [answer async for answer in answers(environment, task, actions)]


def require_same(expected: Sequence[Any], found: Sequence[Any], when: str) -> None:
    """Require that two series are the same; the failure says where they differ."""
    for place, (one, other) in enumerate(zip(expected, found, strict=False)):
        require(one == other, f"{when}, answer {place} is {_short(other)} instead of {_short(one)}")
    require(len(expected) == len(found), f"{when}, there are {len(found)} answers instead of {len(expected)}")


def _short(answer: Sequence[Any]) -> str:
    text = plain(str(answer[0] if len(answer) == 1 else tuple(answer)))
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _absolute(option: Any) -> Any:
    """An option that names a file, made valid in any working folder."""
    return str(Path(option).resolve()) if isinstance(option, str) and option and Path(option).exists() else option


def _elsewhere() -> None:
    """Play the episode that standard input describes, and print its answers: for the check in another process."""
    asked = json.load(sys.stdin)
    case = Case(asked["name"], asked["options"])

    async def played() -> list[list[Any]]:
        async with case.opened() as environment:
            return await series(environment, (await case.tasks())[0], asked["actions"])

    try:
        played_answers = asyncio.run(played())
    except UserError as error:
        sys.exit(error.message)
    sys.stdout.write(f"\n{json.dumps(played_answers)}\n")


if __name__ == "__main__":
    _elsewhere()
