"""Threads that act at the same time: a wire format, scripts by thread, and random schedules, for tests of environments."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from later import Later

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.model import Completion, Request, StopReason
from thread_cli.contracts.protocol import Act, Child, Move, Result, Spawn
from thread_cli.models.scripted import ScriptedModel


class Acting(Later):
    """As `Later`; `> action =>` acts, `fork a|b =>` spawns children that are waited for."""

    def read(self, y: str, stop: StopReason) -> Move:
        line = y.rpartition("\n")[2].strip()
        if stop != "end" and line.startswith("> "):
            return Act(line[2:])
        if stop != "end" and line.startswith("fork "):
            return Spawn(tuple(Child(context=part) for part in line[5:].split("|")))
        return super().read(y, stop)

    def join(self, results: Sequence[Result]) -> str:
        return "=> " + " & ".join(result.text for result in results) + "\n"


class Scripts:
    """A model with a list of texts for each thread, and `print('end')` for any other; each call takes a random time."""

    def __init__(self, scripts: Mapping[str, Sequence[str]], seed: int | None = None, longest: float = 0.003) -> None:
        self._scripts = scripts
        self._calls: dict[str, int] = {}
        self._times = None if seed is None else random.Random(seed)
        self._longest = longest
        self._model = ScriptedModel(self._next)

    def _next(self, request: Request) -> str:
        number = self._calls.get(request.thread, 0)
        self._calls[request.thread] = number + 1
        script = self._scripts.get(request.thread, ())
        return script[number] if number < len(script) else "print('end')"

    async def complete(self, request: Request) -> Completion:
        if self._times is not None:
            await asyncio.sleep(self._times.random() * self._longest)
        return await self._model.complete(request)

    async def close(self) -> None:
        pass


def acts(actions: Sequence[str]) -> list[str]:
    """The script of a thread that takes these actions."""
    return [f"> {action} =>" for action in actions]


class Ledger:
    """An exclusive environment that notes who acts, and that is never acted on twice at once. An action takes a while."""

    splits = {"all": "one task"}
    requires = ()
    extra = None
    graded = False
    rules: dict[str, Any] = {}
    concurrency = "exclusive"

    def __init__(self, seed: int | None = None) -> None:
        self.entries: list[tuple[str, str]] = []
        self._times = None if seed is None else random.Random(seed)
        self._acting = False

    def tasks(self, split: str) -> list[Task]:
        return [Task("0")]

    async def reset(self, task: Task) -> str:
        return "Write."

    async def act(self, action: Any) -> Step:
        assert not self._acting
        self._acting = True
        try:
            if self._times is not None:
                await asyncio.sleep(self._times.random() * 0.002)
        finally:
            self._acting = False
        self.entries.append((action.thread, action.text))
        return Step(str(len(self.entries)))

    async def step(self, action: str) -> Step:
        raise AssertionError(action)

    async def close(self) -> None:
        pass
