"""Whether two recordings of an episode are the same, times aside."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from thread_cli.contracts.events import Event

__all__ = ["Difference", "first_difference"]

_TIMES: Final = {"time", "at", "seconds", "waited", "local", "used", "cap"}
_ADDED: Final = frozenset(("limit", "owner", "how", "reason", "answer", "tokens", "policy"))
"""Fields that earlier versions did not record, compared where both versions did. `policy` is among them, and later
versions record it for each episode.
"""
_SUMS: Final = ("local", "context_window", "forks", "parallel_forks", "model_seconds", "seconds", "token_latency")
"""Totals that are times, or that earlier versions did not sum, or summed otherwise; their events are compared."""
_ORDER: Final = {"n", "cause"}  # of concurrent threads, the order of events is a matter of time too


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a thread's recordings differ."""

    thread: str
    recorded: str
    now: str

    def __str__(self) -> str:
        return f"thread {self.thread}: recorded {self.recorded}, now {self.now}"


def first_difference(recorded: Iterable[Event], now: Iterable[Event]) -> Difference | None:
    """The earliest difference between two recordings, thread by thread; None where they are the same."""
    old, new = _by_thread(recorded), _by_thread(now)
    left_out = frozenset[str]() if _has_policy(old) and _has_policy(new) else _ADDED
    found: list[tuple[int, Difference]] = []
    for thread in old.keys() | new.keys():
        for before, after in zip_longest(old[thread], new[thread]):
            if (old_essence := _essence(before, left_out)) != (new_essence := _essence(after, left_out)):
                place = (before or after).n
                found.append((place, _difference(thread, old_essence or {}, new_essence or {})))
                break
    return min(found, key=lambda item: item[0])[1] if found else None


def _by_thread(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    threads: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        threads[event.thread].append(event)
    return threads


def _has_policy(threads: Mapping[str, list[Event]]) -> bool:
    return any("policy" in event.model_fields_set for event in threads.get("0", ())[:1])


def _essence(event: Event | None, left_out: frozenset[str]) -> dict[str, Any] | None:
    """The fields of an event that have to be equal in both recordings."""
    if event is None:
        return None
    fields = event.model_dump(exclude=_TIMES | _ORDER | left_out)
    if "totals" in fields:
        for name in _SUMS:
            del fields["totals"][name]
    if "bound" in fields:
        fields["bound"] = sorted(fields["bound"])  # earlier versions recorded them in any order
    return fields


def _difference(thread: str, old: dict[str, Any], new: dict[str, Any]) -> Difference:
    if old.get("kind") != new.get("kind"):
        return Difference(thread, str(old.get("kind", "nothing more")), str(new.get("kind", "nothing more")))
    field = next(key for key in old if old[key] != new.get(key))
    kind = old["kind"]
    return Difference(thread, f"{kind} {field} {_short(old[field])}", f"{_short(new.get(field))}")


def _short(value: Any) -> str:
    text = repr(str(value) if isinstance(value, StrEnum) else value)
    return text if len(text) <= 160 else f"{text[:80]} … {text[-70:]}"
