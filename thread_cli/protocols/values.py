"""Values of model-written code, as text that does not depend on the hash seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["containers", "holds_set", "spelled", "with_shared"]


def spelled(value: Any) -> str:
    """`value` as Python spells it, with the items of sets in an order that does not depend on the hash seed.

    Raises:
        ValueError, RecursionError: it holds an integer too long, or is nested too deeply, to be spelled.
    """
    match value:
        case set() | frozenset():
            items = sorted(map(spelled, cast("set[Any]", value)))
            listed = "{" + ", ".join(items) + "}" if items else "set()"
            return f"frozenset({listed if items else ''})" if isinstance(value, frozenset) else listed
        case list():
            return "[" + ", ".join(map(spelled, cast("list[Any]", value))) + "]"
        case tuple():
            items = [spelled(item) for item in cast("tuple[Any, ...]", value)]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        case dict():
            pairs = cast("dict[Any, Any]", value).items()
            return "{" + ", ".join(f"{spelled(key)}: {spelled(inner)}" for key, inner in pairs) + "}"
        case float() if not math.isfinite(value):
            return f"float('{value}')"
        case _:
            return repr(value)


def holds_set(value: Any) -> bool:
    """Whether `value` contains a set, however deep, and can be spelled."""
    found = False
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for pair in cast("dict[Any, Any]", item).items():
                pending.extend(pair)
        elif isinstance(item, (list, tuple, set, frozenset)):
            found = found or isinstance(item, (set, frozenset))
            pending.extend(cast("list[Any]", item))
        elif not isinstance(item, (str, int, float, bytes, type(None))):
            return False
    return found


def containers(value: Any) -> set[int]:
    """The ids of the lists, dictionaries and sets in `value`, however deep."""
    found: set[int] = set()
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple) or (isinstance(item, (list, dict, set)) and id(cast("Any", item)) not in found):
            if not isinstance(item, tuple):
                found.add(id(cast("Any", item)))
            if isinstance(item, dict):
                pending.extend(cast("dict[Any, Any]", item).values())
            else:
                pending.extend(cast("list[Any]", item))
    return found


def with_shared(some: dict[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The given names, and all others that share a list, a dictionary or a set with them."""
    held = {name: ids for name, value in names.items() if (ids := containers(value))}
    found = dict(some)
    pending = list(some)
    while pending:
        ids = held.pop(pending.pop(), set[int]())
        others = [name for name, theirs in held.items() if not ids.isdisjoint(theirs)]
        found |= {name: names[name] for name in others if name not in found}
        pending += others
    return found
