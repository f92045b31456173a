"""What an action does at each page: the rules of the published clients, told apart by name.

All of them walk through the same shop. They differ in how they write pages down, in what they let a player click, and
in what they answer to an action that makes no sense.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from thread_envs.webshop.pages import BACK, BUY, DETAILS, NEXT, PREVIOUS, Page, Visit, rich, separated, simple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CLIENTS", "Client"]

_ACTION: Final = re.compile(r"(search|click|think)\[(.*)\]\s*\Z", re.DOTALL)

_LONGEST: Final = 1000  # characters of a query or a name


@dataclass(frozen=True)
class Client:
    """One client's rules.

    `no_click` and `no_action` answer clicks and other actions that are not possible; None shows the page again.
    """

    about: str
    render: Callable[[Page, Visit, int], str] = simple
    shown: int = 3
    """Products that are written down of each page of results, which has up to ten."""
    turns_pages: bool = True
    searches_anywhere: bool = False
    lower: bool = False
    """Actions are taken in lower case, so that any case will do."""
    opening: str = "Instruction: {instruction}"
    """The first observation, of `page` and `instruction`."""
    echoes: frozenset[str] = frozenset({"option"})
    """Clicks that are answered by "You have clicked …" instead of the page: on an option, on `< Prev`."""
    no_click: str | None = "Invalid action!"
    no_action: str | None = "Invalid action!"

    def read(self, action: str) -> tuple[str, str]:
        """An action's kind (`search`, `click`, `think`, or empty where it is none of these) and its argument."""
        found = _ACTION.match(action.strip())
        if found is None or not found[2].strip() or len(found[2]) > _LONGEST:
            return "", ""
        return found[1], found[2].strip().lower() if self.lower else found[2].strip()

    def refusal(self, kind: str, argument: str) -> str | None:
        """The answer to an action that is not possible; None where the page is to be shown again."""
        answer = self.no_click if kind == "click" else self.no_action
        return answer.replace("{}", argument) if answer else None

    def echo(self, before: Visit, argument: str) -> str | None:
        """The answer to a click that is carried out without showing the page it leads to, if it is one."""
        kind = "previous" if argument == PREVIOUS else "option" if before.place == "item" else ""
        plain = argument not in {BACK, BUY, *DETAILS}
        return f"You have clicked {argument}." if plain and kind in self.echoes else None

    def follow(self, page: Page, visit: Visit, kind: str, argument: str) -> Visit | None:
        """Where an action leads; None where it is not possible at this page."""
        if kind == "search" and (self.searches_anywhere or visit.place == "search"):
            return Visit("results", argument, seen=visit.seen)
        if kind != "click" or visit.place == "done":
            return None
        names = {BACK, NEXT, PREVIOUS, BUY, *DETAILS, *page.products}
        name = {name.lower(): name for name in names}.get(argument, argument) if self.lower else argument
        if name in {BACK, NEXT, PREVIOUS}:
            return self._turned(page, visit, name)
        if visit.place == "results" and name in page.products:
            return replace(visit, place="item", asin=name, chosen={}, seen=visit.seen | {name})
        if visit.place == "item":
            return _at_item(page, visit, name)
        return None

    def _turned(self, page: Page, visit: Visit, name: str) -> Visit | None:
        if name not in page.buttons:
            return None
        if name == BACK:
            return Visit(seen=visit.seen)
        if visit.place == "results":
            number = visit.number + (1 if name == NEXT else -1)
            return replace(visit, number=number) if self.turns_pages else None
        if visit.place == "detail":
            return replace(visit, place="item", detail="")
        return replace(visit, place="results", asin="", chosen={})


def _at_item(page: Page, visit: Visit, name: str) -> Visit | None:
    if name in page.options:
        return replace(visit, chosen={**visit.chosen, page.options[name]: name})
    if name == BUY:
        return replace(visit, place="done")
    return replace(visit, place="detail", detail=name) if name in page.buttons else None


_TEXT = Client(
    "WebShop's own environment in its mode `text`",
    separated,
    searches_anywhere=True,
    lower=True,
    opening="{page}",
    echoes=frozenset(),
    no_click=None,
    no_action=None,
)
CLIENTS: Final[Mapping[str, Client]] = {
    "react": Client("ReAct's simple text, with the pages of results that its own client did not turn"),
    "thread": Client(
        "the client in THREAD's published runner",
        turns_pages=False,
        echoes=frozenset({"option", "previous"}),
        no_click="You have clicked {}.",
        no_action="Nothing happens.",
    ),
    "text": _TEXT,
    "text_rich": replace(_TEXT, about="WebShop's own environment in its mode `text_rich`", render=rich),
}
