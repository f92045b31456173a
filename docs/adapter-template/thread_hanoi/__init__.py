"""The Tower of Hanoi, from any position: bring all discs to peg C."""

from __future__ import annotations

import copy
import random
import re
from typing import TYPE_CHECKING, Any, ClassVar, cast

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.models.teacher import Course, Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Hanoi", "HanoiTeacher"]

_PEGS = "ABC"
_DISCS = {"three": 3, "four": 4}
_TASKS = 20
_MOVE = re.compile(r"move ([ABC]) ([ABC])")

Position = dict[str, list[int]]
"""The discs on each peg, from the lowest up; disc 1 is the smallest."""


class Hanoi:
    """Solved when all discs lie on peg C. `seed` chooses, with the task, where they lie at first."""

    splits: ClassVar[Mapping[str, str]] = {"three": "20 positions of three discs", "four": "20 of four"}
    requires: ClassVar[Sequence[str]] = ()
    extra: ClassVar[str | None] = None
    graded: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Any]] = {"phi": "last_line_after_comma"}

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self._pegs: Position | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        if split not in _DISCS:
            raise UserError(f"`hanoi` has no split {split!r}; it has: {', '.join(_DISCS)}")
        return [Task(f"{split}-{number}", "bring all discs to peg C", split) for number in range(_TASKS)]

    async def reset(self, task: Task) -> str:
        split, _, number = task.id.partition("-")
        if split not in _DISCS or number not in map(str, range(_TASKS)):
            raise UserError(f"`hanoi` has no task {task.id!r}; ids go from three-0 to four-{_TASKS - 1}")
        discs = _DISCS[split]
        self._pegs = _position(discs, random.Random(f"{self.seed}:{task.id}"))
        return f"The pegs: {_described(self._pegs)}\nGoal: bring discs 1 to {discs} to C."

    async def step(self, action: str) -> Step:
        pegs = self._begun()
        if _solved(pegs):
            return Step("All discs are on C already.", view=_drawn(pegs))
        move = _MOVE.fullmatch(action.strip())
        if move is None:
            answer = _described(pegs) if action.strip() == "look" else "Write `look`, or `move A C`."
            return Step(answer, view=_drawn(pegs))
        source, target = (pegs[peg] for peg in move.groups())
        if not source:
            return Step(f"There is no disc on {move[1]}.", view=_drawn(pegs))
        if target and target[-1] < source[-1]:
            return Step(f"Disc {source[-1]} cannot lie on disc {target[-1]}.", view=_drawn(pegs))
        target.append(source.pop())
        return Step(_described(pegs), float(_solved(pegs)), _solved(pegs), _drawn(pegs))

    async def close(self) -> None:
        self._pegs = None

    async def snapshot(self) -> object:
        return copy.deepcopy(self._begun())

    async def restore(self, snapshot: object) -> None:
        self._pegs = copy.deepcopy(cast("Position", snapshot))

    def teacher(self, task: Task) -> HanoiTeacher:
        return HanoiTeacher()

    def _begun(self) -> Position:
        if self._pegs is None:
            raise EnvironmentFailed("no episode of hanoi has begun")
        return self._pegs


class HanoiTeacher(Teacher):
    """Brings a tower to a peg as `prompt.jinja` shows it: all but its largest disc, which is moved, then the rest."""

    def solve(self, context: str) -> Course:
        wish = re.search(r"bring discs 1 to (\d+) to ([ABC])\.?\s*(=>)?\s*\Z", context)
        if wish is None:
            return _lost()
        largest, peg = int(wish[1]), wish[2]
        return _main(largest, peg) if context.startswith("The pegs:") else _bring(largest, peg)


def _main(largest: int, peg: str) -> Course:
    answer = yield f"One thread does it all, bring discs 1 to {largest} to {peg} "
    return f"print({answer.text!r})\n"


def _bring(largest: int, peg: str) -> Course:
    seen = yield "First a look at the pegs.\n> look "
    place = next(
        (name for name, discs in re.findall(r"([ABC]): ([\d ]+)", seen.text) if str(largest) in discs.split()), peg
    )
    if place != peg:
        if largest > 1:
            spare = next(name for name in _PEGS if name not in {place, peg})
            yield f"Disc {largest} has to be free, bring discs 1 to {largest - 1} to {spare} "
        yield f"Disc {largest} is free.\n> move {place} {peg} "
    if largest > 1:
        yield f"Disc {largest} is where it belongs, bring discs 1 to {largest - 1} to {peg} "
    return f"print('discs 1 to {largest} are on {peg}')\n"


def _lost() -> Course:
    yield from ()
    return "print('this is no task for hanoi')\n"


def _position(discs: int, rng: random.Random) -> Position:
    """Any position but the solved one."""
    while True:
        pegs: Position = {peg: [] for peg in _PEGS}
        for disc in range(discs, 0, -1):
            pegs[rng.choice(_PEGS)].append(disc)
        if not _solved(pegs):
            return pegs


def _solved(pegs: Position) -> bool:
    return not pegs["A"] and not pegs["B"]


def _described(pegs: Position) -> str:
    return ", ".join(f"{peg}: {' '.join(map(str, discs)) or 'nothing'}" for peg, discs in pegs.items())


def _drawn(pegs: Position) -> str:
    discs = sum(map(len, pegs.values()))
    levels = [
        "  ".join(
            (("=" * (2 * on[level] + 1)) if level < len(on) else "|").center(2 * discs + 1) for on in pegs.values()
        )
        for level in reversed(range(discs))
    ]
    return "\n".join([*levels, "  ".join(peg.center(2 * discs + 1) for peg in pegs)])
