"""The two back ends: the shop in this process, and one behind HTTP. Both turn a visit into its page."""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote, urlsplit

from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_envs.webshop.pages import BACK, BUY, DETAILS, NEXT, PREVIOUS, SCORE, Element, Page
from thread_envs.webshop.reward import reward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from thread_envs.webshop.catalogue import Catalogue
    from thread_envs.webshop.pages import Visit
    from thread_envs.webshop.products import Goal, Product

__all__ = ["LONGEST", "LocalShop", "RemoteShop", "Shop", "parsed"]

LONGEST: Final = 86_400
"""Seconds that a server may be given for a page."""
_PER_PAGE: Final = 10


class Shop(Protocol):
    """Serves pages."""

    async def page(self, session: str, visit: Visit) -> Page:
        """The page at which `visit` is, for the task that `session` names.

        Raises:
            EnvironmentFailed: the shop cannot serve it.
        """
        ...


class LocalShop:
    """The shop in this process. `attributes` adds the button that shows a product's attributes."""

    def __init__(self, catalogue: Catalogue, goal: Callable[[str], Goal], *, attributes: bool = False) -> None:
        self._catalogue = catalogue
        self._goal = goal
        self._details = DETAILS if attributes else DETAILS[:3]

    async def page(self, session: str, visit: Visit) -> Page:
        goal = self._goal(session)
        head = [_text("Instruction: "), _text(goal.instruction)]
        if visit.place == "search":
            return Page((_text("WebShop"), *head, _button("Search")))
        if visit.place == "results":
            return Page((*head, *self._results(visit)))
        product = self._product(visit.asin)
        if visit.place == "item":
            return Page((*head, *self._item(product)))
        if visit.place == "detail":
            return Page((*head, _button(BACK), _button(PREVIOUS), *map(_text, _detail(product, visit.detail))))
        score = reward(product, visit.chosen, goal, self._product(goal.asin))
        return Page((_text("Thank you for shopping with us!"), _text(SCORE), _text(str(score))))

    def _product(self, asin: str) -> Product:
        product = self._catalogue.product(asin)
        if product is None:
            raise EnvironmentFailed(f"the shop has no product {asin!r}")
        return product

    def _results(self, visit: Visit) -> Iterable[Element]:
        found = self._catalogue.search(visit.query)
        yield _button(BACK)
        yield _text(f"Page {visit.number} (Total results: {len(found)})")
        if visit.number > 1:
            yield _button(PREVIOUS)
        yield _button(NEXT)
        for asin in found[_PER_PAGE * (visit.number - 1) : _PER_PAGE * visit.number]:
            product = self._product(asin)
            yield Element("product", asin)
            yield _text(product.title)
            yield _text(product.price_tag)

    def _item(self, product: Product) -> Iterable[Element]:
        yield _button(BACK)
        yield _button(PREVIOUS)
        for name, values in product.options.items():
            yield _text(name)
            yield from (Element("option", value) for value in values)
        yield _text(product.title)
        yield _text(f"Price: {product.price_tag}")
        yield _text("Rating: N.A.")
        yield from map(_button, (*self._details, BUY))


def _detail(product: Product, detail: str) -> list[str]:
    texts = {
        "Description": [product.description],
        "Features": list(product.bullets),
        "Reviews": ["No reviews"],
        "Attributes": [*product.attributes, product.category, product.query, product.product_category],
    }[detail]
    return [text for text in texts if text.strip()] or [f"No {detail.lower()}"]


def _text(text: str) -> Element:
    return Element("text", " ".join(text.split()))


def _button(text: str) -> Element:
    return Element("button", text)


class RemoteShop:
    """A WebShop server's web pages. `timeout` is in seconds, for each page."""

    def __init__(self, url: str, timeout: float) -> None:
        if not _is_address(url):
            raise UserError(f"webshop: {url!r} is no address of a WebShop server: write it as http://localhost:3000")
        self._url = url.rstrip("/")
        self._timeout = timeout

    async def page(self, session: str, visit: Visit) -> Page:
        return parsed(await asyncio.to_thread(self._fetch, self._url + _path(session, visit)))

    def _fetch(self, url: str) -> str:
        try:
            with urllib.request.urlopen(url, timeout=self._timeout) as answer:  # noqa: S310 - the scheme was checked
                return answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                raise EnvironmentFailed(f"the WebShop server answers {error.code} {error.reason} for {url}") from None
        except TimeoutError:
            raise EnvironmentFailed(f"the WebShop server did not answer within {self._timeout:g} s: {url}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                reason = f"no answer within {self._timeout:g} s"
            raise EnvironmentFailed(f"the WebShop server at {self._url} cannot be used: {reason}") from None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _path(session: str, visit: Visit) -> str:
    """The path at which WebShop's server has the page."""
    # A slash in a query would end it there, and to the search engine it is a blank.
    query = visit.query.replace("/", " ")
    options = repr(dict(visit.chosen))
    parts = {
        "search": [session],
        "results": ["search_results", session, query, visit.number],
        "item": ["item_page", session, visit.asin, query, visit.number, options],
        "detail": ["item_sub_page", session, visit.asin, query, visit.number, visit.detail, options],
        "done": ["done", session, visit.asin, options],
    }[visit.place]
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def parsed(html: str) -> Page:
    """A page from the HTML that WebShop's server writes."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return Page(tuple(parser.elements))


class _Parser(HTMLParser):
    """Tells visible texts by the tag right above them, as the published clients do."""

    _VOID: Final = frozenset(
        {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
    )
    _HIDDEN: Final = frozenset({"style", "script", "head", "title"})

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self._VOID:
            self._open.append((tag, dict(attrs).get("class") == "product-link"))

    def handle_endtag(self, tag: str) -> None:
        places = [place for place, (name, _) in enumerate(self._open) if name == tag]
        if places:
            del self._open[places[-1] :]

    def handle_data(self, data: str) -> None:
        tag, product = self._open[-1] if self._open else ("", False)
        if data.strip() and tag not in self._HIDDEN:
            kind = "button" if tag == "button" else "option" if tag == "label" else "product" if product else "text"
            self.elements.append(Element(kind, data.strip() if kind == "option" else " ".join(data.split())))
