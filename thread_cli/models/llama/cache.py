"""Which KV sequence holds which tokens: a prefix tree, kept in step with llama.cpp's memory.

A node is a run of tokens whose cells all sequences below it share. A sequence is a path from the root. New prompts
continue the sequence that ends where they go on, or are forked off the deepest node that they have in common with any.
When ids or cells are short, sequences at rest are dropped: ended threads first, then threads that wait, each least
recently used first. Dropped tokens are remembered by hash, so that evaluating it again is counted. What the model chose
after a token is kept with it, so that a thread that goes like an earlier one need not be computed.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol, TypeGuard, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CacheFull", "Match", "PrefixTree", "Sequence", "Store", "common_prefix"]

_REMEMBERED = 1_000_000
_UNKNOWN = -1
_Run = TypeVar("_Run", "array[int]", bytes)


class Store(Protocol):
    """The memory behind the tree. Positions count tokens from 0."""

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Let sequence `target` have the cells of `source` at positions `start` to `end` in place of its own."""
        ...

    def clear(self, sequence: int, start: int) -> None:
        """Remove what a sequence holds from position `start` on."""
        ...


class CacheFull(Exception):
    """All sequences are in use, so none can be dropped."""


@dataclass(eq=False, slots=True)
class _Node:
    tokens: array[int]
    chosen: array[int]
    """What the model chooses after each of them, where that is known; else `_UNKNOWN`."""
    start: int
    hash: int
    """Hash of the tokens before `start`."""
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict[int, "_Node"])
    owners: int = 0
    ends: set[Sequence] = field(default_factory=set["Sequence"])

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


@dataclass(eq=False, slots=True)
class Sequence:
    """A sequence of the KV memory. `length` tokens of it are evaluated."""

    id: int
    node: _Node
    hash: int
    busy: bool = True
    waiting: bool = False
    """True if its thread is expected to go on."""
    used: int = 0

    @property
    def length(self) -> int:
        return self.node.end


@dataclass(frozen=True, slots=True)
class Match:
    """The longest known prefix of some tokens: `length` of them, the last of which lies in `node`."""

    node: _Node
    length: int


