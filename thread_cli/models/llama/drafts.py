"""What a thread will probably write next: guessed from all that threads have read and written here before.

Threads repeat each other. A child answers in the words of its task, an action takes up a line that was read, an episode
goes like the one before it. So the last tokens of a sequence are looked up among everything seen so far, the longest
run of them first, and what followed there is the draft (prompt look-up decoding, over all threads instead of one text).
A model that was trained here brings phrases in its file, under the key `PHRASES`, that count as seen from the start.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from thread_cli.contracts.errors import UserError

__all__ = ["PHRASES", "Draft", "Drafts", "Trail", "read_phrases"]

_pairs: TypeAdapter[list[tuple[str, str]]] = TypeAdapter(list[tuple[str, str]])

PHRASES: Final = "thread.phrases"
"""JSON: pairs of a text and what came after it."""

_LENGTHS: Final = (12, 6, 4, 3, 2, 1)
"""Tokens that must agree for a look-up, tried in this order."""
_BLOCK: Final = 64
_NOTHING: Final = -1


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may come next, guessed from the last `agreed` ones."""

    tokens: array[int]
    agreed: int


class Drafts:
    """The tokens seen last, at least `size` of them, and where each run of some lengths was seen last."""

    def __init__(self, size: int = 1 << 19) -> None:
        self._size = size
        self._seen: array[int] = array("i", [_NOTHING] * _LENGTHS[0])
        self._forgotten = 0
        """Tokens that were seen before the first one that is kept."""
        self._mask = (1 << (size - 1).bit_length()) - 1
        # Tables that lose the older of two runs with the same hash: an entry is checked when it is used.
        self._places = {length: array("q", bytes(8 * (self._mask + 1))) for length in _LENGTHS}

    def follow(self, tokens: array[int], start: int) -> Trail:
        """Note the tokens of a text from `start` on; those before it have been noted, and more will come."""
        trail = Trail(self, tokens[max(0, start - _LENGTHS[0]) : start])
        trail.add(tokens[start:])
        return trail

    def guess(self, tokens: array[int], most: int) -> Draft | None:
        """At most `most` tokens that may come after `tokens`."""
        for length in _LENGTHS:
            if len(tokens) < length:
                continue
            last = tokens[-length:]
            place = self._places[length][hash(tuple(last)) & self._mask] - self._forgotten
            if place < length or self._seen[place - length : place] != last:
                continue
            found = self._seen[place : place + most]
            if _NOTHING in found:
                found = found[: found.index(_NOTHING)]
            if found:
                return Draft(found, length)
        return None

    def reserve(self, before: array[int], room: int) -> int:
        """A place for `room` tokens that come after `before`; it is kept until `size` more have been seen."""
        if len(self._seen) > 2 * self._size:
            surplus = len(self._seen) - self._size
            del self._seen[:surplus]
            self._forgotten += surplus
        self._seen.append(_NOTHING)
        self._seen.extend(before)
        place = self._forgotten + len(self._seen)
        self._seen.extend([_NOTHING] * room)
        return place

    def write(self, place: int, tokens: array[int]) -> None:
        """Put tokens into a reserved place."""
        at = place - self._forgotten
        if at < _LENGTHS[0]:
            return
        self._seen[at : at + len(tokens)] = tokens
        for end in range(at, at + len(tokens)):
            for length in _LENGTHS:
                run = self._seen[end - length : end]
                if _NOTHING not in run:
                    self._places[length][hash(tuple(run)) & self._mask] = end + self._forgotten


class Trail:
    """One text, noted as it grows. It lies in blocks, since other texts grow at the same time."""

    def __init__(self, drafts: Drafts, before: array[int]) -> None:
        self._drafts = drafts
        self._before = before
        self._place = self._room = 0

    def add(self, tokens: array[int]) -> None:
        """Note the next tokens."""
        if len(tokens) > self._room:
            self._room = len(tokens) + _BLOCK
            self._place = self._drafts.reserve(self._before, self._room)
        self._drafts.write(self._place, tokens)
        self._place += len(tokens)
        self._room -= len(tokens)
        self._before = (self._before + tokens)[-_LENGTHS[0] :]


def read_phrases(text: str) -> list[tuple[str, str]]:
    """What a model's file says under `PHRASES`: what it often writes, each with what stands before it.

    Raises:
        UserError: it says something else.
    """
    try:
        return _pairs.validate_json(text) if text else []
    except ValidationError:
        raise UserError(f"the model's file has something else under {PHRASES!r} than pairs of texts") from None
