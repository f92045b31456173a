"""The format of values and messages between the runner and the sessions that run a model's code.

The runner trusts nothing that a session sends. Plain values (numbers, texts, collections of those) travel as JSON with
marks for types that JSON lacks. All other values travel as `Held`: bytes that only sessions load, with a text for
people.

A message is the length of its JSON and the length of its attachments, four bytes each, and then both.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field
from json import dumps, loads
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.interpreter import Names
from thread_cli.protocols.values import spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "ATTACHED_LIMIT",
    "BODY_LIMIT",
    "HEADER",
    "STATE",
    "VALUE_LIMIT",
    "Blob",
    "Held",
    "Kept",
    "NotPlainError",
    "decoded",
    "encoded",
    "message",
    "parsed",
    "sizes",
]

HEADER: Final = struct.Struct("!II")
VALUE_LIMIT: Final = 1_000_000
"""Bytes of JSON for one value; a longer value travels as `Held`, as the runner has no use for it."""
BODY_LIMIT: Final = 8_000_000
"""Bytes of JSON in one message."""
ATTACHED_LIMIT: Final = 200_000_000
"""Bytes of held values in one message."""
STATE: Final = ""
"""Stands in the place of a name, for a session's state besides names."""
_DEPTH: Final = 50
_BITS: Final = 13_000
"""Bits of an integer: Python refuses to write and to read more than 4,300 digits."""
_COLLECTIONS: Final[dict[str, type]] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_TEXT_LIMIT: Final = 4_000
_READS_LIMIT: Final = 1_000


class Blob:
    """Bytes that the runner keeps for its sessions and never loads: values of a thread, by name.

    `reads` are the names that functions in them look up when they run; `lost`: an object could not be copied, and has a
    mark in its place whose use is an error. `simple` is the runner's own note that they can only contain plain values.
    """

    __slots__ = ("__weakref__", "data", "lost", "reads", "simple")

    def __init__(self, data: bytes, reads: frozenset[str] = frozenset(), *, lost: bool = False) -> None:
        self.data = data
        self.reads = reads
        self.lost = lost
        self.simple = False


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A value that the runner cannot look into: a table, an array, a function.

    `text` is the value as Python writes it, cut; `kind` is the name of its type.
    """

    blob: Blob = field(repr=False)
    text: str
    kind: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A plain value in JSON, with the bytes that other sessions get in its place."""

    blob: Blob
    said: Any


class NotPlainError(Exception):
    """A value that cannot travel as JSON."""


def encoded(value: Any, other: Callable[[Any], Any] | None = None, depth: int = 0) -> Any:
    """`value` in JSON. `other` may replace a value that is not plain by a plain one.

    Raises:
        NotPlainError: it is, or contains, another kind of value.
    """
    kind = type(cast("object", value))
    if value is None or kind in (bool, float, str) or (kind is int and value.bit_length() <= _BITS):
        return value
    if depth > _DEPTH:
        raise NotPlainError("nested too deeply")

    def inner(items: Any) -> list[Any]:
        return [encoded(item, other, depth + 1) for item in items]

    if kind is list:
        return inner(value)
    if kind is tuple:
        return {"tuple": inner(value)}
    if kind is dict:
        return {"dict": [inner(pair) for pair in value.items()]}
    if kind in (set, frozenset):
        return {kind.__name__: inner(sorted(value, key=spelled))}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    replaced = other(value) if other else value
    if replaced is value:
        raise NotPlainError(kind.__name__)
    return encoded(replaced, None, depth)


def decoded(said: Any) -> Any:
    """The value that `encoded` has encoded.

    Raises:
        ValueError, TypeError: `encoded` has no such output.
    """
    if said is None or isinstance(said, (bool, int, float, str)):
        return said
    if isinstance(said, list):
        return [decoded(item) for item in cast("list[Any]", said)]
    [(kind, items)] = cast("dict[str, Any]", said).items()
    if kind == "dict":
        return {decoded(key): decoded(value) for key, value in items}
    if kind == "bytes":
        return base64.b64decode(items, validate=True)
    if kind not in _COLLECTIONS:
        raise ValueError("no value")
    return _COLLECTIONS[kind](decoded(item) for item in items)


