"""Fork-join wire formats: a thread outlines tasks, children work on them at once, and the thread reads their texts.

ThreadWeaver (arXiv 2512.07843) and NPR (arXiv 2512.07461) write a list of numbered items and stop. For each item a
child goes on from all text so far, seeded with a tag and the number of the item. What they have written joins behind
the list, and their parent goes on. A child may fork in the same way, as deep as the episode's limit of depth allows.

What a model writes wrong is repaired where its intent is plain, and each repair is named. Everything else stays as it
is: the thread that wrote it goes on by itself, one token after the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.protocol import Child, End, Joining, Segment, Spawn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.contracts.model import StopReason
    from thread_cli.contracts.protocol import Result

__all__ = ["ForkJoin", "Grammar"]

_SEPARATOR: Final = "\n\n\n\n\n\n"
_NUMBER: Final = re.compile(r"\s*(\d+(?:\.\d+)*)\s*:")
_TAG: Final = re.compile(r"</?[A-Za-z]+>")


@dataclass(frozen=True, slots=True)
class Grammar:
    """The tags of a format, and the text that the engine writes around its children."""

    whole: str
    """Name of the tag around a block; empty where there is none."""
    listing: str
    item: str
    branch: str
    seed: str
    """What a child's text begins with, after the list; `{id}` stands for the number of its item."""
    next_seed: str
    """The same in the joined text, for the second child and all after it."""
    after: str
    """What follows the last child."""
    cut: str | None = None
    """What follows the last child, and ends the thread, where a child broke off; None: the thread goes on as ever."""
    overruns: tuple[str, ...] = ()
    """Tags with which a child that has no block of its own is past its end."""
    doubles: Literal["first", "all"] = "first"
    """Which of several items with one number count."""
    halts: bool = False
    """Whether a list without items ends the thread; else the thread goes on by itself."""
    blocks: int | None = None
    """Lists of one thread that fork; the next one ends it."""
    widest: int | None = None
    """Items of the longest list that forks; a longer one ends the thread."""

    @property
    def listed(self) -> str:
        """The tag that ends a list."""
        return f"</{self.listing}>"

    @property
    def branched(self) -> str:
        """The tag that ends a child."""
        return f"</{self.branch}>"

    def seeded(self, number: object, *, first: bool = True) -> str:
        """What a child's text begins with; `first`: in its own prompt, and for the first child in the joined text."""
        return (self.seed if first else self.next_seed).format(id=number)


class Item(NamedTuple):
    """An item of a list: its number as it stands in the text, and its words."""

    id: str
    text: str


