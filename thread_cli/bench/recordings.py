"""The recorded episodes whose answers a bench run repeats (`--model replay:RUN`)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.bench.journal import Journal
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import at_home
from thread_cli.record import RunFolder

if TYPE_CHECKING:
    from thread_cli.assembly.config import ModelSpec
    from thread_cli.bench.plan import Item
    from thread_cli.bench.suite import Part

__all__ = ["Recordings"]

_PLACES: Final = ("environment", "split", "variant", "epoch", "method")


class Recordings:
    """The episodes of a recorded run: of a bench run found by their places in its suite, of any other by their tasks.

    What all episodes of a bench run have in common makes no difference: one of a single variant and epoch is repeated
    under any names of them.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._path = at_home(Path(spec.innermost.rest))
        journal = Journal(self._path)
        results = [*map(journal.read, sorted(journal.keys()))] if journal.results.is_dir() else []
        self._places = [name for name in _PLACES if len({getattr(result, name) for result in results}) > 1]
        self._keys: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
        for result in results:
            self._keys[result.task, *(getattr(result, name) for name in self._places)].append(result.key)

    def file(self, part: Part, item: Item) -> Path:
        """The event file of the episode that was recorded of this one; raises UserError where there is no such one."""
        if not self._keys:
            return RunFolder.holding(self._path).episode(item.task.id)
        variant = item.variant.name if item.variant else ""
        values = (part.environment, part.split, variant, item.epoch, item.method)
        place = {name: value for name, value in zip(_PLACES, values, strict=True) if name in self._places}
        found = self._keys.get((item.task.id, *place.values()), [])
        if len(found) != 1:
            told = "".join(f", {name} {value!r}" for name, value in place.items())
            raise UserError(
                f"{self._path} holds {len(found) or 'no'} episodes of task {item.task.id}{told}: repeat a run by the "
                "suite, --method, --epochs and --limit that it was recorded with"
            )
        return RunFolder.holding(self._path).episode(found[0])