def common_prefix(a: _Run, b: _Run) -> int:
    """Number of leading elements that `a` and `b` have in common."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


class PrefixTree:
    """The sequences of one KV memory of `cells` cells and ids below `sequences`.

    With `recurrent`, the memory can only copy sequences as a whole, like the memory of recurrent models: a prompt is
    then matched where a known sequence ends, and nowhere else.
    """

    def __init__(self, store: Store, *, sequences: int, cells: int, recurrent: bool = False) -> None:
        self.cells = cells
        self.used = 0
        self.dropped = 0
        """Sequences dropped whose threads were expected to go on."""
        self._store = store
        self._recurrent = recurrent
        self._root = _Node(array("i"), array("i"), 0, 0, None)
        self._sequences: set[Sequence] = set()
        self._ids = list(range(sequences - 1, -1, -1))
        self._clock = 0
        self._forgotten: dict[int, None] = {}

    @property
    def free(self) -> int:
        """Cells that hold nothing."""
        return self.cells - self.used

    def available(self) -> int:
        """Cells that are free or could be made free: all but those of busy sequences."""
        held = 0
        seen: set[_Node] = set()
        for sequence in self._sequences:
            node = sequence.node if sequence.busy else None
            while node is not None and node not in seen:
                seen.add(node)
                held += len(node.tokens)
                node = node.parent
        return self.cells - held

    def match(self, tokens: array[int]) -> Match:
        """The longest prefix of `tokens` in the tree, short of the last token, whose logits are still to be had."""
        node, length, limit = self._root, 0, len(tokens) - 1
        at_an_end = Match(node, 0)
        while length < limit:
            child = node.children.get(tokens[length])
            if child is None:
                break
            node = child
            length += common_prefix(node.tokens, tokens[length : min(limit, node.end)])
            if length < node.end:
                break
            if node.ends:
                at_an_end = Match(node, length)
        return at_an_end if self._recurrent else Match(node, length)

    def take(self, tokens: array[int]) -> Sequence:
        """A busy sequence that holds what `match` finds of `tokens`: one that ends there, or else a fork.

        Raises:
            CacheFull: a fork needs an id, and all sequences are busy.
        """
        match = self.match(tokens)
        resting = [s for s in match.node.ends if not s.busy] if match.length == match.node.end else []
        if resting and match.length:
            sequence = max(resting, key=lambda s: s.used)
            sequence.busy = True
            return sequence
        source = self._holder(match.node) if match.length else None
        if not self._ids and self._is_last(source):
            return self._reuse(source, match)
        if not self._ids:
            self._drop_one(keep=source)
            # Nodes may have been joined; the source keeps the match as long as it was.
            match = self.match(tokens)
        node = match.node
        if match.length < node.end:
            node = self._split(node, match.length - node.start)
        sequence = Sequence(self._ids.pop(), node, _hash(node.hash, node.tokens))
        self._sequences.add(sequence)
        node.ends.add(sequence)
        for ancestor in _path(node):
            ancestor.owners += 1
        if source is not None:
            self._store.share(source.id, sequence.id, 0, match.length)
        return sequence

    def extend(self, sequence: Sequence, tokens: array[int]) -> int:
        """Note that `tokens` were evaluated at the end of `sequence`.

        Returns how many of them were evaluated for the second time. Tokens that the tree holds already are shared with
        the sequence that has them, and the cells are given back.
        """
        repeated = 0
        rest = tokens
        while rest and (child := sequence.node.children.get(rest[0])) is not None:
            shared = common_prefix(child.tokens, rest)
            if shared < len(child.tokens):
                child = self._split(child, shared)
            if not self._recurrent:
                self._store.share(self._holder(child).id, sequence.id, child.start, child.end)
            self._move(sequence, child)
            sequence.hash = _hash(sequence.hash, child.tokens)
            repeated += shared
            rest = rest[shared:]
        if not rest:
            return repeated
        repeated += self._recall(sequence, rest)
        node = sequence.node
        if node.owners == 1 and not node.children and node.parent is not None:
            node.tokens.extend(rest)
            node.chosen.extend(_unknown(len(rest)))
        else:
            child = _Node(array("i", rest), _unknown(len(rest)), node.end, _hash(node.hash, node.tokens), node)
            node.children[rest[0]] = child
            self._move(sequence, child)
        self.used += len(rest)
        return repeated

    def note(self, sequence: Sequence, chosen: array[int]) -> None:
        """Note what the model chooses after each of the last tokens of `sequence`."""
        node: _Node | None = sequence.node
        while chosen and node is not None and node.tokens:
            count = min(len(chosen), len(node.tokens))
            node.chosen[-count:] = chosen[-count:]
            chosen, node = chosen[:-count], node.parent

    def known(self, tokens: array[int]) -> Iterable[int]:
        """What the model chooses after `tokens`, and then after that, as far as it has done so before."""
        node, length = self._root, 0
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None:
                return
            node = child
            count = common_prefix(node.tokens, tokens[length : node.end])
            length += count
            if count < len(node.tokens) and length < len(tokens):
                return
        at = length - node.start
        while at and (token := node.chosen[at - 1]) != _UNKNOWN:
            yield token
            if at == len(node.tokens):
                child = node.children.get(token)
                if child is None:
                    return
                node, at = child, 0
            elif node.tokens[at] != token:
                return
            at += 1

    def release(self, sequence: Sequence, *, waiting: bool) -> None:
        """Put a sequence to rest."""
        self._clock += 1
        sequence.used = self._clock
        sequence.busy, sequence.waiting = False, waiting

    def make_room(self, cells: int) -> None:
        """Drop sequences at rest until `cells` cells are free.

        Raises:
            CacheFull: only busy sequences are left.
        """
        while self.free < cells:
            self._drop_one(keep=None)

    def clear(self) -> None:
        """Drop everything, busy sequences too."""
        for sequence in list(self._sequences):
            self.drop(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Forget a sequence and give back its id and the cells that no other shares."""
        self._shorten(sequence, self._root)
        self._root.ends.discard(sequence)
        self._root.owners -= 1
        self._sequences.discard(sequence)
        self._ids.append(sequence.id)

    def _is_last(self, source: Sequence | None) -> TypeGuard[Sequence]:
        """True if of all sequences at rest only `source` is left."""
        return source is not None and not source.busy and all(s.busy or s is source for s in self._sequences)

    def _reuse(self, sequence: Sequence, match: Match) -> Sequence:
        """Go on with a sequence itself, cut back to the match, where there is no id for a fork of it."""
        node = match.node
        if match.length < node.end:
            node = self._split(node, match.length - node.start)
        self._shorten(sequence, node)
        sequence.busy = True
        return sequence

    def _shorten(self, sequence: Sequence, last: _Node) -> None:
        """Cut a sequence back to end with node `last`, which it holds."""
        beyond = list(takewhile(lambda node: node is not last, _path(sequence.node)))
        sequence.node.ends.discard(sequence)
        last.ends.add(sequence)
        sequence.node, sequence.hash = last, _hash(last.hash, last.tokens)
        for node in beyond:
            node.owners -= 1
            if node.owners == 0 and node.parent is not None:
                del node.parent.children[node.tokens[0]]
                self.used -= len(node.tokens)
                self._remember(node)
            elif len(node.children) == 1 and not node.ends:
                self._absorb(node)
        self._store.clear(sequence.id, last.end)

    def _drop_one(self, keep: Sequence | None) -> None:
        resting = [s for s in self._sequences if not s.busy and s is not keep]
        if not resting:
            raise CacheFull
        victim = min(resting, key=lambda s: (s.waiting, s.used))
        self.dropped += victim.waiting
        self.drop(victim)

    def _holder(self, node: _Node) -> Sequence:
        """A sequence that holds the node; one that ends with it, if any does."""
        while not node.ends:
            node = next(iter(node.children.values()))
        return next(iter(node.ends))

    def _move(self, sequence: Sequence, child: _Node) -> None:
        sequence.node.ends.discard(sequence)
        child.ends.add(sequence)
        child.owners += 1
        sequence.node = child

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut a node in two; returns the upper part, `at` tokens long."""
        parent = node.parent
        if parent is None:
            raise AssertionError
        upper = _Node(
            node.tokens[:at], node.chosen[:at], node.start, node.hash, parent, {node.tokens[at]: node}, node.owners
        )
        parent.children[upper.tokens[0]] = upper
        node.hash = _hash(node.hash, upper.tokens)
        node.tokens, node.chosen = node.tokens[at:], node.chosen[at:]
        node.start, node.parent = upper.end, upper
        return upper

    def _absorb(self, node: _Node) -> None:
        """Undo a split: join a node with its only child."""
        (child,) = node.children.values()
        child.tokens, child.chosen = node.tokens + child.tokens, node.chosen + child.chosen
        child.start, child.hash, child.parent = node.start, node.hash, node.parent
        if node.parent is not None:
            node.parent.children[child.tokens[0]] = child

    def _remember(self, node: _Node) -> None:
        value = node.hash
        for token in node.tokens:
            value = hash((value, token))
            self._forgotten[value] = None
        while len(self._forgotten) > _REMEMBERED:
            del self._forgotten[next(iter(self._forgotten))]

    def _recall(self, sequence: Sequence, tokens: array[int]) -> int:
        """Bring the sequence's hash up to date; returns how many of the tokens had been dropped before."""
        repeated = 0
        for token in tokens:
            sequence.hash = hash((sequence.hash, token))
            if sequence.hash in self._forgotten:
                del self._forgotten[sequence.hash]
                repeated += 1
        return repeated


def _path(node: _Node | None) -> Iterable[_Node]:
    while node is not None:
        yield node
        node = node.parent


def _unknown(count: int) -> array[int]:
    return array("i", [_UNKNOWN]) * count


def _hash(value: int, tokens: array[int]) -> int:
    for token in tokens:
        value = hash((value, token))
    return value
