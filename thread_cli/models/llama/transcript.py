"""Which tokens stand for which text: decided once, and kept however often the KV memory forgets it.

A thread's prompt is a chain of runs: q, c, then by turns what the model generated and what the engine appended. Each
run of text is tokenised by itself, so that what comes later never changes the tokens before it; generated runs keep the
tokens that the model chose. The chain depends on the thread's own history alone, never on what else is cached.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Prompt", "Tokenizer", "Transcripts"]


class Tokenizer(Protocol):
    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array[int]:
        """Tokens of a text. `first`: it begins a prompt. `special`: names of control tokens in it stand for these."""
        ...


@dataclass(eq=False, slots=True)
class _Run:
    text: bytes
    tokens: array[int]
    ends: Sequence[int] = ()
    """For a generated run: where in `text` each token ends."""
    children: list[_Run] = field(default_factory=list["_Run"])


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised prompt, and its last run, to which the generated one will be attached."""

    tokens: array[int]
    last: _Run


class Transcripts:
    """The runs of the last `threads` threads."""

    def __init__(self, tokenizer: Tokenizer, threads: int = 16_384) -> None:
        self._tokenizer = tokenizer
        self._limit = threads
        self._q: dict[str, array[int]] = {}
        self._threads: OrderedDict[tuple[str, str], _Run] = OrderedDict()

    def encode(self, q: str, c: str, y: str) -> Prompt:
        """Tokenise a prompt in the way in which its thread's earlier prompts were."""
        run = self._thread(q, c)
        tokens = array("i", run.tokens)
        rest = _bytes(y)
        while rest and (child := _next(run, rest)) is not None:
            run = child
            tokens += run.tokens
            rest = rest[len(run.text) :]
        if rest:
            text = _Run(rest, self._tokenizer.tokenize(rest, first=not (q or c or run.text), special=False))
            run.children.append(text)
            run = text
            tokens += run.tokens
        return Prompt(tokens, run)

    def record(self, prompt: Prompt, pieces: Sequence[tuple[int, bytes]], length: int) -> None:
        """Keep generated tokens and their texts, up to the last token that ends within the first `length` bytes."""
        tokens, ends, text = array("i"), array("i"), b""
        for token, piece in pieces:
            if len(text) + len(piece) > length:
                break
            text += piece
            tokens.append(token)
            ends.append(len(text))
        if text and all(child.text != text for child in prompt.last.children):
            prompt.last.children.append(_Run(text, tokens, ends))

    def _thread(self, q: str, c: str) -> _Run:
        run = self._threads.get((q, c))
        if run is not None:
            self._threads.move_to_end((q, c))
            return run
        if q not in self._q:
            if len(self._q) >= self._limit:
                self._q.clear()
            self._q[q] = self._tokenizer.tokenize(_bytes(q), first=True, special=True)
        tokens = array("i", self._q[q])
        if c:
            tokens += self._tokenizer.tokenize(_bytes(c), first=not q, special=False)
        run = self._threads[q, c] = _Run(b"", tokens)
        if len(self._threads) > self._limit:
            self._threads.popitem(last=False)
        return run


def _next(run: _Run, rest: bytes) -> _Run | None:
    """The run after `run` with which `rest` begins: the longest known, else the part of a generated one that fits."""
    whole = [child for child in run.children if rest.startswith(child.text) and _belongs(child, rest)]
    if whole:
        return max(whole, key=lambda child: len(child.text))
    best = 0
    part: _Run | None = None
    for child in run.children:
        fitting = [end for end in child.ends if rest.startswith(child.text[:end])]
        if fitting and fitting[-1] > best:
            best = fitting[-1]
            part = _Run(child.text[:best], child.tokens[: len(fitting)], child.ends[: len(fitting)])
    if part is not None:
        run.children.append(part)
    return part


def _belongs(run: _Run, rest: bytes) -> bool:
    """False for appended text that only happens to begin like `rest`: what follows must be known too."""
    return bool(run.ends) or len(rest) == len(run.text) or _next(run, rest[len(run.text) :]) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
