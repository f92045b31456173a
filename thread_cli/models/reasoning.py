"""Separates reasoning within a text from the answer.

Servers with a parser for it send reasoning in a field of its own; all others leave it in the text, between tags. A chat
template may have opened the tag already, so that a text may begin inside of one and show only the closing tag. A wire
format in which threads think between such tags opens the tag in the prompt itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Thoughts"]

_TAGS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>thought\n": "<channel|>",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
}
_CLOSING: Final = frozenset(_TAGS.values())
_SMALL: Final = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
"""Letters of tags in either case; other letters may change their number of characters with their case."""


@dataclass(slots=True)
class Thoughts:
    """Divides a text that comes in pieces into `text` and `reasoning`.

    Tags may be in capitals or not. A possible beginning of a tag is held back until more text has come. `inside` is the
    tag that closes the present reasoning; empty outside of reasoning.
    """

    prompt: str = ""
    """The prompt before the text that is written. The tag that it ends with, and the one that closes it, are text."""
    inside: str = ""
    text: str = ""
    reasoning: str = ""
    _rest: str = ""
    _fresh: bool = False
    """True directly after reasoning: empty lines there are no part of the text."""
    _tags: tuple[str, ...] = ()
    """Tags that are looked for outside of reasoning."""

    def __post_init__(self) -> None:
        ended = self.prompt.rstrip()
        own = {tag for pair in _TAGS.items() for tag in pair if ended.endswith(pair[0])}
        self._tags = tuple(tag for tag in (*_TAGS, *_CLOSING) if tag not in own)

    def add(self, piece: str) -> None:
        """Add the next piece."""
        self._rest += piece
        while self._advance():
            pass

    def finish(self) -> None:
        """Add the text that was held back, at the end of the text."""
        rest, self._rest = self._rest, ""
        self._keep(rest)

    def _advance(self) -> bool:
        """Add the certain part; True if a tag was found, as another may follow it."""
        tags = (self.inside,) if self.inside else self._tags
        small = self._rest.translate(_SMALL)
        found = [(at, -len(tag), tag) for tag in tags if (at := small.find(tag.translate(_SMALL))) >= 0]
        if found:
            at, _, tag = min(found)
            self._keep(self._rest[:at])
            self._rest = self._rest[at + len(tag) :]
            self._pass(tag)
            return True
        kept_back = max((_overlap(small, tag.translate(_SMALL)) for tag in tags), default=0)
        certain = len(self._rest) - kept_back
        self._keep(self._rest[:certain])
        self._rest = self._rest[certain:]
        return False

    def _pass(self, tag: str) -> None:
        if tag in _TAGS:
            self.inside = _TAGS[tag]
            return
        if not self.inside:
            # The prompt opened the tag, so all text so far was reasoning.
            self.reasoning += self.text
            self.text = ""
        self.inside, self._fresh = "", True

    def _keep(self, part: str) -> None:
        if self.inside:
            self.reasoning += part
            return
        if self._fresh:
            part = part.lstrip("\r\n")
            self._fresh = not part
        self.text += part


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` are the beginning of `tag`."""
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:size])), 0)
