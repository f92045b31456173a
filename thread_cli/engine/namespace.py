"""The variables of one thread, and their copies in children and parents.

A child starts with a copy of its parent's names. At a join, the children's names fill in those that the parent has not
bound itself, in spawn order; names that the parent's own code bound keep the parent's values, also those that it bound
while a child in the background ran.

The engine's own names (`task`, `observation`) are known to every thread. Code may bind them like any other name, for
the rest of its own thread; neither its children nor its parent ever see such a value, only what the engine last told.
What a parent was told itself while a child ran stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.interpreter import Names
from thread_cli.protocols.values import spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Namespace", "as_text"]

_REFERENCE = re.compile(r"\{([^\W\d]\w*)\}")
_LONGEST_TEXT = 50_000  # characters
_NONE: Final[dict[str, None]] = {}
"""Stands for the names of a thread that has none, as most threads have; it stays empty."""


class Namespace:
    """Names and values of one thread."""

    __slots__ = ("_changed", "_engine_values", "_news", "_own", "_since", "_tellings", "values")

    def __init__(
        self, values: Mapping[str, Any] | None = None, engine_values: Mapping[str, Any] | None = None, since: int = 0
    ) -> None:
        self._engine_values: dict[str, Any] = dict(engine_values or {})
        """The engine's values, whatever values the thread's code has bound to these names."""
        self.values = Names(values, values.kept if isinstance(values, Names) else None)
        for name, value in self._engine_values.items():
            if self.values.get(name, self) is not value:  # most often the value is there already
                self._put(name, value)
        self._own: dict[str, None] = _NONE
        """Bound by the thread's own code, oldest binding first."""
        self._changed: dict[str, None] = _NONE
        """Bound by code, here or below: the parent gets these at the join."""
        self._news: dict[str, None] = _NONE
        """Told by the engine, here or below."""
        self._tellings = 0
        """How often the engine has told this thread something."""
        self._since = since
        """How often it had told its parent something when this thread began."""

    def child(self) -> Namespace:
        """A child's namespace: a copy, in which no name counts as the child's own yet."""
        return Namespace(self.values, self._engine_values, self._tellings)

    def bind(self, names: Mapping[str, Any], gone: Iterable[str] = ()) -> None:
        """Take over the names that the thread's own code bound, and those that it deleted."""
        if names and self._own is _NONE:
            self._own = {}
        for name, value in names.items():
            self._own.pop(name, None)
            self._own[name] = None
            self._adopt(name, value)
        if isinstance(names, Names):
            self.values.kept |= names.kept
        for name in gone:
            self._forget(name)

    def tell(self, name: str, value: Any) -> None:
        """Bind a name on the engine's behalf: it belongs to no thread, and the newest value wins."""
        self._engine_values[name] = value
        self._put(name, value)
        self._note(name)
        self._tellings += 1

    def join(self, children: Iterable[Namespace]) -> None:
        """Merge the names that children bound, earlier children first, so that among children the last one wins."""
        for child in children:
            for name in child._changed:
                if name not in self._own and name not in child._engine_values:
                    self._adopt(name, child.values[name])
                    if name in child.values.kept:
                        self.values.kept[name] = child.values.kept[name]
            for name in child._news if child._since == self._tellings else ():
                self._engine_values[name] = child._engine_values[name]
                self._note(name)
                if name not in self._own:
                    self._put(name, child._engine_values[name])

    def _note(self, name: str) -> None:
        """A name was told by the engine, here or below."""
        if self._news is _NONE:
            self._news = {}
        self._news[name] = None

    def _put(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.values.kept.pop(name, None)

    def _adopt(self, name: str, value: Any) -> None:
        self._put(name, value)
        if self._changed is _NONE:
            self._changed = {}
        self._changed[name] = None

    def _forget(self, name: str) -> None:
        self.values.pop(name, None)
        self.values.kept.pop(name, None)
        self._own.pop(name, None)
        self._changed.pop(name, None)

    def substitute(self, text: str) -> str:
        """`text` with `{name}` replaced by the value of each name that is bound.

        Raises:
            MalformedOutput: the result would be longer than any text should be.
        """
        if "{" not in text:
            return text
        names = [name for name in _REFERENCE.findall(text) if name in self.values]
        try:
            texts = {name: as_text(self.values[name]) for name in dict.fromkeys(names)}
        except (ValueError, RecursionError):
            raise MalformedOutput(f"a value of {', '.join(dict.fromkeys(names))} cannot be written out") from None
        if sum(len(texts[name]) for name in names) > _LONGEST_TEXT:
            raise MalformedOutput(f"the values of {', '.join(texts)} are too long to be written out")
        return _REFERENCE.sub(lambda match: texts.get(match[1], match[0]), text)

    def unbound(self, text: str) -> list[str]:
        """Names that `text` refers to and nothing is bound to."""
        names = _REFERENCE.findall(text) if "{" in text else ()
        return [name for name in dict.fromkeys(names) if name not in self.values]

    def put_back(self, text: str) -> str:
        """`text` with values of the thread's own strings replaced by `{name}`, the newest binding first.

        A value counts where it stands as words of its own, also with `_` for its spaces (THREAD's observation rule).
        """
        for name in reversed(self._own):
            value = self.values[name]
            if isinstance(value, str) and value.strip() and len(value) <= len(text):
                forms = "|".join(re.escape(form) for form in dict.fromkeys((value, value.replace(" ", "_"))))
                text = re.sub(rf"(?<=[ :])(?:{forms})(?!\w)", lambda _, name=name: f"{{{name}}}", text)
        return text


def as_text(value: Any) -> str:
    """A value as it is written into text: strings as they are, all else as Python spells it."""
    return value if isinstance(value, str) else spelled(value)
