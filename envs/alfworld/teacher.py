"""ALFWorld's expert: it speaks as the prompts in `prompts/alfworld/` do, and looks for things as a thread would.

It writes nothing that a thread could not know: what is asked for stands in the task, where such things usually are is
the same in all games, and all else is read from the answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from thread_cli.models.teacher import Course, Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
_FAILED: Final = ("There is no", "error:")


class AlfworldTeacher(Teacher):
    """Plays one game, of which it knows the goal."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal

    def solve(self, context: str) -> Course:
        if _GOAL.search(context):
            return _main(self._goal)
        for name, pattern in _ERRANDS.items():
            if errand := pattern.match(context):
                return _COURSES[name](**errand.groupdict())
        return _lost()


_PLACES: Final = "import re\nplaces = re.findall(r'[a-z]+ \\d+', task)\n"
_GIVE_UP: Final = "print(f'There is no {kind} to be found.')\n"


def _order(kind: str) -> str:
    return (
        f"kind = '{kind}'\n"
        f"likely = {list(_USUAL.get(kind, _SURFACES))!r}\n"
        "search = sorted(places, key=lambda p: (likely + p.split()).index(p.split()[0]))\n"
    )


def _target(kind: str) -> str:
    return f"target = [p for p in places if p.startswith('{kind} ')][0]\n"


def _main(goal: Goal) -> Course:
    target = "" if goal.category == "look" else _target(goal.target)
    answer = yield f"{_PLACES}{_order(goal.kind)}{target}\nFirst, find and take a {{kind}} "
    if answer.startswith(_FAILED):
        return _GIVE_UP
    match goal.category:
        case "look":
            answer = yield f"{_order(goal.target)}\nThen, find and use a {{kind}} "
            return _GIVE_UP if answer.startswith(_FAILED) else "print(f'The {thing} is in the light.')\n"
        case "pick2":
            yield "Then, put the {thing} at the {target} "
            answer = yield (
                "The places before that one had none, and one at the target is to stay there.\n"
                "search = [p for p in search[search.index(place):] if p != target]\n\n"
                "Next, find and take a {kind} "
            )
            if answer.startswith(_FAILED):
                return _GIVE_UP
        case "clean" | "heat" | "cool" as verb:
            yield f"Then, {verb} the {{thing}} at the {_TREATMENTS[verb][1]} 1 "
        case _:
            pass
    yield "Last, put the {thing} at the {target} "
    return "print(f'The {thing} is at the {target}.')\n"


def _find(verb: str, kind: str) -> Course:
    act, done, last = _FINDING[verb]
    while True:
        answer = yield "place = search.pop(0)\nNext, look for a {kind} at the {place} "
        if answer.startswith("error:"):
            return "print(f'There is no {kind} anywhere.')\n"
        if re.fullmatch(rf"{kind} \d+", answer) and (yield act).startswith(done):
            return last


def _go(place: str) -> Course:
    """Go to a place and open it."""
    seen = yield f"> go to {place} "
    if seen.startswith("Nothing happens"):
        seen = yield f"> examine {place} "
    if seen.endswith("is closed."):
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
