"""Methods: ways of playing the same tasks with the same engine, models and environments, to be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.bench.methods.adapt import Adapt
from thread_cli.bench.methods.base import Method
from thread_cli.bench.methods.direct import Direct
from thread_cli.bench.methods.plan_and_execute import PlanAndExecute
from thread_cli.bench.methods.react import React
from thread_cli.bench.methods.self_consistency import SelfConsistency
from thread_cli.bench.methods.thread import Thread
from thread_cli.bench.methods.variants import prompt_of, with_examples, without_variables
from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["METHODS", "Method", "method", "prompt_of", "with_examples", "without_variables"]

METHODS: Final[Mapping[str, Method]] = {
    method.name: method for method in (Thread(), React(), PlanAndExecute(), Adapt(), Direct(), SelfConsistency())
}


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
