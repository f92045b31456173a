"""What has happened in a game so far, as a person would like to see it. Threads never read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = ["Notes"]

_SEEN: Final = re.compile(
    r"(?:On the (?P<on>[^.]+?)|The (?P<inside>[^.]+?) is open\. In it), you see (?P<things>[^.]+)\."
)
_CLOSED: Final = re.compile(r"The ([^.]+?) is closed\.|You close the ([^.]+?)\.")
_TAKEN: Final = re.compile(r"You pick up the (?P<thing>[^.]+) from the (?P<place>[^.]+)\.")
_PUT: Final = re.compile(r"You (?:move|put) the (?P<thing>[^.]+) (?:to|in/on) the (?P<place>[^.]+)\.")
_DONE: Final = re.compile(r"You (clean|heat|cool) the ([^.]+) using the")
_NOW: Final = {"clean": "clean", "heat": "hot", "cool": "cool"}
_MOST_LINES: Final = 8


@dataclass
class Notes:
    """Notes of one episode, taken step by step."""

    task: str
    steps: int = 0
    at: str = "the middle of the room"
    held: str = ""
    made: str = ""
    """What has been done to the thing held."""
    seen: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What lies where, as it was last seen; the place seen last stands last."""
    closed: set[str] = field(default_factory=set[str])

    def copy(self) -> Notes:
        seen = {place: list(things) for place, things in self.seen.items()}
        return replace(self, seen=seen, closed=set(self.closed))

    def take(self, command: str, observation: str) -> None:
        """Note a command and what the game answered."""
        self.steps += 1
        if command.startswith("go to ") and observation.startswith("You arrive at "):
            self.at = f"the {command.removeprefix('go to ')}"
        for met in _CLOSED.finditer(observation):
            self.closed.add(met[1] or met[2])
        for met in _SEEN.finditer(observation):
            place = met[1] or met[2]
            self.closed.discard(place)
            self.seen.pop(place, None)
            self.seen[place] = re.findall(r"\ba (\w+ \d+)", met[3])
        if met := _TAKEN.search(observation):
            self.held, self.made = met["thing"], ""
            if met["thing"] in self.seen.get(met["place"], ()):
                self.seen[met["place"]].remove(met["thing"])
        elif met := _PUT.search(observation):
            self.held = ""
            self.seen.setdefault(met["place"], []).append(met["thing"])
        elif met := _DONE.search(observation):
            self.made = _NOW[met[1]]

    def view(self) -> str:
        """The notes as a few lines."""
        held = f"{self.held}{f' ({self.made})' if self.made else ''}" if self.held else "nothing"
        lines = [f"task: {self.task}", f"at {self.at}, holding {held}, step {self.steps}"]
        full = [f"{place}: {', '.join(things)}" for place, things in self.seen.items() if things]
        lines += full[-_MOST_LINES:]
        bare = [place for place, things in self.seen.items() if not things]
        rest = [f"{len(full) - _MOST_LINES} more places seen"] if len(full) > _MOST_LINES else []
        rest += [f"empty: {', '.join(bare)}"] if bare else []
        rest += [f"closed: {', '.join(sorted(self.closed))}"] if self.closed else []
        return "\n".join(lines + rest)
