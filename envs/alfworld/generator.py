"""New games: made from ALFWorld's own PDDL domain, grammar, goals and room layouts, one for each number.

A number stands for the same game everywhere, as long as the installed `alfworld` is the same. The rooms are the
layouts of its 120 floor plans with receptacles left out or doubled and things put where they may lie; what is asked
for is somewhere else at first, and there is something to clean, heat or cool it with.
"""

from __future__ import annotations

import functools
import json
import random
import runpy
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError
from thread_envs.alfworld.reading import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["category_of", "generate"]

_PROPERTY: Final = {"clean": "Cleanable", "heat": "Heatable", "cool": "Coolable"}
_TOOL: Final = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}
_BASINS: Final = {"Sink": "SinkBasin", "Bathtub": "BathtubBasin"}
_SEVERAL: Final = ("Cabinet", "Drawer", "Shelf", "CounterTop", "SideTable", "DiningTable", "ArmChair")
_MOST_OF_A_KIND: Final = 6
_MOST_THINGS: Final = 30
_START: Final = "loc_bar_0"
_LAMP: Final = "DeskLamp"
_LAMP_STANDS: Final = ("Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable", "DiningTable")


def category_of(number: int) -> str:
    """The category of a game; the six take turns."""
    return list(CATEGORIES)[number % len(CATEGORIES)]


@functools.lru_cache(maxsize=8)
def generate(number: int) -> Mapping[str, Any]:
    """The game of that number, as a `game.tw-pddl` file would hold it, and its `core_problem`.

    That is its problem without the things and receptacles that the goal does not need. No action needs anything to be
    absent, so what solves the core solves the game; and the planner solves it at once, where a whole kitchen may take
    it minutes.

    Raises:
        UserError: the package `alfworld` is missing.
    """
    package = _package()
    category = category_of(number)
    rng = random.Random(f"alfworld game {number}")
    while True:
        room = _draw_room(package, category, rng)
        wish = _draw_wish(package, category, room, rng)
        if wish is not None:
            break
    kind, target = wish
    _fill(package, room, category, wish, rng)
    core = _core(room, category, wish)
    goal = package.goals[CATEGORIES[category]]
    words = {"obj": kind, "recep": target, "toggle": target}
    sentence = rng.choice(goal["templates"]).format(**{key: word.lower() for key, word in words.items()})
    wanted = goal["pddl"].format(**words).replace("#", "-")
    return {
        "pddl_domain": package.domain,
        "grammar": package.grammar.replace("UNKNOWN GOAL", sentence),
        "pddl_problem": _problem(package, room, f"generated_{number}", wanted, rng),
        "core_problem": _problem(package, core, f"core_{number}", wanted, rng),
    }


@dataclass(frozen=True)
class _Package:
    """What `alfworld` brings along."""

    domain: str
    grammar: str
    goals: Mapping[str, Any]
    """For each task type the PDDL of its goal, and sentences for it."""
    rooms: Mapping[str, Sequence[tuple[Mapping[str, int], Sequence[str]]]]
    """For each type of room its floor plans: how many receptacles of each kind, and the kinds of all that is there."""
    valid: Mapping[str, Sequence[str]]
    """For each task type the types of room."""
    holds: Mapping[str, frozenset[str]]
    """What a kind of receptacle may contain."""
    fit: Mapping[str, frozenset[str]]
    """The kinds that are Cleanable, Heatable, Coolable, Toggleable, Sliceable."""
    movable: frozenset[str]
    """The kinds of thing that other things could be put in."""
    openable: frozenset[str]


