"""What a run, or a variant of it, has besides its method: branches of each question, and watchers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from thread_cli.bench.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.bench.plan import Plan
    from thread_cli.bench.suite import Variant

__all__ = ["Ways", "ways_of"]


@dataclass(frozen=True, slots=True)
class Ways:
    """Branches and watchers of all episodes."""

    branches: int | None = None
    """Branches of each question; None for none."""
    watch: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, "Mapping[str, Any]"])
    """The watchers' settings, by name; empty for a watcher with its defaults."""

    @property
    def words(self) -> list[str]:
        """What a name says of them, settings as the command line has them; nothing where there are neither."""
        branches = [] if self.branches is None else [f"{self.branches} branches"]
        watchers = [
            " ".join([name, *(f"{key}={_said(value)}" for key, value in settings.items())])
            for name, settings in self.watch.items()
        ]
        return [*branches, *watchers]


def ways_of(plan: Plan, variant: Variant | None = None) -> Ways:
    """The branches and watchers of a run, or of one of its variants."""
    config = plan.config_of(plan.suite.parts[0], variant)
    way = METHODS.get((variant and variant.method) or plan.method)
    config = config if way is None else way.config(config)
    return Ways(config.branches, {name: config.watchers.get(name, {}) for name in config.watch})


def _said(value: Any) -> str:
    """A setting as JSON; dates, which JSON does not have, as text."""
    return json.dumps(value, ensure_ascii=False, default=str)
