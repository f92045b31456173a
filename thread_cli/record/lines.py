"""The lines of an event log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from pydantic import TypeAdapter

from thread_cli.contracts.events import Event, ThreadStarted

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["line_of", "parse_event"]

_adapter: Final[TypeAdapter[Event]] = TypeAdapter(Event)


def line_of(event: Event) -> bytes:
    """The JSON of an event, in UTF-8, on a line with its end, without what `parse_event` puts back: fields that it was
    not given, and the parent's path, which begins the thread's own path, but for the start of a thread.
    """
    optional, rest = _OPTIONAL[event.kind]
    if not optional.isdisjoint(event.model_fields_set):
        rest = rest - event.model_fields_set.difference(_DERIVED)
    return event.__pydantic_serializer__.to_json(event, exclude=rest) + b"\n"


def parse_event(line: str | bytes) -> Event:
    """One event from its JSON.

    Raises:
        pydantic.ValidationError: `line` is not the JSON of an event.
    """
    return _adapter.validate_json(line)


def _optional(kind: type[BaseModel]) -> tuple[set[str], set[str]]:
    """The fields of events of a kind that not all have, and the fields that most lines leave out."""
    fields = {name for name, field in kind.model_fields.items() if not field.is_required()} - {"kind"} - _DERIVED
    return fields, fields if kind is ThreadStarted else fields | _DERIVED


_DERIVED: Final = frozenset(("parent",))
_OPTIONAL: Final = {kind.model_fields["kind"].default: _optional(kind) for kind in get_args(get_args(Event)[0])}
