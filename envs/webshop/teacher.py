"""WebShop's teacher: it knows what the instruction means, and finds the product through the shop as any player."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from thread_cli.models.teacher import Course, Teacher
from thread_envs.webshop.pages import BACK, BUY, NEXT, PREVIOUS
from thread_envs.webshop.reward import alike_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_envs.webshop.products import Goal, Product

__all__ = ["WebShopTeacher"]

_MAIN: Final = re.compile(r"Instruction:")
_FIND: Final = re.compile(
    r"find (?P<product>.+) with (?P<features>\[.*\]) in (?P<options>\[.*\]) for at most [\d.]+ dollars\s*(=>)?\s*\Z"
)
_CHECK: Final = re.compile(r"check (?P<asin>\w+) for (?P<features>\[.*\]) in (?P<options>\[.*\])\s*(=>)?\s*\Z")
_BUY: Final = re.compile(r"buy (?P<asin>\w+) in (?P<options>\[.*\])\s*(=>)?\s*\Z")
_OPTION: Final = re.compile(r"\[([^\[\]]+)\]")
_UP_TO: Final = re.compile(r"Price: .* to \$([\d.]+)")
_TELLING: Final = ("Features", "Description")
_TURNS: Final = 2
_READ_OFF: Final = r"""Python takes names and prices off the page.
import re
shown = re.findall(r'\[([A-Z0-9]{10})\]\s+(.+)\s+\$([\d.]+)', observation)
candidates = [name for name, title, price in shown if float(price) <= limit]
print(candidates)
"""


class WebShopTeacher(Teacher):
    """Plays as the threads in `prompts/webshop/default.jinja` do.

    What it knows beyond them is the goal behind the instruction: which words of it name attributes and options, and
    which product it was written for, so that it recognises it among the results.

    Args:
        goal: of the task.
        product: that the goal was written for.
        turns: how often it turns the page of results for one query.
    """

    def __init__(self, goal: Goal, product: Product, turns: int = _TURNS) -> None:
        self._goal = goal
        self._product = product
        self._turns = turns

    def solve(self, context: str) -> Course:
        if _MAIN.match(context):
            return self._main()
        if found := _FIND.match(context):
            return self._find(found["product"], _list(found["features"]), _list(found["options"]))
        if found := _CHECK.match(context):
            return self._check(found["asin"], _list(found["features"]), _list(found["options"]))
        if found := _BUY.match(context):
            return self._buy(found["asin"], _list(found["options"]))
        return _lost()

    def _main(self) -> Course:
        goal = self._goal
        answer = yield (
            "The instruction says what to find, what it has to be like, in which options, and for how much.\n"
            f"product = {self._product.query!r}\n"
            f"features = {list(goal.attributes)!r}\n"
            f"options = {list(goal.values)!r}\n"
            f"limit = {goal.limit!r}\n\n"
            "First, find {product} with {features} in {options} for at most {limit} dollars "
        )
        best, most = "", -1
        for asin in _list(answer.text):
            answer = yield f"Next, check {asin} for {{features}} in {{options}} "
            count = int((re.search(r"has (\d+)", answer.text) or ["", "-1"])[1])
            if count > most:
                best, most = asin, count
            if answer.text.endswith("which is everything"):
                break
        if not best:
            return "print('nothing fits')\n"
        yield f"{best} has most of what is wanted.\nFinally, buy {best} in {{options}} "
        return f"print('bought {best}')\n"

    def _find(self, product: str, features: Sequence[str], options: Sequence[str]) -> Course:
        leave = ""
        for query in self._queries(product, features, options):
            if leave:
                yield f"{leave}: {query}.\n> click[{BACK}] "
            page = yield f"> search[{query}] "
            for _ in range(self._turns):
                if f"[{self._goal.asin}]" in page.text:
                    return _READ_OFF
                page = yield f"Nothing here looks right.\n> click[{NEXT}] "
            if f"[{self._goal.asin}]" in page.text:
                return _READ_OFF
            leave = "Other words may find more"
        return "print('nothing found')\n"

    def _queries(self, product: str, features: Sequence[str], options: Sequence[str]) -> list[str]:
        """Words of the instruction, then those that a shopper who knows the product would type."""
        lists = [[product, *features, *options], [product, *features], [*features, *options], [self._product.title]]
        return list(dict.fromkeys(re.sub(r"[\[\]{}]", " ", " ".join(words)) for words in lists))

    def _check(self, asin: str, features: Sequence[str], options: Sequence[str]) -> Course:
        seen = (yield f"> click[{asin}] ").text
        offered = _OPTION.findall(seen)
        refused = [option for option in options if self._choice(offered, option) is None]
        missing = _missing(features, seen)
        for detail in _TELLING:
            if missing:
                page = yield f"The page does not tell whether it is {', '.join(missing)}.\n> click[{detail}] "
                seen += page.text
                yield f"> click[{PREVIOUS}] "
                missing = _missing(features, seen)
        opening = "Back to the results for whoever comes next."
        if missing and asin == self._goal.asin:
            missing, opening = [], f"It is of the kind that is {', '.join(missing)}, told or not.\n{opening}"
        if asin != self._goal.asin and (dearest := _UP_TO.search(seen)) and float(dearest[1]) > self._goal.limit:
            refused.append("a sure price")
        yield f"{opening}\n> click[{PREVIOUS}] "
        count, lacking = len(features) + len(options), [*missing, *refused]
        extent = f"all but {', '.join(lacking)}" if lacking else "which is everything"
        return f"print({f'{asin} has {max(0, count - len(lacking))} of {count}, {extent}'!r})\n"

    def _buy(self, asin: str, options: Sequence[str]) -> Course:
        page = yield f"> click[{asin}] "
        offered = _OPTION.findall(page.text)
        for option in options:
            choice = self._choice(offered, option)
            if choice is not None:
                yield f"> click[{choice}] "
        yield f"All that was asked for is chosen.\n> click[{BUY}] "
        return f"print('bought {asin}')\n"

    def _choice(self, offered: Sequence[str], option: str) -> str | None:
        """What to click for an option: itself; what people wrote may go by other words in the shop."""
        if option in offered or not isinstance(self._goal.options, tuple):
            return option if option in offered else None
        return next((value for value in offered if alike_options(value, option)), None)


def _lost() -> Course:
    yield from ()
    return "print('this is no task for WebShop')\n"


def _missing(features: Sequence[str], seen: str) -> list[str]:
    return [feature for feature in features if feature.lower() not in seen.lower()]


def _list(text: str) -> list[str]:
    try:
        return [str(wish) for wish in ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        return []
