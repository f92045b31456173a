"""Recognises code that leaves no trace in its process once its names are gone.

After such code a session can serve another thread. The rules are strict rather than clever: code that they do not
understand gets a session of its own, which costs some milliseconds and nothing else. They are no part of the
confinement.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MODULES", "leaves_no_trace"]

MODULES: Final = frozenset(
    """bisect calendar collections copy dataclasses datetime decimal enum fractions functools heapq itertools json math
    operator random re statistics string textwrap typing""".split()  # noqa: SIM905 - as a list it would be a page long
)
"""Modules that code may use and yet leave no trace: values that it sets in them are noticed."""
_NO_ATTRIBUTES: Final = (sys.stdlib_module_names - MODULES) | {
    "attrgetter",
    "methodcaller",
    "modules",
    "cache",
    "lru_cache",
}
"""Attributes that lead to other modules, or to caches that outlive the code."""
_NO_NAMES: Final = frozenset(
    """eval exec compile open globals locals vars dir getattr setattr delattr input breakpoint help exit quit memoryview
    copyright credits license""".split()  # noqa: SIM905
)
_SPECIAL: Final = frozenset(
    """__init__ __repr__ __str__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __len__ __iter__ __next__ __getitem__
    __setitem__ __contains__ __add__ __sub__ __mul__ __hash__ __bool__ __call__ __enter__ __exit__ __post_init__
    __name__""".split()  # noqa: SIM905
)


def leaves_no_trace(statements: Iterable[ast.stmt]) -> bool:
    """Whether these statements leave nothing but names."""
    return all(_harmless(node) for statement in statements for node in ast.walk(statement))


def _harmless(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name not in _NO_NAMES and (not name.startswith("__") or name in _SPECIAL)
        case ast.Attribute(attr=name):
            return name not in _NO_ATTRIBUTES and (not name.startswith("_") or name in _SPECIAL)
        case ast.Import(names=names):
            return all(alias.name in MODULES for alias in names)
        case ast.ImportFrom(module=module, names=names):
            return module in MODULES and all(
                alias.name not in _NO_ATTRIBUTES and not alias.name.startswith(("_", "*")) for alias in names
            )
        case ast.FunctionDef(name=name):
            return not name.startswith("__") or name in _SPECIAL
        case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            return False
        case ast.keyword(arg=name):
            return name != "metaclass"
        case _:
            return True
