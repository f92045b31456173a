"""The order of sets: a copy of a set has its items in the order of the original.

Python makes a copy by adding the items one by one. Where hashes collide, or items were removed before, the copy then
has another order than the original. So the bytes include the items' slots in the hash table (`layout`), and the table
of the copy is put in the same order (`arrange`). Both need the `PySetObject` of CPython (Include/cpython/setobject.h);
where it is not as expected, copies have the order that results from adding the items.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from array import array
from itertools import compress
from typing import Any, Final

__all__ = ["Layout", "arrange", "layout"]

Layout = tuple[int, int, bytes, bytes]
"""Slots of the table, the slot that `pop` looks at next, the slots taken (32 bits each), and the hashes in these (64
bits); a slot that an item was removed from has the hash -1."""

_ENTRY: Final = 16
"""Bytes of a slot: a pointer to the item, and its hash."""
_SMALL: Final = 8
"""Slots of a table that is part of the set itself."""
_LARGEST: Final = 1 << 14
"""Slots; the order of larger sets is not restored, as that would take long."""


class _Set(ctypes.Structure):
    """A `PySetObject` of a build with a global interpreter lock."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("fill", ctypes.c_ssize_t),
        ("used", ctypes.c_ssize_t),
        ("mask", ctypes.c_ssize_t),
        ("table", ctypes.c_void_p),
        ("hash", ctypes.c_ssize_t),
        ("finger", ctypes.c_ssize_t),
        ("small", ctypes.c_char * (_ENTRY * _SMALL)),
        ("weak", ctypes.c_void_p),
    )


def layout(items: set[Any] | frozenset[Any]) -> Layout | None:
    """The slots of the items; None if the standard copy has the same order."""
    if not _KNOWN:
        return None
    this = _Set.from_address(id(items))
    if this.mask >= _LARGEST or (this.fill == this.used < 2 and this.mask < _SMALL):
        return None
    pointers, hashes = _table(this)
    taken = array("i", compress(range(len(hashes)), pointers))
    return this.mask + 1, this.finger, taken.tobytes(), array("q", compress(hashes, pointers)).tobytes()


def arrange(items: set[Any] | frozenset[Any], wanted: Layout) -> None:
    """Put the items of a copy into the slots of the original's. If that is impossible, the copy stays as it is."""
    size, finger, *tables = wanted
    this = _Set.from_address(id(items))
    if not _KNOWN or layout(items) == wanted or not 0 < size <= _LARGEST:
        return
    slots, hashes = memoryview(tables[0]).cast("i"), memoryview(tables[1]).cast("q")
    pointers, values = _table(this)
    found = dict(zip(compress(values, pointers), filter(None, pointers), strict=True))
    if found.keys() != set(hashes) - {-1} or len(found) != this.used:
        return  # other hashes, as of objects that are hashed by their address, or several items with one hash
    _resize(this, size)
    if this.mask + 1 != size:
        return
    table = array("q", bytes(_ENTRY * size))
    for slot, value in zip(slots, hashes, strict=True):
        table[2 * slot] = _REMOVED if value == -1 else found[value]
        table[2 * slot + 1] = value
    ctypes.memmove(this.table, table.tobytes(), _ENTRY * size)
    this.fill, this.finger = len(slots), finger


def _table(this: _Set) -> tuple[list[int], list[int]]:
    """The pointers and the hashes of a table, by slot."""
    data = memoryview(ctypes.string_at(this.table, _ENTRY * (this.mask + 1))).cast("q")
    return data[::2].tolist(), data[1::2].tolist()


def _resize(this: _Set, size: int) -> None:
    """Give a set a table with so many slots, of any contents, unless it has one or should have a small one."""
    if size in (this.mask + 1, _SMALL):
        return
    other: set[int] = set()
    other |= set(range(size // 2 - 1))  # which makes a table of this size
    for number in range(size // 2 - 1):
        other.discard(number)
    that = _Set.from_address(id(other))
    small = _Set.small.offset
    own = this.table == ctypes.addressof(this) + small
    this.table, that.table = that.table, ctypes.addressof(that) + small if own else this.table
    this.mask, that.mask = that.mask, this.mask
    that.fill = that.used = 0
    ctypes.memset(that.table, 0, _ENTRY * (that.mask + 1))


def _removed() -> int:
    """The pointer that marks a slot that an item was removed from."""
    items = {1, 2}
    items.discard(1)
    pointers, hashes = _table(_Set.from_address(id(items)))
    return pointers[hashes.index(-1)]


def _is_known() -> bool:
    """Whether sets have the layout of `_Set`, tested on one whose table is known. Without a global interpreter lock,
    sets have other parts and may be of the same size; so no memory outside the set is read before these are right.
    """
    if platform.python_implementation() != "CPython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    items = {1, 2, 3}
    items.discard(2)
    with_collector = ctypes.sizeof(_Set) + 16
    if sys.byteorder != "little" or sys.getsizeof(items) != with_collector:
        return False
    this = _Set.from_address(id(items))
    table = ctypes.addressof(this) + _Set.small.offset
    if (this.type, this.fill, this.used, this.mask, this.table) != (id(set), 3, 2, _SMALL - 1, table):
        return False
    pointers, hashes = _table(this)
    return hashes[1:4] == [1, -1, 3] and [pointers[slot] for slot in (0, 1, 3)] == [0, id(1), id(3)]


_KNOWN: Final = _is_known()
_REMOVED: Final = _removed() if _KNOWN else 0
