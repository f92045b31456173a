"""The sums over the events of an episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from thread_cli.contracts.events import Totals
from thread_cli.contracts.model import Local
from thread_cli.record.critical import CriticalPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thread_cli.contracts.events import Acted, Event, Failed, Generated, Repaired, Spawned, ThreadStarted

__all__ = ["Sums"]

_APART: Final = {"cost", "local", "estimated", "cached_known", "model_seconds", "seconds"}


class Sums:
    """Totals over the events of an episode so far."""

    _moves = CriticalPath.moves

    def __init__(self) -> None:
        self._sums = dict.fromkeys(Totals.model_fields.keys() - _APART, 0)
        self._model_seconds = 0.0
        self._newest: Event | None = None
        self._cost: float | None = 0.0
        self._local: Local | None = None
        self._estimated = False
        self._cached_known = True
        self._critical = CriticalPath()

    def totals(self) -> Totals:
        """The sums as they are recorded."""
        cost = self._cost if self._sums["calls"] else None
        parallel = self._sums["parallel_forks"] > 0
        return Totals.model_validate(
            self._sums
            | {
                "token_latency": self._critical.tokens,
                "model_seconds": self.model_seconds if parallel else 0.0,
                "seconds": self._newest.time if parallel and self._newest is not None else 0.0,
                "cost": cost,
                "local": self._local,
                "estimated": self._estimated,
                "cached_known": self._cached_known,
            }
        )

    @property
    def model_seconds(self) -> float:
        """Seconds of all completed calls so far, without queueing and backing off."""
        return round(self._model_seconds, 6)

    @property
    def paid(self) -> float | None:
        """US dollars of all calls so far, lost ones too; None if a price is unknown."""
        return self._cost

    def add(self, event: Event) -> None:
        """Count one more event."""
        self._newest = event
        kind = event.kind
        if (count := self._counts.get(kind)) is not None:
            count(self, event)
        if (move := self._moves.get(kind)) is not None:
            move(self._critical, event)

    def _started(self, event: ThreadStarted) -> None:
        self._sums["threads"] += 1
        self._sums["depth"] = max(self._sums["depth"], event.depth)

    def _generated(self, event: Generated) -> None:
        sums = self._sums
        sums["calls"] += 1
        sums["retries"] += event.retries
        sums["prompt_tokens"] += event.prompt_tokens
        sums["cached_tokens"] += event.cached_tokens
        sums["repeated_tokens"] += event.repeated_tokens
        sums["generated_tokens"] += event.generated_tokens
        sums["reasoning_tokens"] += event.reasoning_tokens
        sums["context_window"] = max(sums["context_window"], event.prompt_tokens + event.generated_tokens)
        self._estimated = self._estimated or event.estimated
        self._cached_known = self._cached_known and event.cached_known
        if event.local is not None:
            self._local = (self._local or Local()) + event.local
        self._model_seconds += max(0.0, event.seconds - event.waited)
        self._pay(event.cost)

    def _spawned(self, event: Spawned) -> None:
        if event.children:
            self._sums["forks"] += 1
            self._sums["parallel_forks"] += len(event.children) > 1 or not event.waits

    def _failed(self, event: Failed) -> None:
        if event.prompt_tokens or event.generated_tokens:
            self._sums["prompt_tokens"] += event.prompt_tokens
            self._sums["generated_tokens"] += event.generated_tokens
            self._pay(event.cost)

    def _acted(self, event: Acted) -> None:  # noqa: ARG002
        self._sums["actions"] += 1

    def _repaired(self, event: Repaired) -> None:  # noqa: ARG002
        self._sums["repairs"] += 1

    def _pay(self, cost: float | None) -> None:
        self._cost = None if self._cost is None or cost is None else self._cost + cost

    _counts: ClassVar[Mapping[str, Callable[..., None]]] = {
        "thread_started": _started,
        "generated": _generated,
        "spawned": _spawned,
        "failed": _failed,
        "acted": _acted,
        "repaired": _repaired,
    }
    """What an event of each kind adds. Functions and not methods: those would hold the object that holds them."""
