"""ALFWorld's adapter: which games there are, and how one is played from outside the process that it runs in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.lazy import LazyTasks
from thread_cli.environments.process import OwnProcess
from thread_envs.alfworld.download import download
from thread_envs.alfworld.files import data_folder, file_task, find_game, games_of
from thread_envs.alfworld.generator import category_of, generate
from thread_envs.alfworld.reading import command, goal_of, read_game
from thread_envs.alfworld.teacher import AlfworldTeacher
from thread_envs.alfworld.view import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from thread_cli.contracts.environment import Concurrency

__all__ = ["Alfworld"]

_LISTED: Final = 300
_MOST_DIGITS: Final = 9
_MAX_ACTION: Final = 300  # characters
_NOTHING: Final = "Nothing happens."


class Alfworld:
    """ALFWorld's text games; solved when the game is won.

    Args:
        seed: changes nothing, a task id means the same game under every seed.
        data: the folder with ALFWorld's data, where it is not `$ALFWORLD_DATA` or `~/.cache/alfworld`.
        terse: the teacher leaves names to Python.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "generated": f"{_LISTED} new games that need no data, of six types by turns; larger numbers are games too",
        "valid_unseen": "the 134 games of the published results, in rooms that are not in `train`",
        "valid_seen": "140 games in rooms of `train`",
        "train": "3,553 games",
    }
    requires: ClassVar[Sequence[str]] = ("alfworld", "textworld", "fast_downward")
    extra: ClassVar[str | None] = "alfworld"
    graded: ClassVar[bool] = True
    concurrency: ClassVar[Concurrency] = "forkable"
    paths: ClassVar[Sequence[str]] = ("data",)
    rules: ClassVar[Mapping[str, Any]] = {
        "phi": "last_line_after_comma",
        "observation": {"names": True, "drop": [r"^You arrive at [a-z]+ \d+\. "]},
    }

    def __init__(self, *, seed: int = 0, data: str | None = None, terse: bool = False) -> None:
        self.seed = seed
        self.terse = terse
        self.process = OwnProcess("thread_envs.alfworld.game:Game", recycle_after=20, seconds=60)
        self._data = data
        self._game: Mapping[str, Any] | None = None
        self._done: list[str] = []
        self._won = False
        self._notes = Notes("")

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split; each game is made or read only when its task is looked at.

        Raises:
            UserError: there is no such split, or its games are not on this machine.
        """
        if split not in self.splits:
            raise UserError(f"`alfworld` has no split {split!r}; it has: {', '.join(self.splits)}")
        if split == "generated":
            return LazyTasks(range(_LISTED), _generated_task)
        return games_of(data_folder(self._data), split)

    def find(self, name: str) -> Task | None:
        """The task of that name: a generated game's number, an official game's folder, or the path of a game file."""
        if (number := _number(name)) is not None:
            return _generated_task(number)
        found = self._file_of(name)
        return found and file_task(*found)

    async def reset(self, task: Task) -> str:
        """Begin the game of `task`; returns the room and the goal, as the published prompts show them.

        Raises:
            UserError: there is no such game.
            EnvironmentFailed: the game cannot be loaded, or a generated one not be solved.
        """
        self._game = None
        game = self._game_of(task)
        await self.process.begin()
        if _number(task.id) is not None and not await self.process.call("solvable", game):
            raise EnvironmentFailed(f"the planner finds no solution of the generated game {task.id}")
        text = await self.process.call("start", game)
        self._game, self._done, self._won = game, [], False
        self._notes = Notes(goal_of(game).sentence)
        return "\n".join(text.split("\n\n")[1:])

    async def step(self, action: str) -> Step:
        """Carry out an action; one that makes no sense is answered with `Nothing happens.`, as by ALFWorld.

        Raises:
            EnvironmentFailed: no episode has begun, it is over, or its process broke.
        """
        game = self._playing()
        if self._won:
            raise EnvironmentFailed("the episode is over, the game is won")
        words = command(action, game) if len(action) <= _MAX_ACTION else ""
        observation, self._won = await self.process.call("step", words) if words else (_NOTHING, False)
        if observation != _NOTHING:
            self._done.append(words)
        self._notes.take(words, observation)
        return Step(observation, float(self._won), self._won, self._notes.view())

    async def close(self) -> None:
        self._game = None
        await self.process.close()

    async def snapshot(self) -> object:
        self._playing()
        return tuple(self._done), self._won, self._notes.copy()

    async def restore(self, snapshot: object) -> None:
        """Play the game again up to the snapshot."""
        game = self._playing()
        done, won, notes = cast("tuple[tuple[str, ...], bool, Notes]", snapshot)
        if self.process.pid is None:  # it ends with a call that is cancelled, as where a watcher prunes a thread
            await self.process.begin()
        await self.process.call("start", game, done)
        self._done, self._won, self._notes = list(done), won, notes.copy()

    def teacher(self, task: Task) -> AlfworldTeacher:
        return AlfworldTeacher(goal_of(self._game_of(task)), terse=self.terse)

    @classmethod
    def setup(cls, tell: Callable[[str], None]) -> str:
        """Download ALFWorld's official games.

        Raises:
            UserError: they cannot be had.
        """
        folder = data_folder(None)
        download(folder, tell)
        counts = [f"{len(games_of(folder, split))} {split}" for split in cls.splits if split != "generated"]
        return f"ALFWorld's games are in {folder}: {', '.join(counts)}"

    def _game_of(self, task: Task) -> Mapping[str, Any]:
        if file := task.data.get("file"):
            return read_game(Path(file))
        if (number := _number(task.id)) is not None:
            return generate(number)
        if found := self._file_of(task.id, task.split):
            return read_game(found[0])
        raise UserError(f"`alfworld` has no task {task.id!r}: a number is a generated game, a path a game file")

    def _file_of(self, name: str, split: str = "") -> tuple[Path, str] | None:
        """The file of a game that is not generated, and its split."""
        splits = [split] if split else [split for split in self.splits if split != "generated"]
        return find_game(data_folder(self._data), splits, name)

    def _playing(self) -> Mapping[str, Any]:
        if self._game is None:
            raise EnvironmentFailed("no ALFWorld episode has begun")
        return self._game


def _number(name: str) -> int | None:
    """The number of a generated game that is named."""
    return int(name) if name.isascii() and name.isdecimal() and len(name) <= _MOST_DIGITS else None


def _generated_task(number: int) -> Task:
    return Task(str(number), goal_of(generate(number)).sentence, "generated", category_of(number))
