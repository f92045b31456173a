"""Which tokens stand for which text: decided once, and kept however often the KV memory forgets it.

A thread's prompt is a chain of runs: q, c, then by turns what the model generated and what the engine appended. Each
run of text is tokenised by itself, so that what comes later never changes the tokens before it; generated runs keep the
tokens that the model chose. The chain depends on the thread's own history alone, never on what else is cached.

A prompt that comes as one string (q and c are empty) is taken for the continuation of the longest earlier one that it
begins with, if it goes on as the model did then.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from thread_cli.models.llama.cache import common_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TokenizedPrompt", "Tokenizer", "Transcripts"]

_BEGINNINGS = 1_000
_OVERHEAD = 1_000
"""Bytes that a run takes beside its text and tokens, about."""


class Tokenizer(Protocol):
    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array[int]:
        """Tokens of a text. `first`: it begins a prompt. `special`: names of control tokens in it stand for these."""
        ...


class _Runs:
    """Runs in the order of their texts, so that those that begin like a given text are found without looking at all."""

    __slots__ = ("_runs", "_texts")

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._runs: list[_Run] = []

    def add(self, run: _Run) -> bool:
        """Add a run; False if there is one with its text already."""
        place = bisect_left(self._texts, run.text)
        if place < len(self._texts) and self._texts[place] == run.text:
            return False
        self._texts.insert(place, run.text)
        self._runs.insert(place, run)
        return True

    def remove(self, text: bytes) -> None:
        place = bisect_left(self._texts, text)
        del self._texts[place], self._runs[place]

    def prefixes(self, text: bytes) -> Iterator[_Run]:
        """The runs that `text` begins with, the longest first."""
        while True:
            place = bisect_right(self._texts, text) - 1
            if place < 0:
                return
            shared = common_prefix(self._texts[place], text)
            if shared < len(self._texts[place]):
                # Sorted before `text`, this is the one that has most in common with it: no longer one can fit.
                text = text[:shared]
                continue
            yield self._runs[place]
            if not shared:
                return
            text = text[: shared - 1]

    def nearest(self, text: bytes) -> tuple[_Run, int] | None:
        """The run that has most in common with `text` at its beginning, and how many bytes."""
        place = bisect_left(self._texts, text)
        near = [(common_prefix(run.text, text), run) for run in self._runs[max(0, place - 1) : place + 1]]
        if not near:
            return None
        shared, run = max(near, key=lambda pair: pair[0])
        return run, shared


@dataclass(eq=False, slots=True)
class _Run:
    text: bytes
    tokens: array[int]
    ends: Sequence[int] = ()
    """For a generated run: where in `text` each token ends."""
    generated: _Runs = field(default_factory=_Runs)
    appended: _Runs = field(default_factory=_Runs)


@dataclass(eq=False, slots=True)
class _Thread:
    """A beginning, q and c or a whole string, and the bytes that it and all that has grown from it take."""

    run: _Run
    size: int = 0
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A tokenised prompt, and its last run, to which the generated one will be attached."""

    tokens: array[int]
    last: _Run
    thread: _Thread
    shared: int
    """Tokens of q, the few-shot prompt, at its beginning."""


