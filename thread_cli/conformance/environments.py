"""Requirements on every adapter, as checks that run against the adapter itself: `thread envs check NAME`.

The checks play the first tasks of the default split. The actions are those of the adapter's own teacher where it has
one, else its attribute `samples`, a sequence of actions for the first task, else words that any environment can answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thread_cli.assembly.environments import open_environment
from thread_cli.conformance.environment_case import PATIENCE, Case
from thread_cli.conformance.environment_checks import CHECKS
from thread_cli.conformance.verdicts import Failure, NotApplicable, Verdict, judged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

__all__ = ["CHECKS", "Failure", "NotApplicable", "Verdict", "check"]


async def check(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    only: Collection[str] | None = None,
    unsafe_python: bool = False,
) -> AsyncIterator[Verdict]:
    """Put an adapter to all checks, one after the other.

    Args:
        name: of the adapter's entry point.
        options: keyword arguments of the adapter, `seed` among them.
        only: names of the checks to run; None for all.
        unsafe_python: as for `thread run`; only for environments whose threads compute with data.

    Raises:
        UserError: the adapter cannot be opened with these options at all.
    """
    case = Case(name, {"seed": 0, **(options or {})}, unsafe_python)
    await open_environment(name, case.options).close()
    for what, holds in CHECKS:
        if only is None or what in only:
            yield await judged(what, holds(case), PATIENCE)