class ForkJoin:
    """A fork-join format.

    Args:
        grammar: its tags.
        start: token before the main thread's Y, such as `<think>`.
        end: token after it, for models that learn the format from examples.
        opening: what stands before the main thread's Y, with `{context}` in it; empty: as in our prompts.
    """

    def __init__(self, grammar: Grammar, *, start: str, end: str, opening: str = "") -> None:
        self._grammar = grammar
        self._opening = opening or f"{_SEPARATOR}Prompt:\n{{context}}\n\n\nResponse:\n{start}\n"
        # The model's own end, and what a model writes that goes on with an example of its own.
        self._ends = (end, f"{_SEPARATOR}Prompt:")
        self.stop = (grammar.listed, *self._ends)

    def open(self, context: str) -> str:
        return self._opening.replace("{context}", context)

    def read(self, y: str, stop: StopReason) -> Spawn | End:
        region, opened = self._region(y)
        if stop == "listen":
            return self._fork(y, region, [] if opened else ["unopened"])
        if opened and stop == "stop":
            return self._fork(y, region, [])
        if opened and self._items(region)[0]:
            return self._fork(y, region, ["unclosed"])
        return End()

    def body(self, text: str, stop: StopReason) -> str:  # noqa: ARG002 - no code stands in these formats
        return ""

    def join(self, results: Sequence[Result]) -> str:
        """Results that nobody has listed, such as those of threads that a writer spawns, numbered in their order."""
        grammar = self._grammar
        texts = [f"{grammar.seeded(n, first=n == 1)} {result.text}" for n, result in enumerate(results, 1)]
        return grammar.listed + "".join(f"{text}{grammar.branched}" for text in texts) + grammar.after

    def answer(self, observation: str) -> str:
        return f"\n{observation}\n"

    def _fork(self, y: str, region: str, repairs: list[str]) -> Spawn:
        """The children that a list asks for, or what becomes of a list that asks for none."""
        grammar = self._grammar
        items, found = self._items(region)
        full = grammar.blocks is not None and self._forked(y) >= grammar.blocks
        wide = grammar.widest is not None and len(items) > grammar.widest
        if full or wide or not items:
            over = Joining(grammar.listed, ends=full or wide or grammar.halts)
            return Spawn((), join=lambda results: over)  # noqa: ARG005 - there are none
        branch = self._branch()
        children = [
            Child(
                context=f"{item.id}: {item.text}",
                inherits=True,
                opening=grammar.listed + grammar.seeded(item.id),
                protocol=branch,
            )
            for item in items
        ]
        return Spawn(tuple(children), join=partial(_joined, grammar, items), repairs=(*repairs, *found))

    def _branch(self) -> Branch:
        """The format of its children."""
        return Branch(self._grammar, start="", end=self._ends[0], opening=self._opening)

    def _region(self, y: str) -> tuple[str, bool]:
        """The text in which a list may stand, since the list before; and whether one is begun there."""
        grammar = self._grammar
        region = y[y.rfind(grammar.listed) + len(grammar.listed) :] if grammar.listed in y else y
        _, opened, listed = region.rpartition(f"<{grammar.listing}>")
        if opened:
            return listed, True
        return (region.rpartition(f"<{grammar.whole}>")[2] if grammar.whole else region), False

    def _items(self, region: str) -> tuple[list[Item], list[str]]:
        """The items in a text, and the repairs that they need."""
        tag, items, repairs = self._grammar.item, list[Item](), dict[str, None]()
        taken: set[str] = set()
        for body, closed in _bodies(region, tag):
            number = _NUMBER.match(body)
            text = _TAG.sub("", body[number.end() if number else 0 :]).strip()
            if number is None and not text:
                continue
            if not closed:
                repairs["unclosed"] = None
            if number is not None and number[1] in taken and self._grammar.doubles == "first":
                repairs["double"] = None
                continue
            if number is None:
                repairs["unnumbered"] = None
            id_ = number[1] if number else next(n for n in map(str, range(len(items) + 1, 10**9)) if n not in taken)
            taken.add(id_)
            items.append(Item(id_, text))
        if [item.id for item in items] != [str(number) for number in range(1, len(items) + 1)]:
            repairs["misnumbered"] = None
        return items, list(repairs)

    def _forked(self, y: str) -> int:
        """How many lists of a thread's own stand in Y; those of its children's text are not counted."""
        depth = count = 0
        for tag in re.findall(rf"</?{self._grammar.branch}>|{self._grammar.listed}", y):
            if tag == self._grammar.listed:
                count += depth == 0
            else:
                depth = max(0, depth + (1 if tag[1] != "/" else -1))
        return count


class Branch(ForkJoin):
    """The format of a child. Its own end comes first among its stop strings: so all backends tell it from others."""

    def __init__(self, grammar: Grammar, *, start: str, end: str, opening: str = "") -> None:
        super().__init__(grammar, start=start, end=end, opening=opening)
        self.stop = (grammar.branched, grammar.listed, *self._ends)

    def read(self, y: str, stop: StopReason) -> Spawn | End:
        if stop == "listen":
            return End()
        region, opened = self._region(y)
        if opened or self._items(region)[0]:
            return self._fork(y, region, [] if opened else ["unopened"])
        return End(closed=stop == "stop")

    def _branch(self) -> Branch:
        return self


def _joined(grammar: Grammar, items: Sequence[Item], results: Sequence[Result]) -> Joining:
    """The text in which children join behind the list of their items.

    A child that never wrote anything, since a limit or its model forbade it, is left out: its parent may write it.
    """
    parts, repairs = [Segment(grammar.listed)], list[str]()
    broke_off = False
    for place, (item, result) in enumerate(zip(items, results, strict=True)):
        if result.failed and not result.y:
            continue
        text, overrun = _within(grammar, result.y)
        repairs += ["overrun"] * overrun
        if (result.how is Ending.failed or not result.closed) and not overrun:
            repairs.append("unclosed")
            broke_off = True
        parts += [
            Segment(grammar.seeded(item.id, first=len(parts) == 1)),
            Segment(text, place),
            Segment(grammar.branched),
        ]
    if len(parts) == 1:
        return Joining(parts)
    if broke_off and grammar.cut is not None:
        return Joining([*parts, Segment(grammar.cut)], ends=True, repairs=tuple(repairs))
    return Joining([*parts, Segment(grammar.after)], repairs=tuple(repairs))


def _within(grammar: Grammar, y: str) -> tuple[str, bool]:
    """What a child has written up to its end, and whether it wrote more."""
    if f"<{grammar.whole or grammar.listing}>" in y or grammar.listed in y:
        return y, False
    ends = [at for tag in grammar.overruns if (at := y.find(tag)) >= 0]
    return (y[: min(ends)], True) if ends else (y, False)


def _bodies(text: str, tag: str) -> Iterable[tuple[str, bool]]:
    """What stands between each pair of tags, and whether the second one is there."""
    _, *pieces = text.split(f"<{tag}>")
    for piece in pieces:
        body, closed, _ = piece.partition(f"</{tag}>")
        yield body, bool(closed)