@functools.cache
def _package() -> _Package:
    found = find_spec("alfworld")
    if found is None or not found.submodule_search_locations:
        raise UserError("ALFWorld cannot be loaded; install it: pip install alfworld")
    # Importing `alfworld` makes folders in the user's home, so the needed parts of it are read as files.
    folder = Path(found.submodule_search_locations[0])
    constants = runpy.run_path(str(folder / "gen" / "constants.py"))
    holds = {kind: frozenset(kinds) for kind, kinds in constants["VAL_RECEPTACLE_OBJECTS"].items()}
    movable = frozenset(constants["MOVABLE_RECEPTACLES"])
    return _Package(
        domain=(folder / "data" / "alfred.pddl").read_text("utf-8"),
        grammar=(folder / "data" / "alfred.twl2").read_text("utf-8"),
        goals=runpy.run_path(str(folder / "gen" / "goal_library.py"))["gdict"],
        rooms={
            name: [_floor_plan(folder / "gen" / "layouts", number) for number in numbers]
            for name, numbers in constants["SCENE_TYPE"].items()
        },
        valid={task: sorted(rooms) for task, rooms in constants["GOALS_VALID"].items()},
        holds={kind: kinds for kind, kinds in holds.items() if kind not in movable},
        fit={name: frozenset(kinds) for name, kinds in constants["VAL_ACTION_OBJECTS"].items()},
        movable=movable,
        openable=frozenset(constants["OPENABLE_CLASS_LIST"]) - movable,
    )


def _floor_plan(layouts: Path, number: int) -> tuple[Mapping[str, int], Sequence[str]]:
    kinds = json.loads((layouts / f"FloorPlan{number}-objects.json").read_text("utf-8"))
    stands = json.loads((layouts / f"FloorPlan{number}-openable.json").read_text("utf-8"))
    counted = Counter(str(name).split("|")[0] for name in stands)
    return {_BASINS.get(kind, kind): count for kind, count in counted.items()}, sorted(set(kinds))


@dataclass
class _Room:
    places: list[tuple[str, str]]
    """Kind and id of each receptacle."""
    kinds: list[str]
    """The kinds of thing that may be here."""
    things: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Kind and id of each thing, and the id of the receptacle that holds it."""

    @property
    def place_kinds(self) -> list[str]:
        return sorted({kind for kind, _ in self.places})

    def taking(self, package: _Package, kind: str, without: str = "") -> list[str]:
        """The ids of the receptacles that may hold things of a kind, but for one kind of receptacle."""
        return [key for place, key in self.places if place != without and kind in package.holds[place]]


def _draw_room(package: _Package, category: str, rng: random.Random) -> _Room:
    room_type = rng.choice(package.valid[CATEGORIES[category]])
    stands, kinds = rng.choice(package.rooms[room_type])
    name = _namer(rng)
    counts = {kind: stands.get(kind, 4 if kind == "StoveBurner" else 1) for kind in kinds if kind in package.holds}
    places: list[tuple[str, str]] = []
    for kind, count in sorted(counts.items()):
        varied = count + rng.choice((-2, -1, -1, 0, 0, 1)) if kind in _SEVERAL else count
        places += [(kind, name(kind)) for _ in range(min(max(1, varied), _MOST_OF_A_KIND))]
    held = {thing for kind, _ in places for thing in package.holds[kind]}
    return _Room(places, [kind for kind in kinds if kind in held])


def _draw_wish(package: _Package, category: str, room: _Room, rng: random.Random) -> tuple[str, str] | None:
    """The kinds of thing and of target that the goal is about; None where this room has none."""
    if category in _TOOL and _TOOL[category] not in room.place_kinds:
        return None
    if category == "look":
        stands = [kind for kind in room.place_kinds if kind in _LAMP_STANDS]
        return (rng.choice(room.kinds), _LAMP) if stands and room.kinds else None
    fitting = package.fit[_PROPERTY[category]] if category in _TOOL else room.kinds
    wishes = [
        (kind, target)
        for kind in room.kinds
        for target in room.place_kinds
        if kind in fitting and kind in package.holds[target] and room.taking(package, kind, without=target)
    ]
    return rng.choice(wishes) if wishes else None


def _fill(package: _Package, room: _Room, category: str, wish: tuple[str, str], rng: random.Random) -> None:
    """Put things into the room, the wanted thing outside its target."""
    kind, target = wish
    name = _namer(rng)
    counts = {other: rng.choice((0, 1, 1, 1, 2, 2, 3)) for other in room.kinds}
    counts[kind] = rng.choice((2, 2, 3)) if category == "pick2" else rng.choice((1, 1, 2))
    for other in sorted(counts, key=lambda other: (other != kind, rng.random())):
        for _ in range(counts[other]):
            if len(room.things) < _MOST_THINGS:
                spots = room.taking(package, other, without=target if other == kind else "")
                room.things.append((other, name(other), rng.choice(spots)))
    if category == "look":
        stands = [key for place, key in room.places if place in _LAMP_STANDS]
        room.things.append((_LAMP, name(_LAMP), rng.choice(stands)))


def _core(room: _Room, category: str, wish: tuple[str, str]) -> _Room:
    """What the goal is about: the things wanted, where they are, and one receptacle of each kind that is needed."""
    kind, target = wish
    things = [thing for thing in room.things if thing[0] in {kind, target}]
    used = {place for _, _, place in things}
    used |= {
        next((key for place, key in room.places if place == needed), "") for needed in (target, _TOOL.get(category))
    }
    return _Room([place for place in room.places if place[1] in used], [kind], things)


def _namer(rng: random.Random) -> Callable[[str], str]:
    """Makes ids as ALFWorld's are: a kind and three coordinates, here drawn."""

    def name(kind: str) -> str:
        spots = (rng.uniform(-4, 4), rng.uniform(0, 2.2), rng.uniform(-4, 4))
        joined = "_bar_".join(_mangled(spot) for spot in spots)
        basin = next((stand for stand, basin in _BASINS.items() if basin == kind), "")
        return f"{basin}_bar_{joined}_bar_{kind}" if basin else f"{kind}_bar_{joined}"

    return name