class Transcripts:
    """What threads have read and written. Above `memory` bytes, those that have rested longest are forgotten."""

    def __init__(self, tokenizer: Tokenizer, memory: int = 2**28) -> None:
        self._tokenizer = tokenizer
        self._limit = memory
        self._size = 0
        self._q: dict[str, array[int]] = {}
        self._threads: OrderedDict[tuple[str, str] | bytes, _Thread] = OrderedDict()
        self._strings = _Runs()

    def encode(self, q: str, c: str, y: str) -> TokenizedPrompt:
        """Tokenise a prompt in the way in which its thread's earlier prompts were.

        In a prompt that comes as one string the names of control tokens stand for these; otherwise they do so in q.
        """
        while self._size > self._limit:
            self._forget_oldest()
        rest = _bytes(y)
        string = not (q or c)
        thread = self._string(rest) if string else self._thread(q, c)
        run = thread.run
        tokens = array("i", run.tokens)
        rest = rest[len(run.text) :]
        while rest and (found := self._next(thread, run, rest)) is not None:
            run = found
            tokens += run.tokens
            rest = rest[len(run.text) :]
        if rest:
            new = _Run(rest, self._tokenizer.tokenize(rest, first=False, special=string))
            self._keep(thread, run.appended, new)
            run = new
            tokens += run.tokens
        return TokenizedPrompt(tokens, run, thread, len(self._q.get(q, ())))

    def record(self, prompt: TokenizedPrompt, pieces: Sequence[tuple[int, bytes]], length: int) -> None:
        """Keep generated tokens and their texts, up to the last token that ends within the first `length` bytes."""
        tokens, ends, text = array("i"), array("i"), b""
        for token, piece in pieces:
            if len(text) + len(piece) > length:
                break
            text += piece
            tokens.append(token)
            ends.append(len(text))
        if text:
            self._keep(prompt.thread, prompt.last.generated, _Run(text, tokens, ends))

    def _thread(self, q: str, c: str) -> _Thread:
        thread = self._known((q, c))
        if thread is not None:
            return thread
        if q not in self._q:
            if len(self._q) >= _BEGINNINGS:
                self._q.clear()
            self._q[q] = self._tokenizer.tokenize(_bytes(q), first=True, special=True)
        tokens = array("i", self._q[q])
        if c:
            tokens += self._tokenizer.tokenize(_bytes(c), first=not q, special=False)
        return self._begin((q, c), _Run(b"", tokens))

    def _string(self, text: bytes) -> _Thread:
        """The thread of a prompt that comes as one string: the one that it continues, or a new one."""
        for run in self._strings.prefixes(text):
            if len(run.text) == len(text) or _goes_on(run, text[len(run.text) :]):
                thread = self._known(run.text)
                if thread is not None:
                    return thread
        run = _Run(text, self._tokenizer.tokenize(text, first=True, special=True))
        self._strings.add(run)
        return self._begin(text, run)

    def _known(self, key: tuple[str, str] | bytes) -> _Thread | None:
        if key in self._threads:
            self._threads.move_to_end(key)
        return self._threads.get(key)

    def _begin(self, key: tuple[str, str] | bytes, run: _Run) -> _Thread:
        thread = self._threads[key] = _Thread(run)
        self._grow(thread, run)
        return thread

    def _keep(self, thread: _Thread, among: _Runs, run: _Run) -> None:
        # A call may outlast the memory of its thread.
        if among.add(run) and not thread.forgotten:
            self._grow(thread, run)

    def _grow(self, thread: _Thread, run: _Run) -> None:
        size = _OVERHEAD + len(run.text) + 4 * (len(run.tokens) + len(run.ends))
        thread.size += size
        self._size += size

    def _forget_oldest(self) -> None:
        key, thread = self._threads.popitem(last=False)
        thread.forgotten = True
        self._size -= thread.size
        if isinstance(key, bytes):
            self._strings.remove(key)

    def _next(self, thread: _Thread, run: _Run, rest: bytes) -> _Run | None:
        """The run after `run` with which `rest` begins: the longest known, else what fits of a generated one."""
        known = _longest_known(run, rest)
        if known is not None:
            return known
        part = _part(run, rest)
        if part is not None:
            self._keep(thread, run.generated, part)
        return part


def _longest_known(run: _Run, rest: bytes) -> _Run | None:
    """The longest known run after `run` with which `rest` begins.

    Appended text counts only if what follows it is known too, else it only happens to begin like `rest`.
    """
    written = next(run.generated.prefixes(rest), None)
    for shown in run.appended.prefixes(rest):
        if written is not None and len(written.text) >= len(shown.text):
            break
        if len(shown.text) == len(rest) or _goes_on(shown, rest[len(shown.text) :]):
            return shown
    return written


def _part(run: _Run, rest: bytes) -> _Run | None:
    """The whole tokens at the beginning of a generated run with which `rest` begins."""
    near = run.generated.nearest(rest)
    if near is None:
        return None
    nearest, shared = near
    count = bisect_right(nearest.ends, shared)
    if count == 0 or not nearest.ends[count - 1]:
        return None
    return _Run(nearest.text[: nearest.ends[count - 1]], nearest.tokens[:count], nearest.ends[:count])


def _goes_on(run: _Run, rest: bytes) -> bool:
    """Whether it is known how `run` goes on with `rest`."""
    return _longest_known(run, rest) is not None or _part(run, rest) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
