"""What a game says of itself: its task, its room, and how it names things.

A game is the content of a `game.tw-pddl` file: a PDDL domain and problem, and a grammar that turns facts into text.
Everything here is read off those texts, in the runner's process; nothing of `alfworld` or `textworld` is imported.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["CATEGORIES", "Goal", "command", "goal_of", "names_of", "read_game"]

CATEGORIES: Final[Mapping[str, str]] = {
    "pick": "pick_and_place_simple",
    "clean": "pick_clean_then_place_in_recep",
    "heat": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
    "look": "look_at_obj_in_light",
    "pick2": "pick_two_obj_and_place",
}
"""The paper's six task types and what ALFWorld calls them."""

_PARTS: Final = ("pddl_domain", "grammar", "pddl_problem")
_SENTENCE: Final = re.compile(r"Your task is to: (.+?)\.?\s*\"")
_TYPED: Final = re.compile(r"\(objecttype \?\w+ (\w+)type\)")
_HELD_BY: Final = re.compile(r"\(receptacletype \?\w+ (\w+)type\)")
_STATES: Final = {"isclean": "clean", "ishot": "heat", "iscool": "cool", "istoggled": "look"}
_PUT: Final = re.compile(r"put (?P<o>.+) (?:in/on|in|on|into|onto) (?P<r>.+)|move (?P<o2>.+) to (?P<r2>.+)")
_PUT_TEMPLATE: Final = re.compile(r"action\s+PutObject\s*\{\s*template\s*::\s*\"([^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a game asks for: its category, and in lower case the kinds of thing that it is about.

    `target` is the kind of receptacle to put things in; for `look` it is the kind of lamp.
    """

    sentence: str
    category: str
    kind: str
    target: str


def read_game(path: Path) -> dict[str, Any]:
    """The game in a file.

    Raises:
        UserError: the file cannot be read, or is no game.
    """
    try:
        game = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        game = None
    if not isinstance(game, dict) or not all(isinstance(cast("Any", game).get(part), str) for part in _PARTS):
        raise UserError(f"{path} is no ALFWorld game: a game.tw-pddl file holds {', '.join(_PARTS)} as JSON")
    return cast("dict[str, Any]", game)


def goal_of(game: Mapping[str, Any]) -> Goal:
    """The goal of a game, from its PDDL; the sentence is the one that its grammar tells the player."""
    _, _, goal = game["pddl_problem"].lower().rpartition("(:goal")
    sentence = _SENTENCE.search(game["grammar"])
    kinds = _TYPED.findall(goal)
    category = next((name for state, name in _STATES.items() if f"({state} " in goal), "")
    if category == "look":
        target, *kinds = kinds
    else:
        target = next(iter(_HELD_BY.findall(goal)), "")
        category = category or ("pick2" if len(kinds) > 1 else "pick")
    return Goal(sentence[1] if sentence else "", category, kinds[0] if kinds else "", target)


def names_of(ids: Iterable[str]) -> dict[str, str]:
    """The names of things and receptacles, by id: `apple_bar__minus_01…` is `apple 2` where it is the last but one.

    The things of a kind are numbered downwards in the order of their ids, as ALFWorld does.
    """
    known = sorted({key for key in ids if "_bar_" in key})
    kinds = {key: key.split("_bar_", 1)[0] + ("basin" if "basin" in key else "") for key in known}
    left = Counter(kinds.values())
    names: dict[str, str] = {}
    for key, kind in kinds.items():
        names[key] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return names


def command(action: str, game: Mapping[str, Any]) -> str:
    """An action as the game's own parser takes it.

    Case, blanks and a full stop at the end do not matter, and `put X in/on Y` and `move X to Y` both become what the
    game's grammar has for it (`move` since ALFWorld 0.4, `put` before).
    """
    words = " ".join(action.lower().split()).removesuffix(".").rstrip()
    put = _PUT.fullmatch(words)
    template = _PUT_TEMPLATE.search(game["grammar"])
    if put is None or template is None:
        return words
    return template[1].format(o=put["o"] or put["o2"], r=put["r"] or put["r2"])
