"""What runs in ALFWorld's own process: one TextWorld game at a time.

TextWorld's parser and planner are neither safe among threads nor free of leaks, so this is the only place that imports
them. `alfworld` itself is not imported at all: doing so makes folders in the user's home.
"""

from __future__ import annotations

import contextlib
import importlib
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thread_envs.alfworld.reading import names_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Game"]


class Game:
    """A game that can be begun, played and solved. Its methods raise whatever TextWorld raises."""

    def __init__(self) -> None:
        textworld = importlib.import_module("textworld")
        planner: Any = importlib.import_module("fast_downward.interface")
        # TextWorld copies the planner's library to a temporary folder, so that several games can have one each. There
        # is one game here, and nothing needs to be written.
        folder = str(Path(planner.DOWNWARD_LIB_PATH).parent)
        planner.tempfile = types.SimpleNamespace(TemporaryDirectory=lambda: contextlib.nullcontext(folder))
        planner.shutil = types.SimpleNamespace(copyfile=_copy_nothing)
        self._env: Any = importlib.import_module("textworld.envs").PddlEnv(textworld.EnvInfos())

    def start(self, game: Mapping[str, Any], commands: Sequence[str] = ()) -> str:
        """Begin `game`, and carry out `commands` in it; returns the first text, introduction included.

        Raises:
            ValueError: the planner cannot read it.
        """
        try:
            self._env.load(dict(game))
            names = names_of(self._env._entity_infos)
            for key, info in self._env._entity_infos.items():
                info.name = names.get(key, key)
            text = str(self._reset().feedback)
        except SystemExit as error:
            raise ValueError(f"the planner does not take this game: {error}") from error
        for command in commands:
            self._env.step(command)
        return text

    def _reset(self) -> Any:
        """Begin the game just loaded, with the state that loading has made: making another takes as long again."""
        logic: Any = importlib.import_module("textworld.envs.pddl.logic")
        state, make_state = self._env._pddl_state, logic.PddlState
        logic.PddlState = lambda *_: state  # type: ignore[misc]
        try:
            return self._env.reset()
        finally:
            logic.PddlState = make_state

    def step(self, command: str) -> tuple[str, bool]:
        """Carry out a command; returns what the game answers, and whether it is won."""
        state, _, _ = self._env.step(command)
        return str(state.feedback), bool(state["won"])

    def solvable(self, game: Mapping[str, Any]) -> bool:
        """Whether the planner finds a way to win `game`, or its core where it has one; ends the game being played."""
        self.start({**game, "pddl_problem": game.get("core_problem") or game["pddl_problem"]})
        return bool(self.plan())

    def plan(self) -> list[str]:
        """The planner's way from here to the goal, as commands; empty where it finds none."""
        return list(self._env._pddl_state.replan(self._env._entity_infos))


def _copy_nothing(source: str, goal: str) -> None:
    """Stand in for copying a file to where it is already."""
