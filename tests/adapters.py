"""Objects and adapters that the tests put into processes of their own: a game that holds the contract, and its defects."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.process import OwnProcess
from thread_cli.models.scripted import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable


class Worked:
    """An object with a method for each thing that a process can run into."""

    def __init__(self, total: int = 0) -> None:
        self.total = total

    def add(self, number: int) -> int:
        self.total += number
        return self.total

    def back(self, value: Any) -> Any:
        return value

    def fail(self) -> None:
        raise KeyError("no\nsuch thing")

    def refuse(self) -> None:
        raise UserError("give another file")

    def lose(self) -> Any:
        return lambda: None

    def pid(self) -> int:
        return os.getpid()

    def print(self) -> int:
        print("x" * 200_000, flush=True)
        print("y" * 200_000, file=sys.stderr, flush=True)
        os.write(1, b"\x00\x80raw")
        return 7

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def crash(self) -> None:
        print("about to\ncrash\n", file=sys.stderr, flush=True)
        ctypes.string_at(0)

    def exit(self, code: int) -> None:
        sys.exit(code)

    def hang(self) -> None:
        time.sleep(1000)

    def hang_in_c(self) -> None:
        """Hang without ever letting another Python thread, or a signal handler, run."""
        ctypes.PyDLL(None).sleep(1000)

    def child(self) -> int:
        return subprocess.Popen(["sleep", "1000"]).pid

    def fork(self) -> int:
        child = os.fork()
        if child == 0:
            time.sleep(1000)
        return child


@functools.cache
def write_here(pid: int) -> None:
    """Write a file into the working folder, once in a process."""
    Path("cache.txt").write_text(str(pid))


class Count:
    """Solved when the sum is 3. It holds all that the conformance suite asks."""

    splits: ClassVar[dict[str, str]] = {"all": "three starts"}
    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    graded: ClassVar[bool] = True
    rules: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, seed: int = 0) -> None:
        self.total: int | None = None

    def tasks(self, split: str) -> list[Task]:
        if split not in self.splits:
            raise UserError(f"there is no split {split}")
        return [Task(str(start)) for start in range(3)]

    async def reset(self, task: Task) -> str:
        if task.id not in {"0", "1", "2"}:
            raise UserError(f"there is no task {task.id}")
        self.total = int(task.id)
        return f"The sum is {self.total}."

    async def step(self, action: str) -> Step:
        if self.total is None:
            raise EnvironmentFailed("nothing has begun")
        if action.strip() == "add":
            self.total += 1
        return Step(f"The sum is {self.total}.", float(self.total == 3), self.total >= 3, f"sum\n{self.total}")

    async def close(self) -> None:
        self.total = None

    async def snapshot(self) -> object:
        return self.total

    async def restore(self, snapshot: Any) -> None:
        self.total = snapshot

    def teacher(self, task: Task) -> ScriptedModel:
        return ScriptedModel(["> add =>", "> add =>", "> add =>", "print('too late')\n"])


class WithData(Count):
    """Has data to set up, in the working folder, and refuses to do so twice."""

    @classmethod
    def setup(cls, tell: Callable[[str], None]) -> str:
        if Path("data.txt").exists():
            raise UserError("the data cannot be had twice")
        tell("fetching data.txt")
        Path("data.txt").write_text("1 2 3")
        return "3 numbers in data.txt"


class ExtraArgument(Count):
    def __init__(self, path: str = "", *, seed: int = 0) -> None:
        super().__init__(seed=seed)


class TwiceTheSameId(Count):
    def tasks(self, split: str) -> list[Task]:
        return super().tasks(split) * 2


class AnySplit(Count):
    def tasks(self, split: str) -> list[Task]:
        return super().tasks("all")


class AnyTask(Count):
    async def reset(self, task: Task) -> str:
        return await super().reset(Task(task.id if task.id.isdecimal() else "0"))


class LazyTeacher(Count):
    def teacher(self, task: Task) -> ScriptedModel:
        return ScriptedModel(["> add =>", "print('done')\n"])


class GenerousMarks(Count):
    def score(self, task: Task, answer: str) -> dict[str, float]:
        return {"right": 1.0}


class Unseeded(Count):
    async def reset(self, task: Task) -> str:
        return await super().reset(task) + f" {random.random()}"


class HashSeeded(Count):
    async def reset(self, task: Task) -> str:
        return await super().reset(task) + f" {hash('sum')}"


class Writes(Count):
    async def reset(self, task: Task) -> str:
        write_here(os.getpid())
        return await super().reset(task)


class Shared(Count):
    """All objects have one sum."""

    held: ClassVar[list[int | None]] = [None]

    @property
    def total(self) -> int | None:
        return self.held[0]

    @total.setter
    def total(self, value: int | None) -> None:
        self.held[0] = value


class Fussy(Count):
    async def step(self, action: str) -> Step:
        if not action.strip().isprintable():
            raise ValueError(action)
        return await super().step(action)


class BeginsByItself(Count):
    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.total = 0


class RewardsForever(Count):
    async def step(self, action: str) -> Step:
        step = await super().step(action)
        return Step(step.observation, float((self.total or 0) >= 3), step.done, step.view)


class Remembers(Count):
    async def reset(self, task: Task) -> str:
        return await super().reset(task) if self.total is None else f"The sum is {self.total}."


class WrongSnapshot(Count):
    async def snapshot(self) -> object:
        return None

    async def restore(self, snapshot: Any) -> None:
        self.total = 0


class Forkable(Count):
    """Children act on worlds of their own."""

    concurrency = "forkable"


class UnknownConcurrency(Count):
    concurrency = "both"


class Entangled(Forkable):
    """A snapshot is the state itself, and goes on with it."""

    def __init__(self, *, seed: int = 0) -> None:
        self.held: list[int | None] = [None]

    @property
    def total(self) -> int | None:
        return self.held[0]

    @total.setter
    def total(self, value: int | None) -> None:
        self.held[0] = value

    async def snapshot(self) -> object:
        return self.held

    async def restore(self, snapshot: Any) -> None:
        self.held = snapshot


class OneAtATime(Count):
    """Declares that it is shared, and is not."""

    concurrency = "shared"
    acting = False

    async def step(self, action: str) -> Step:
        if self.acting:
            raise RuntimeError("two at once")
        self.acting = True
        await asyncio.sleep(0.01)
        self.acting = False
        return await super().step(action)


class BlamesTheModel(Count):
    """Answers its own fault as if the model were to blame."""

    def __init_subclass__(cls) -> None:
        disturbed = cls.step

        async def step(self: Any, action: str) -> Step:
            try:
                return await disturbed(self, action)
            except ConnectionError as error:
                return Step(str(error))

        cls.step = step


class SpoiltByCancelling(Count):
    """Once a step was cancelled, all sums are one too high."""

    spoilt = 0

    def __init_subclass__(cls) -> None:
        disturbed = cls.step

        async def step(self: Any, action: str) -> Step:
            try:
                return await disturbed(self, action)
            except asyncio.CancelledError:
                self.spoilt = 1
                raise

        cls.step = step

    async def reset(self, task: Task) -> str:
        return await super().reset(Task(str(int(task.id) + self.spoilt)))


class ClosesOnce(Count):
    closed = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class LeavesFiles(Count):
    left: ClassVar[list[Any]] = []

    async def reset(self, task: Task) -> str:
        self.left.append(open(__file__))  # noqa: ASYNC230, PTH123, SIM115
        return await super().reset(task)


class LeavesProcesses(Count):
    left: ClassVar[list[Any]] = []

    async def reset(self, task: Task) -> str:
        self.left.append(subprocess.Popen(["sleep", "30"]))  # noqa: ASYNC220
        return await super().reset(task)


class Apart(Count):
    """The sum is kept in a process of its own."""

    def __init__(self, *, seed: int = 0) -> None:
        self.process = OwnProcess("adapters:Worked", recycle_after=3, seconds=30)

    async def reset(self, task: Task) -> str:
        if task.id not in {"0", "1", "2"}:
            raise UserError(f"there is no task {task.id}")
        await self.process.begin()
        await self.process.call("__init__", int(task.id))
        return f"The sum is {task.id}."

    async def step(self, action: str) -> Step:
        total = await self.process.call("add", int(action.strip() == "add"))
        return Step(f"The sum is {total}.", float(total == 3), total >= 3)

    async def close(self) -> None:
        await self.process.close()

    async def snapshot(self) -> object:
        return await self.process.call("add", 0)

    async def restore(self, snapshot: Any) -> None:
        await self.process.call("__init__", snapshot)


class ApartForGood(Apart):
    """Begins only once, so it is lost with its first process."""

    begun = False

    async def reset(self, task: Task) -> str:
        if not self.begun:
            self.begun = True
            return await super().reset(task)
        await self.process.call("__init__", int(task.id))
        return f"The sum is {task.id}."


class NotApart(Count):
    """Declares a process, and never starts it."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.process = OwnProcess("adapters:Worked")


class HangsApart(Apart):
    """Its actions take for ever."""

    async def step(self, action: str) -> Step:
        await self.process.call("hang")
        return await super().step(action)
