"""ALFWorld's expert: it speaks as the prompts in `prompts/alfworld/` do, and looks for things as a thread would.

What it knows of the game only decides the order in which it searches: the usual places of a kind of thing come first,
and where that would take too long, the place itself is named among them. All else it reads from the observations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from thread_cli.models.teacher import Course, Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_envs.alfworld.reading import Goal, Room

__all__ = ["AlfworldTeacher"]

_MOST_VISITS: Final = 12
"""Places to go to for each thing that is wanted: so two of them are found in well below 200 calls."""

_TABLES: Final = ("countertop", "diningtable", "coffeetable", "sidetable", "desk", "dresser", "shelf")
_FOOD: Final = ("countertop", "diningtable", "fridge", "sinkbasin", "microwave", "garbagecan")
_TOOLS: Final = ("countertop", "diningtable", "drawer", "sinkbasin", "cabinet")
_DISHES: Final = ("countertop", "diningtable", "cabinet", "sinkbasin", "fridge", "shelf", "microwave", "coffeemachine")
_POTS: Final = ("stoveburner", "countertop", "cabinet", "sinkbasin", "fridge")
_BATH: Final = ("toilet", "countertop", "sinkbasin", "bathtubbasin", "cabinet", "shelf", "drawer", "garbagecan")
_SMALL: Final = (
    "desk",
    "dresser",
    "sidetable",
    "coffeetable",
    "sofa",
    "drawer",
    "shelf",
    "diningtable",
    "armchair",
    "bed",
)
_LAMPS: Final = ("desk", "sidetable", "dresser", "shelf", "coffeetable", "diningtable")
_USUAL: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(("apple", "bread", "egg", "lettuce", "potato", "tomato"), _FOOD),
    **dict.fromkeys(("butterknife", "fork", "knife", "ladle", "spatula", "spoon"), _TOOLS),
    **dict.fromkeys(("bowl", "cup", "glassbottle", "mug", "plate", "winebottle"), _DISHES),
    **dict.fromkeys(("kettle", "pan", "pot"), _POTS),
    **dict.fromkeys(("cloth", "dishsponge", "handtowel", "soapbar", "soapbottle", "spraybottle", "toiletpaper"), _BATH),
    **dict.fromkeys(("cd", "cellphone", "creditcard", "keychain", "pen", "pencil", "remotecontrol", "watch"), _SMALL),
    **dict.fromkeys(("book", "laptop", "newspaper", "pillow"), ("bed", "sofa", "armchair", *_TABLES)),
    **dict.fromkeys(("desklamp", "floorlamp"), _LAMPS),
}

_TREATMENTS: Final = {"clean": ("clean", "sinkbasin"), "heat": ("hot", "microwave"), "cool": ("cool", "fridge")}
_GOAL: Final = re.compile(r"^Your task is to: ", re.MULTILINE)
_THING: Final = r"(?P<thing>[a-z]+ \d+)"
_PLACE: Final = r"the (?P<place>[a-z]+ \d+)"
_ERRANDS: Final = {
    name: re.compile(rf"{pattern} =>\s*\Z")
    for name, pattern in {
        "find": r"find and (?P<verb>take|use) a (?P<kind>[a-z]+)",
        "look": rf"look for a (?P<kind>[a-z]+) to (?P<verb>take|use) at {_PLACE}",
        "treat": rf"(?P<verb>clean|heat|cool) the {_THING} at {_PLACE}",
        "put": rf"put the {_THING} at {_PLACE}",
    }.items()
}
_MISSING: Final = "There is no"


class AlfworldTeacher(Teacher):
    """Plays one game, of which it knows the goal and what is where at the beginning."""

    def __init__(self, goal: Goal, room: Room) -> None:
        self._goal = goal
        self._room = room

    def solve(self, context: str) -> Course:
        if _GOAL.search(context):
            return _main(self._goal, self._room)
        for name, pattern in _ERRANDS.items():
            if errand := pattern.match(context):
                return _COURSES[name](**errand.groupdict())
        return _lost()


def likely_places(kind: str, room: Room, count: int = 1, without: str = "") -> list[str]:
    """Where to look first, until `count` things of a kind are found outside the place `without`.

    The usual kinds of place as far as needed, and unusual ones that are; or the places by name, where kinds would lead
    there too late.
    """
    usual = [name for name in _USUAL.get(kind, _TABLES) if any(place.split()[0] == name for place in room.contents)]
    order = [place for place in search_order(usual, room.contents) if place != without]
    found = [place for place in order for thing in room.contents[place] if thing.split()[0] == kind][:count]
    kinds = [place.split()[0] for place in found]
    far = max((usual.index(name) for name in kinds if name in usual), default=0)
    likely = [*usual[: far + 1], *dict.fromkeys(name for name in kinds if name not in usual)]
    visits = max(map(search_order(likely, room.contents).index, found), default=0)
    return likely if visits < count * _MOST_VISITS else [*usual[:1], *dict.fromkeys(found)]


def search_order(likely: Sequence[str], places: Mapping[str, object]) -> list[str]:
    """The places in the order in which threads search them, as the prompts' Python makes it."""
    return list(dict.fromkeys(p for name in [*likely, ""] for p in places if name in {p, p.split()[0], ""}))


