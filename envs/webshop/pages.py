"""Pages of the shop, and the texts that the published clients make of them.

A page is a row of elements: buttons, options, links to products, and plain text. The local shop composes pages, and the
pages of a server are parsed into the same rows, so one set of clients reads both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BACK",
    "BUY",
    "DETAILS",
    "NEXT",
    "PREVIOUS",
    "SCORE",
    "Element",
    "Page",
    "Visit",
    "rich",
    "separated",
    "simple",
    "view",
]

BACK = "Back to Search"
NEXT = "Next >"
PREVIOUS = "< Prev"
BUY = "Buy Now"
DETAILS = ("Description", "Features", "Reviews", "Attributes")
SCORE = "Your score (min 0.0, max 1.0)"


class Element(NamedTuple):
    """A piece of visible text and what it is."""

    kind: Literal["button", "option", "product", "text"]
    text: str


@dataclass(frozen=True)
class Page:
    """What a page shows, in its order."""

    elements: tuple[Element, ...]

    @cached_property
    def buttons(self) -> frozenset[str]:
        return frozenset(text for kind, text in self.elements if kind == "button")

    @cached_property
    def products(self) -> tuple[str, ...]:
        return tuple(text for kind, text in self.elements if kind == "product")

    @cached_property
    def options(self) -> Mapping[str, str]:
        """The name of the choice that each option belongs to; the last one, where several offer the same."""
        names: dict[str, str] = {}
        name = ""
        for kind, text in self.elements:
            if kind == "text":
                name = text.strip()
            elif kind == "option":
                names[text] = name
        return names

    @cached_property
    def instruction(self) -> str:
        """The text that follows the heading of the instruction; empty where there is none."""
        texts = [text.strip() for kind, text in self.elements if kind == "text"]
        place = next((place for place, text in enumerate(texts) if text == "Instruction:"), len(texts))
        return texts[place + 1] if place + 1 < len(texts) else ""

    @cached_property
    def score(self) -> float | None:
        """The score that the page reports, from 0 to 1; None where it reports none."""
        texts = [text.strip() for kind, text in self.elements if kind == "text"]
        if SCORE not in texts[:-1]:
            return None
        try:
            return float(texts[texts.index(SCORE) + 1])
        except ValueError:
            return None


@dataclass(frozen=True)
class Visit:
    """Where in the shop an episode is. It names its page completely, as the URLs of a WebShop server do."""

    place: Literal["search", "results", "item", "detail", "done"] = "search"
    query: str = ""
    number: int = 1
    """The page of results."""
    asin: str = ""
    chosen: Mapping[str, str] = field(default_factory=dict[str, str])
    """Options chosen, by the name of the choice."""
    detail: str = ""
    """Which of `DETAILS` is shown."""
    seen: frozenset[str] = frozenset()
    """Products opened so far."""


def simple(page: Page, visit: Visit, shown: int) -> str:
    """The text of ReAct's client, which THREAD's runner uses too.

    Below the search page the instruction is left out, and of a page of results only the first `shown` products stay.
    """
    if page.score is not None:
        return f"{SCORE}: {page.score}"
    lines: list[str] = []
    texts = products = since = 0
    for kind, text in page.elements:
        if kind == "button":
            line = f"\n[{text}] "
        elif kind == "option":
            line = f"[[{text}]]" if text in visit.chosen.values() else f"[{text}]"
        elif kind == "product":
            line = f"\n[{text}] " if products < shown else ""
            products, since = products + 1, 0
        else:
            hidden = (texts < 2 and visit.place != "search") or (since <= 2 and products > shown)
            line = "" if hidden else f"\n{text} "
            texts += 1
        since += 1
        lines.append(line)
    return "".join(lines).strip()


def separated(page: Page, visit: Visit, shown: int) -> str:  # noqa: ARG001
    """The text of WebShop's own environment in its mode `text`."""
    return " [SEP] ".join(text.strip() for _, text in page.elements)


def rich(page: Page, visit: Visit, shown: int) -> str:  # noqa: ARG001
    """The text of WebShop's own environment in its mode `text_rich`."""
    marks = json.dumps(dict(visit.chosen))
    top, lines = "", ""
    for kind, text in page.elements:
        if kind == "button":
            line = f"[button] {text} [button_]"
        elif kind == "option" and f'"{text}"' in marks:
            line, top = f"  [clicked button] {text} [clicked button_]", f"You have clicked {text}.\n{top}"
        elif kind == "option":
            line = f"  [button] {text} [button_]"
        elif kind == "product":
            line = (
                f"\n[clicked button] {text} [clicked button_]" if text in visit.seen else f"\n[button] {text} [button_]"
            )
        else:
            line = text
        lines += f"{line}\n"
    return top + lines


def view(page: Page, visit: Visit) -> str:
    """A page as a person reads it: all results in a line each, chosen options marked."""
    if visit.place == "results":
        return "\n".join([f"{_cut(visit.query, 80)}: page {visit.number}", *_rows(page)])
    if visit.place != "item":
        texts = [text for kind, text in page.elements if kind == "text"]
        return "\n".join(_cut(text, 200) for text in (texts[2:] if visit.place == "detail" else texts))
    choices: dict[str, list[str]] = {}
    for value, name in page.options.items():
        choices.setdefault(name, []).append(f"({value})" if visit.chosen.get(name) == value else value)
    texts = [text for kind, text in page.elements if kind == "text" and text not in choices]
    lines = [f"{name}: {_cut(' · '.join(values), 200)}" for name, values in choices.items()]
    return "\n".join([visit.asin, *(_cut(text, 100) for text in texts[2:]), *lines])


def _rows(page: Page) -> list[str]:
    texts = [place for place, element in enumerate(page.elements) if element.kind == "product"]
    rows = [[element.text for element in page.elements[place : place + 3]] for place in texts]
    return [f"{row[0]}  {row[-1]:>8}  {_cut(row[1], 70)}" for row in rows if len(row) == 3]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
