"""ALFWorld's expert: it speaks as the prompts in `prompts/alfworld/` do, and looks for things as a thread would.

It writes nothing that a thread could not know: what is asked for stands in the task, where such things usually are is
the same in all games, and all else is read from the answers. `terse`, it leaves the names of things and places to
Python, for models too small to copy without a slip.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from thread_cli.models.teacher import Course, Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.writer import Feedback
    from thread_envs.alfworld.reading import Goal

__all__ = ["AlfworldTeacher"]

_SURFACES: Final = ("diningtable", "countertop", "desk", "dresser", "sidetable", "shelf")
_SMALL: Final = ("desk", "coffeetable", "dresser", "diningtable", "sidetable", "sofa")
_SEATS: Final = ("sofa", "bed", "diningtable", "coffeetable", "dresser", "sidetable")
_LAMPS: Final = ("desk", "sidetable", "coffeetable", "dresser", "shelf")
_FOOD: Final = ("sidetable", "diningtable", "countertop", "garbagecan", "fridge", "microwave")
_DISHES: Final = ("diningtable", "countertop", "fridge", "sinkbasin", "microwave", "shelf")
_POTS: Final = ("stoveburner", "diningtable", "countertop", "sinkbasin", "fridge")
_BOTTLES: Final = ("diningtable", "countertop", "sidetable", "toilet", "garbagecan", "shelf")
_PAPER: Final = ("dresser", "countertop", "toilet", "garbagecan", "toiletpaperhanger", "cabinet")
_USUAL: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(("cd", "creditcard", "keychain", "newspaper", "remotecontrol", "watch", "wateringcan"), _SMALL),
    **dict.fromkeys(("book", "box", "cellphone", "laptop", "pillow"), _SEATS),
    **dict.fromkeys(("desklamp", "floorlamp"), _LAMPS),
    **dict.fromkeys(("apple", "egg", "lettuce", "potato", "tomato"), _FOOD),
    **dict.fromkeys(("cup", "mug", "plate"), _DISHES),
    **dict.fromkeys(("kettle", "pan", "pot"), _POTS),
    **dict.fromkeys(
        ("candle", "dishsponge", "glassbottle", "soapbar", "soapbottle", "spraybottle", "winebottle"), _BOTTLES
    ),
    "toiletpaper": _PAPER,
    "handtowel": ("handtowelholder",),
}
"""Where to look first, by kind of thing; for all other kinds `_SURFACES`.

