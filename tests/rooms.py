"""An environment of three rooms, and a protocol with several children, for the tests of the executor."""

from __future__ import annotations

import asyncio
from typing import Any

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed
from thread_cli.contracts.protocol import Act, End, Result, Spawn

FOREVER = 3600


class Walls:
    """An environment of three rooms: `go N` earns a reward in room 3; `break` breaks it, `hang` hangs."""

    splits = {"all": "one task"}
    requires = ()
    extra = None
    graded = True
    rules: dict[str, Any] = {}

    def __init__(self) -> None:
        self.room = 1
        self.actions: list[str] = []

    def tasks(self, split: str) -> list[Task]:
        return [Task("0", "Go to room 3.")]

    async def reset(self, task: Task) -> str:
        return task.text

    async def step(self, action: str) -> Step:
        self.actions.append(action)
        if action == "break":
            raise EnvironmentFailed("the wall came down")
        if action == "hang":
            await asyncio.sleep(FOREVER)
        if action.startswith("go "):
            self.room = int(action.split()[1]) if action[3:].isdecimal() else 0
        return Step(f"You are in room {self.room}", float(self.room == 3), self.room == 3)

    async def close(self) -> None:
        pass

    async def snapshot(self) -> object:
        return self.room

    async def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, int)
        self.room = snapshot


class Fork:
    """A protocol with several children per fork: `a | b =>`."""

    stop = ("=>", "#END#")

    def open(self, context: str) -> str:
        return f"\n{context}\n"

    def read(self, y: str, stop: str) -> Spawn | Act | End:
        return End() if stop == "end" else Spawn(tuple(y.rpartition("\n")[2].split("|")))

    def body(self, text: str, stop: str) -> str:
        return text if stop == "end" else text.rpartition("\n")[0]

    def answer(self, observation: str) -> str:
        return f"=>{observation}<=\n"

    def join(self, results: list[Result]) -> str:
        return "=>" + " & ".join(result.text for result in results) + "<=\n"


class ForkThatActs(Fork):
    """Children that act."""

    def read(self, y: str, stop: str) -> Spawn | Act | End:
        return Act(y[2:].strip()) if y.startswith("> ") and stop != "end" else super().read(y, stop)