def _mangled(number: float) -> str:
    return f"{number:+06.2f}".replace("+", "_plus_").replace("-", "_minus_").replace(".", "_dot_")


def _location(place: str) -> str:
    """The id of the location in front of a receptacle: each has one of its own."""
    return f"loc_bar_{place.partition('_bar_')[2]}"


def _problem(package: _Package, room: _Room, name: str, goal: str, rng: random.Random) -> str:
    kinds = sorted({kind for kind, _, _ in room.things} | set(room.kinds))
    objects = [
        "agent1 - agent",
        *(f"{key} - object" for _, key, _ in room.things),
        *(f"{key} - receptacle" for _, key in room.places),
        *(f"{location} - location" for location in (_START, *(_location(key) for _, key in room.places))),
        *(f"{kind}Type - otype" for kind in kinds),
        *(f"{kind}Type - rtype" for kind in {*room.place_kinds, *_TOOL.values()}),
    ]
    facts = [*_facts_of_places(package, room, kinds), *_facts_of_things(package, room)]
    rng.shuffle(facts)
    lines = [
        "(define",
        f"(problem {name})",
        "(:domain alfred)",
        "(:objects",
        *sorted(objects),
        ")",
        "(:init",
        *facts,
        ")",
    ]
    return "\n".join(lines) + goal


def _facts_of_places(package: _Package, room: _Room, kinds: Sequence[str]) -> Iterator[str]:
    yield f"(atLocation agent1 {_START})"
    for kind, key in room.places:
        yield f"(receptacleType {key} {kind}Type)"
        yield f"(receptacleAtLocation {key} {_location(key)})"
        if kind in package.openable:
            yield f"(openable {key})"
    for kind in room.place_kinds:
        for thing in kinds:
            if thing in package.holds[kind]:
                yield f"(canContain {kind}Type {thing}Type)"


def _facts_of_things(package: _Package, room: _Room) -> Iterator[str]:
    for kind, key, place in room.things:
        yield f"(objectType {key} {kind}Type)"
        yield f"(inReceptacle {key} {place})"
        yield f"(objectAtLocation {key} {_location(place)})"
        if kind != _LAMP:
            yield f"(pickupable {key})"
        if kind in package.movable:
            yield f"(isReceptacleObject {key})"
        for fact in ("Cleanable", "Heatable", "Coolable", "Toggleable", "Sliceable"):
            if kind in package.fit[fact]:
                yield f"({fact.lower()} {key})"
