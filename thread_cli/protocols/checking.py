"""Checks text in fork-join formats as the released checkers do: a text with blocks is right in all of them, or wrong.

The option `paper` of a format lifts a rule that the paper's engine itself would break: no blanks between ThreadWeaver's
threads, at most five plans of NPR.

The checks are of the text alone, so they hold for recorded text, and for text that no engine has carried out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

__all__ = ["npr_problems", "weaver_problems"]

_NUMBERED: Final = re.compile(r"\s*(\d+(?:\.\d+)*)\s*:")
_WEAVER: Final = ("Parallel", "Outlines", "Outline", "Thread", "Conclusion")
_NPR: Final = ("guideline", "plan", "step", "takeaway")
_WIDEST: Final = 50
"""Threads of the widest block that ThreadWeaver's checker takes."""
_WIDEST_NPR: Final = 5
"""Plans of the longest guideline that NPR's released engine carries out."""


class _Element(NamedTuple):
    """A pair of tags: the text since the element before, and the text in between."""

    name: str
    gap: str
    inner: str


class _Read(NamedTuple):
    """A text divided into elements, with the text after the last one, and the faults of the tags."""

    elements: list[_Element]
    rest: str
    problems: list[str]

    def named(self, name: str) -> list[_Element]:
        return [element for element in self.elements if element.name == name]


def weaver_problems(text: str, options: Container[str] = ()) -> tuple[str, ...]:
    """The faults of the blocks of a text in ThreadWeaver's format, each in a word or two; empty: there are none.

    With the option `paper` there may be blanks between threads: the paper's engine begins each thread on a line of its
    own. All other rules are the released checker's, with any of the format's options.
    """
    found = _read(text, _WEAVER)
    problems = [*found.problems]
    for element in found.elements:
        problems += _block(element.inner, options) if element.name == "Parallel" else ["a tag outside a block"]
    return tuple(dict.fromkeys(problems))


def npr_problems(text: str, options: Container[str] = ()) -> tuple[str, ...]:
    """The same for NPR's format. With the option `paper`, a guideline may have more than five plans."""
    found = _read(text, _NPR)
    problems = [*found.problems]
    blocks: list[list[_Element]] = []
    for element in found.elements:
        if element.name == "guideline":
            blocks.append([element])
        elif element.name == "plan" or not blocks:
            problems.append("a tag outside a block")
        else:
            blocks[-1].append(element)
    for listing, *others in blocks:
        steps = [element for element in others if element.name == "step"]
        ends = [element for element in others if element.name == "takeaway"]
        problems += _pairs(listing, "plan", steps, None if "paper" in options else _WIDEST_NPR)
        problems += _conclusion(others, ends, needed=True)
        gaps = others[: others.index(ends[0]) + 1] if ends else others
        problems += ["text between threads" for element in gaps if element.gap.strip()]
    return tuple(dict.fromkeys(problems))


def _block(inner: str, options: Container[str]) -> list[str]:
    """The faults within `<Parallel>`."""
    found = _read(inner, _WEAVER)
    problems = [*found.problems]
    names = [element.name for element in found.elements]
    if "<Parallel>" in inner:
        problems.append("nested blocks")
    if "Outline" in names:
        problems.append("an outline outside the list")
    lists, threads = found.named("Outlines"), found.named("Thread")
    if len(lists) != 1:
        return [*problems, "no list of outlines" if not lists else "several lists of outlines"]
    if names[0] != "Outlines":
        problems.append("a thread before the outlines")
    problems += _pairs(lists[0], "Outline", threads, _WIDEST)
    problems += _conclusion(found.elements, found.named("Conclusion"), needed=False)
    if any(element.gap.strip() for element in found.elements) or found.rest.strip():
        problems.append("text between threads")
    if "paper" not in options and any(element.gap and not element.gap.strip() for element in threads[1:]):
        problems.append("blanks between threads")
    return problems


def _pairs(listing: _Element, item: str, threads: Sequence[_Element], widest: int | None) -> list[str]:
    """The faults of the items of a list, at most `widest` of them, and of the threads that belong to them."""
    found = _read(listing.inner, (*_WEAVER, *_NPR))
    items = found.named(item)
    problems = [*found.problems]
    if len(items) < len(found.elements) or any(element.gap.strip() for element in items) or found.rest.strip():
        problems.append("more than items in a list")
    if not items:
        problems.append("an empty list")
    if widest is not None and len(items) > widest:
        problems.append("too many threads")
    if len(items) != len(threads):
        problems.append("as many threads as items are wanted")
    wanted = [str(number) for number in range(1, len(items) + 1)]
    for elements in (items, threads):
        ids = [_NUMBERED.match(element.inner) for element in elements]
        if not all(ids):
            problems.append("no number")
        elif [found[1] for found in ids if found] != wanted[: len(ids)] or len(ids) > len(wanted):
            problems.append("numbers are not 1 to n")
        for element, number in zip(elements, ids, strict=True):
            body = element.inner[number.end() if number else 0 :]
            problems += [] if body.strip() else ["an empty body"]
            problems += ["a tag in a body"] if _TAGS.search(body) else []
    return problems


def _conclusion(elements: Sequence[_Element], ends: Sequence[_Element], *, needed: bool) -> list[str]:
    """The faults of the part in which threads are summed up."""
    if len(ends) > 1:
        return ["several conclusions"]
    if not ends:
        return ["no conclusion"] if needed else []
    problems = [] if elements[-1] is ends[0] else ["something after the conclusion"]
    problems += [] if ends[0].inner.strip() else ["an empty body"]
    return [*problems, *(["a tag in a body"] if _TAGS.search(ends[0].inner) else [])]


_TAGS: Final = re.compile(rf"</?(?:{'|'.join((*_WEAVER, *_NPR))})>")


def _read(text: str, names: Sequence[str]) -> _Read:
    """A text divided into elements of these names, those within others left in their text."""
    tags = list(re.finditer(rf"<(/?)({'|'.join(names)})>", text))
    elements, problems = list[_Element](), list[str]()
    at = place = 0
    while place < len(tags):
        tag, name = tags[place], tags[place][2]
        if tag[1]:
            problems.append("a closing tag alone")
            at, place = tag.end(), place + 1
            continue
        depth, end = 1, place + 1
        while end < len(tags):
            if tags[end][2] == name:
                depth += -1 if tags[end][1] else 1
            if depth == 0:
                break
            end += 1
        closed = end < len(tags)
        problems += [] if closed else ["an open tag"]
        inner = text[tag.end() : tags[end].start() if closed else len(text)]
        elements.append(_Element(name, text[at : tag.start()], inner))
        at, place = tags[end].end() if closed else len(text), end + 1
    return _Read(elements, text[at:], problems)