Fitted to ALFWorld's training games, so that few places are visited and few lists are to be known.
"""

_TREATMENTS: Final = {"clean": ("clean", "sinkbasin"), "heat": ("hot", "microwave"), "cool": ("cool", "fridge")}
_GOAL: Final = re.compile(r"^Your task is to: ", re.MULTILINE)
_THING: Final = r"the [a-z]+ \d+"
_PLACE: Final = r"the (?P<place>[a-z]+ \d+)"
_ERRANDS: Final = {
    name: re.compile(rf"{pattern} =>\s*\Z")
    for name, pattern in {
        "find": r"find and (?P<verb>take|use) a (?P<kind>[a-z]+)",
        "look": rf"look for a [a-z]+ at {_PLACE}",
        "treat": rf"(?P<verb>clean|heat|cool) {_THING} at {_PLACE}",
        "put": rf"put {_THING} at {_PLACE}",
    }.items()
}
_FINDING: Final = {
    "take": ("> take {found} from {place} ", "You pick up", "thing = found\nprint(f'You have {thing}.')\n"),
    "use": ("> use {found} ", "You turn on", "print(f'The {found} is on.')\n"),
}
"""How a thing is acted on, what the answer begins with where that works, and how the thread then ends."""


class AlfworldTeacher(Teacher):
    """Plays one game, of which it knows the goal."""

    def __init__(self, goal: Goal, *, terse: bool = False) -> None:
        self._goal = goal
        self._terse = terse

    def solve(self, context: str) -> Course:
        if _GOAL.search(context):
            return _main(self._goal, _TERSE if self._terse else _spelled(self._goal))
        for name, pattern in _ERRANDS.items():
            if errand := pattern.match(context):
                words = errand.groupdict()
                if self._terse and name in _VARIABLES:
                    words["place"] = _VARIABLES[name]
                return _COURSES[name](**words)
        return _lost()


class _Names(NamedTuple):
    """Lines that name what a game is about: what to find, where it belongs, and the lamp of a `look` game."""

    kind: str
    target: str
    lamp: str


_TERSE: Final = _Names(
    "goal = task.split('task is to: ')[1].strip('.').split()\n"
    "words = 'put find look examine heat cool clean hot a some two at the'.split()\n"
    "kind = [w for w in goal if w not in words][0]\n",
    "target = [p for p in places if p.startswith(goal[-1] + ' ')][0]\n",
    "kind = goal[-1]\n",
)
_VARIABLES: Final = {"look": "{place}", "put": "{target}"}
"""What a terse thread calls the place that its prompt names."""


def _spelled(goal: Goal) -> _Names:
    return _Names(
        f"kind = '{goal.kind}'\n",
        f"target = [p for p in places if p.startswith('{goal.target} ')][0]\n",
        f"kind = '{goal.target}'\n",
    )


_PLACES: Final = "import re\nplaces = re.findall(r'[a-z]+ \\d+', task)\n"
_GIVE_UP: Final = "print(f'There is no {kind} to be found.')\n"


def _order(kind: str) -> str:
    return (
        f"likely = {list(_USUAL.get(kind, _SURFACES))!r}\n"
        "search = sorted(places, key=lambda p: (likely + p.split()).index(p.split()[0]))\n"
    )


def _main(goal: Goal, names: _Names) -> Course:
    target = "" if goal.category == "look" else names.target
    answer = yield f"{_PLACES}{names.kind}{_order(goal.kind)}{target}\nFirst, find and take a {{kind}} "
    if _in_vain(answer):
        return _GIVE_UP
    match goal.category:
        case "look":
            answer = yield f"{names.lamp}{_order(goal.target)}\nThen, find and use a {{kind}} "
            return _GIVE_UP if _in_vain(answer) else "print(f'The {thing} is in the light.')\n"
        case "pick2":
            yield "Then, put the {thing} at the {target} "
            answer = yield (
                "The places before that one had none, and one at the target is to stay there.\n"
                "search = [p for p in search[search.index(place):] if p != target]\n\n"
                "Next, find and take a {kind} "
            )
            if _in_vain(answer):
                return _GIVE_UP
        case "clean" | "heat" | "cool" as verb:
            yield f"Then, {verb} the {{thing}} at the {_TREATMENTS[verb][1]} 1 "
        case _:
            pass
    yield "Last, put the {thing} at the {target} "
    return "print(f'The {thing} is at the {target}.')\n"


def _in_vain(answer: Feedback) -> bool:
    return answer.failed or answer.text.startswith("There is no")


def _find(verb: str, kind: str) -> Course:
    act, done, last = _FINDING[verb]
    while True:
        answer = yield "place = search.pop(0)\nNext, look for a {kind} at the {place} "
        if answer.failed:
            return "print(f'There is no {kind} anywhere.')\n"
        if re.fullmatch(rf"{kind} \d+", answer.text) and (yield act).text.startswith(done):
            return last


def _go(place: str) -> Course:
    """Go to a place and open it."""
    seen = yield f"> go to {place} "
    if seen.text.startswith("Nothing happens"):
        seen = yield f"> examine {place} "
    if seen.text.endswith("is closed."):
        yield f"> open {place} "
    return ""


def _look(place: str) -> Course:
    yield from _go(place)
    return "found = (re.findall(rf'\\b{kind} \\d+', observation) + ['nothing'])[0]\nprint(found)\n"


def _treat(verb: str, place: str) -> Course:
    yield f"> go to {place} "
    yield f"> {verb} {{thing}} with {place} "
    return f"print(f'The {{thing}} is {_TREATMENTS[verb][0]}.')\n"


def _put(place: str) -> Course:
    yield from _go(place)
    yield "> move {thing} to {target} "
    return "print(f'The {thing} is at the {target}.')\n"


def _lost() -> Course:
    yield from ()
    return "print('this is no task for ALFWorld')\n"


_COURSES: Final = {"find": _find, "look": _look, "treat": _treat, "put": _put}