def _order(likely: Sequence[str]) -> str:
    return (
        f"likely = {list(likely)!r}\n"
        "search = list(dict.fromkeys(p for name in likely + [''] for p in places if name in (p, p.split()[0], '')))\n"
    )


def _target(kind: str) -> str:
    return f"target = [p for p in places if p.startswith('{kind} ')][0]\n"


_PLACES: Final = "import re\nplaces = re.findall(r'[a-z]+ \\d+', task)\n"


def _main(goal: Goal, room: Room) -> Course:
    target = "" if goal.category == "look" else next(p for p in room.contents if p.split()[0] == goal.target)
    two = goal.category == "pick2"
    likely = likely_places(goal.kind, room, 1 + two, without=target if two else "")
    opening = _PLACES + _order(likely) + (_target(goal.target) if target else "")
    answer = yield f"{opening}\nFirst, find and take a {goal.kind} "
    if answer.startswith(_MISSING):
        return _give_up(goal.kind)
    match goal.category:
        case "look":
            yield f"{_order(likely_places(goal.target, room))}\nThen, find and use a {goal.target} "
            return "print(f'The {thing} is in the light.')\n"
        case "pick2":
            yield "Then, put the {thing} at the {target} "
            answer = yield (
                "The places before that one had none, and one at the target is to stay there.\n"
                "search = [p for p in search[search.index(place):] if p != target]\n\n"
                f"Next, find and take a {goal.kind} "
            )
            if answer.startswith(_MISSING):
                return _give_up(goal.kind)
        case "clean" | "heat" | "cool" as verb:
            yield f"Then, {verb} the {{thing}} at the {_TREATMENTS[verb][1]} 1 "
        case _:
            pass
    yield "Last, put the {thing} at the {target} "
    return "print(f'The {thing} is at the {target}.')\n"


def _find(verb: str, kind: str) -> Course:
    while True:
        answer = yield f"place = search.pop(0)\nOne by one, look for a {kind} to {verb} at the {{place}} "
        if answer.startswith("error:"):
            return f"print('{_MISSING} {kind} anywhere.')\n"
        if not answer.startswith(_MISSING):
            return f"print('{answer}')\n"


def _go(place: str) -> Course:
    """Go to a place and open it; returns what is to be seen there."""
    seen = yield f"> go to {place} "
    if seen.startswith("Nothing happens"):
        seen = yield f"It is within reach already.\n> examine {place} "
    if seen.endswith("is closed."):
        seen = yield f"> open {place} "
    return seen


def _look(kind: str, verb: str, place: str) -> Course:
    seen = yield from _go(place)
    found = re.search(rf"\ba ({kind} \d+)", seen)
    if found is None:
        return f"print('{_MISSING} {kind} at the {place}.')\n"
    if verb == "use":
        yield f"> use {found[1]} "
        return f"print('The {found[1]} is on.')\n"
    answer = yield f"thing = '{found[1]}'\n> take {{thing}} from {place} "
    if not answer.startswith("You pick up"):
        return f"print('{_MISSING} {kind} to take at the {place}.')\n"
    return "print(f'You have {thing}.')\n"


def _treat(verb: str, thing: str, place: str) -> Course:
    yield f"> go to {place} "
    yield f"> {verb} {thing} with {place} "
    return f"print('The {thing} is {_TREATMENTS[verb][0]}.')\n"


def _put(thing: str, place: str) -> Course:
    yield from _go(place)
    yield f"> move {thing} to {place} "
    return f"print('The {thing} is at the {place}.')\n"


def _lost() -> Course:
    yield from ()
    return "print('this is no task for ALFWorld')\n"


def _give_up(kind: str) -> str:
    return f"print('There is no {kind} to be found.')\n"


_COURSES: Final = {"find": _find, "look": _look, "treat": _treat, "put": _put}
