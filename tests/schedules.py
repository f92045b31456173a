"""Random schedules: threads that spawn, await, act, bind and fail at random, and wait for random times."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from rooms import Walls

from thread_cli.contracts.environment import Step
from thread_cli.contracts.interpreter import Outcome
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role

RULES = {"several": "- ", "background": "& ", "independent": True}


class Moments:
    """Makes model, interpreter and environment wait for random times; at one of these moments something may happen."""

    def __init__(self, pick: random.Random, at: int = -1, happens: Any = None) -> None:
        self.pick, self.at, self.happens, self.count = pick, at, happens, 0

    async def pass_by(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.happens()
        await asyncio.sleep(self.pick.choice([0, 0, 0.001, 0.003]))


class Waits:
    """A model, an interpreter and an environment that wait for a moment, before and after they do what they do."""

    patience = 10.0

    def __init__(self, model: Any, moments: Moments, variables: Any) -> None:
        self._model, self._moments, self._variables = model, moments, variables

    async def complete(self, request: Request) -> Completion:
        await self._moments.pass_by()
        written = await self._model.complete(request)
        await self._moments.pass_by()
        return written

    async def run(self, code: str, names: Any, *, thread: str = "") -> Outcome:
        await self._moments.pass_by()
        return await self._variables.run(code, names, thread=thread)

    async def close(self) -> None:
        pass


class Echo(Walls):
    """An environment whose answers depend on nothing but the action."""

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        self._moments = moments

    async def step(self, action: str) -> Step:
        await self._moments.pass_by()
        return Step(f"You did {action}")


def drawn(pick: random.Random, *, timely: bool = False, failures: float = 0.2, move: Any = None) -> list[Role]:
    """Threads that spawn in all ways, await, act, bind, fail and return at random; `timely`: also await any.

    `move` draws the next lines of a thread, and the number of children that they spawn, in another wire format.
    """
    roles: list[Role] = []

    def thread(path: str) -> None:
        lines = ["x0 = x1 = x2 = ''"] if path == "0" else []
        lines.append(f"x{pick.randrange(3)} = '{path}'")
        born = 0
        for _ in range(pick.randrange(1, 5)):
            written, count = (move or in_all_ways)(pick, path, born, timely=timely)
            lines += filter(None, [written])
            for n in range(count):
                thread(f"{path}.{born + n}")
            born += count
        fails = path != "0" and pick.random() < failures
        lines.append("nothing" if fails else "x3 = [x for x in (x0, x1, x2) if x]\nprint(x3)")
        roles.append(Role(path=path, text="\n".join(lines)))

    thread("0")
    return roles


def in_all_ways(pick: random.Random, path: str, born: int, *, timely: bool) -> tuple[str, int]:
    """A random move of a thread that has spawned so many children, and the number of children that it spawns."""
    move = pick.choice(["- ", "& ", "& ", "name", "line", "act", "bind", "await", "any" if timely else "await"])
    if move in {"- ", "& ", "name", "line"} and path.count(".") < 3:
        count = pick.randrange(1, 4) if move in {"- ", "& "} else 1
        begins = {"name": f"y{born} = ", "line": ""}.get(move, move)
        return "\n".join(f"{begins}do {path} {born + n}" for n in range(count)) + " =>", count
    if move == "await":
        handles = " ".join(str(pick.randrange(born + 1)) for _ in range(pick.randrange(3)))
        return f"await {handles or 'all'} =>", 0
    if move == "bind":
        return f"x{pick.randrange(3)} = '{path} later'", 0
    return {"act": f"> look {path} =>", "any": "await any =>"}.get(move, ""), 0


async def played(play: Any, model: Any, moments: Moments, variables: Any, **options: Any) -> Any:
    waits = Waits(model, moments, variables)
    options.setdefault("limits", Limits(calls=None, repeats=100))
    writes = model if isinstance(model, ReplayModel) else waits
    playing = play(writes, interpreter=waits, environment=Echo(moments), rules=RULES, **options)
    return await asyncio.wait_for(playing, 60)


def nothing_is_left() -> bool:
    """Whether no thread runs and no deadline is kept any more."""
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    clocks = [timer for timer in timers if "Clock" in repr(timer)]
    return not clocks and not [task for task in asyncio.all_tasks() if task.get_name().partition(".")[0] == "0"]
