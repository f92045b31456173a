"""What a session holds besides its names and survives it all the same: random numbers, decimal contexts, modules.

Modules are compared with how they were when the session began; names that code bound in them anew are kept. What lies
deeper in them is not.
"""

from __future__ import annotations

import decimal
import random
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from thread_cli.interpreters.tame import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["State"]

_CONTEXT: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_WATCHED: Final = [*MODULES, "contextlib", "csv", "io", "numbers", "os", "pprint", "time", "traceback", "types"]


class State:
    """The state of the modules of this process, as it was when this object was made."""

    def __init__(self) -> None:
        self._chance = random.getstate()
        self._context = _context()
        self._modules = {name: dict(vars(module)) for name in _WATCHED if (module := sys.modules.get(name)) is not None}

    def changes(self, *, modules: bool) -> dict[str, Any]:
        """What has changed since; with `modules` also names in modules."""
        found: dict[str, Any] = {}
        if (chance := random.getstate()) != self._chance:
            found["random"] = chance
        if (context := _context()) != self._context:
            found["decimal"] = context
        if modules and (changed := dict(self._changed())):
            found["modules"] = changed
        return found

    def set(self, changes: dict[str, Any]) -> None:
        """Bring changes about that another session told."""
        if "random" in changes:
            random.setstate(changes["random"])
        for name, value in changes.get("decimal", {}).items():
            setattr(decimal.getcontext(), name, value)
        for name, values in changes.get("modules", {}).items():
            vars(sys.modules[name]).update(values)

    def untouched(self) -> bool:
        """Whether all modules are as they were."""
        return not next(self._changed(), None)

    def reset(self) -> None:
        """Set random numbers and contexts back to where they were."""
        random.setstate(self._chance)
        for name, value in self._context.items():
            setattr(decimal.getcontext(), name, value)

    def _changed(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, before in self._modules.items():
            now = vars(sys.modules.get(name) or ModuleType(name))
            changed = {
                key: value
                for key, value in now.items()
                if before.get(key, self) is not value and type(value) is not ModuleType and not key.startswith("__")
            }
            if changed:
                yield name, changed


def _context() -> dict[str, Any]:
    context = decimal.getcontext()
    told: dict[str, Any] = {name: getattr(context, name) for name in _CONTEXT}
    return told | {kind: dict(getattr(context, kind)) for kind in ("flags", "traps")}