def message(content: dict[str, Any], names: dict[str, Any] | None = None, blobs: Sequence[Blob] = ()) -> bytes:
    """A message of `content` and, below `names`, of values that are encoded already, or `Held`, or `Kept`.

    `blobs` are the bytes to which these and `content` refer, by index.

    Raises:
        ValueError: it would be too large.
    """
    places = {blob: place for place, blob in enumerate(blobs)}
    said: dict[str, Any] = {}
    for name, value in (names or {}).items():
        if isinstance(value, Held):
            said[name] = {"held": [places[value.blob], value.text[:_TEXT_LIMIT], value.kind[:100]]}
        elif isinstance(value, Kept):
            said[name] = {"kept": [places[value.blob], value.said]}
        else:
            said[name] = value
    fields = dict(content)
    if said:
        fields["names"] = said
    if blobs:
        fields["blobs"] = [[len(blob.data), sorted(blob.reads)[:_READS_LIMIT], blob.lost] for blob in blobs]
    body = dumps(fields).encode()
    length = sum(len(blob.data) for blob in blobs)
    if len(body) > BODY_LIMIT or length > ATTACHED_LIMIT:
        raise ValueError("the values are too large to be kept")
    return b"".join([HEADER.pack(len(body), length), body, *(blob.data for blob in blobs)])


def sizes(header: bytes) -> tuple[int, int]:
    """The lengths of the JSON and of the attachments of the message that begins with `header`.

    Raises:
        ValueError: no message is that long.
    """
    body, rest = HEADER.unpack(header)
    if body > BODY_LIMIT or rest > ATTACHED_LIMIT:
        raise ValueError("too large")
    return body, rest


def parsed(body: bytes, rest: bytes) -> tuple[dict[str, Any], Names]:
    """The content of a message, and the values of its names, with their kept bytes.

    Raises:
        ValueError, TypeError, RecursionError: it is not a message.
    """
    content = loads(body)
    if not isinstance(content, dict):
        raise TypeError("no message")
    content = cast("dict[str, Any]", content)
    blobs = _blobs(content.pop("blobs", []), rest)
    names = Names()
    said = content.pop("names", {})
    more = content.pop("more", {})
    if not isinstance(said, dict) or not isinstance(more, dict):
        raise TypeError("no names")
    for name, value in cast("dict[str, Any]", said).items():
        if not name.isidentifier():
            raise ValueError("no name")
        match value:
            case {"held": [int(place), str(text), str(kind)]}:
                names[name] = Held(_at(blobs, place), text[:_TEXT_LIMIT], kind[:100])
                names.kept[name] = blobs[place]
            case {"kept": [int(place), plain]}:
                names[name] = decoded(plain)
                names.kept[name] = _at(blobs, place)
            case _:
                names[name] = decoded(value)
    for name, place in cast("dict[str, Any]", more).items():
        if not name.isidentifier():
            raise ValueError("no name")
        names.kept[name] = _at(blobs, place)
    if "state" in content:
        names.kept[STATE] = _at(blobs, content.pop("state"))
    return content, names


def _blobs(said: Any, rest: bytes) -> list[Blob]:
    if not isinstance(said, list):
        raise TypeError("no bytes")
    blobs: list[Blob] = []
    at = 0
    for item in cast("list[Any]", said):
        match item:
            case [int(length), list(), bool(lost)] if 0 <= length <= len(rest) - at:
                blobs.append(Blob(rest[at : at + length], frozenset(_texts(cast("list[Any]", item)[1])), lost=lost))
                at += length
            case _:
                raise ValueError("no bytes")
    return blobs


def _at(blobs: Sequence[Blob], place: Any) -> Blob:
    if type(place) is not int or not 0 <= place < len(blobs):
        raise ValueError("no bytes")
    return blobs[place]


def _texts(items: Sequence[Any]) -> list[str]:
    if not all(isinstance(item, str) for item in items) or len(items) > _READS_LIMIT:
        raise ValueError("no names")
    return list(items)
