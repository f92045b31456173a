"""From logits to tokens to text: greedy or nucleus sampling, and exact stops. All of it belongs to one call alone."""

from __future__ import annotations

import codecs
import zlib
from itertools import islice
from threading import local
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from thread_cli.contracts.model import Request

__all__ = ["Rules", "Sampler", "Text"]

_COLDEST = 1e-6
"""Below this temperature nothing but the most probable token has any weight left."""
_FEW = 256
"""So many tokens nearly always hold the share of top-p: sorting them alone is fast."""


class _Scratch(local):
    """Memory for one draw at a time, kept for the next: to get some anew takes longer than to draw."""

    def __init__(self) -> None:
        self._rows: NDArray[np.float64] = np.empty((2, 0))

    def of(self, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two rows of `size` numbers."""
        if self._rows.shape[1] != size:
            self._rows = np.empty((2, size))
        return self._rows[0], self._rows[1]


_scratch = _Scratch()


class Rules(Protocol):
    """What a text may look like, told token by token."""

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        ...

    def allowed(self, logits: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The logits, minus infinity for tokens that may not come next; None if no token at all may."""
        ...

    def accept(self, token: int) -> None:
        """Go on past a token that `allows` or `allowed` has let through."""
        ...

    @property
    def end(self) -> int:
        """The token that ends a text."""
        ...


class Sampler:
    """Draws one call's tokens.

    `seed` None means a fresh one. `salt` tells calls with the same seed apart, so that they do not draw alike.
    `top_p` is the probability mass that the tokens drawn from hold together. With `rules`, no other text is written
    than they allow. With `logprobs`, the natural logarithms of the probabilities that the model itself gave to the
    chosen tokens, untempered and before any rule, are noted in `logprobs`. `drawn` tokens were drawn from the same seed
    and salt before, by an earlier call that this one goes on with.
    """

    def __init__(
        self,
        temperature: float,
        top_p: float,
        seed: int | None,
        salt: int,
        rules: Rules | None = None,
        *,
        logprobs: bool = False,
        drawn: int = 0,
    ) -> None:
        self.logprobs: list[float] | None = [] if logprobs else None
        self._temperature = temperature
        self._top_p = top_p
        self._random = np.random.default_rng(None if seed is None else [seed & (2**63 - 1), salt])
        if drawn and temperature > 0:
            self._random.random(drawn)
        self._rules = rules

    @classmethod
    def of(cls, request: Request, top_p: float, rules: Callable[[str], Rules]) -> Self:
        """The sampler of a request. `rules` reads its grammar, `top_p` holds where it has none of its own."""
        characters, tokens = request.resumes
        return cls(
            request.temperature,
            top_p if request.top_p is None else request.top_p,
            request.seed,
            zlib.crc32(request.prompt[: len(request.prompt) - characters].encode("utf-8", "replace")),
            rules(request.grammar) if request.grammar else None,
            logprobs=request.logprobs,
            drawn=tokens,
        )

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The next token; at temperature 0 the most probable one. To be called once for each token of the text."""
        token = self._draw(logits) if self._rules is None else self._ruled(logits, self._rules)
        if self.logprobs is not None:
            self.logprobs.append(_logprob(logits, token))
        return token

    def _ruled(self, logits: NDArray[np.float32], rules: Rules) -> int:
        # To look at one token costs next to nothing, to look at the whole vocabulary some milliseconds.
        token = int(logits.argmax())
        if self._temperature > 0 or not rules.allows(token):
            allowed = rules.allowed(logits)
            token = rules.end if allowed is None else self._draw(allowed)
        rules.accept(token)
        return token

    def _draw(self, logits: NDArray[np.float32]) -> int:
        if self._temperature <= 0:
            return int(logits.argmax())
        weights, mass = _scratch.of(len(logits))
        weights[:] = logits
        weights -= logits.max()
        weights /= max(self._temperature, _COLDEST)
        np.exp(weights, out=weights)
        if self._top_p < 1:
            weights = _nucleus(weights, self._top_p)
        # In the order of the vocabulary, in which two tokens that are almost equally likely never change places.
        np.cumsum(weights, out=mass)
        place = _place(mass, self._random.random() * mass[-1], "right")
        return place if place < len(mass) else int(weights.argmax())


def _nucleus(weights: NDArray[np.float64], top_p: float) -> NDArray[np.float64]:
    """The weights, 0 for all but the largest that together hold the share `top_p`."""
    wanted = top_p * float(weights.sum())
    order: NDArray[np.intp] = np.argpartition(weights, -min(_FEW, len(weights)))[-_FEW:]
    if float(weights[order].sum()) < wanted:
        order = np.arange(len(weights))
    order = order[np.argsort(-weights[order], kind="stable")]
    kept = order[: _place(np.cumsum(weights[order]), wanted, "left") + 1]
    nucleus = np.zeros_like(weights)
    nucleus[kept] = weights[kept]
    return nucleus


def _logprob(logits: NDArray[np.float32], token: int) -> float:
    shifted: NDArray[np.float64] = logits.astype(np.float64) - logits.max()
    return float(shifted[token] - np.log(np.exp(shifted).sum()))


def _place(mass: NDArray[np.float64], value: float, side: Literal["left", "right"]) -> int:
    place: Any = np.searchsorted(mass, value, side)
    return int(place)


class Text:
    """The text of a generation as it grows, and where a stop string ends it.

    The stop string that is complete first wins; of several that are complete at the same byte, the longest. So the
    text depends on its bytes alone and not on how they are divided into tokens.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        """Tokens and what each stands for."""
        self._bytes = bytearray()
        self._stop = [string.encode("utf-8", "replace") for string in stop]
        self._longest = max(map(len, self._stop), default=0)
        self._cut: tuple[int, int] | None = None
        self._passed_on = 0
        self._decoder = _decoder()

    def add(self, token: int, piece: bytes) -> bool:
        """Append a token; True if the text now holds a stop string."""
        start = max(0, len(self._bytes) - self._longest + 1)
        self.pieces.append((token, piece))
        self._bytes += piece
        found = [
            (at + len(stop), at, index)
            for index, stop in enumerate(self._stop)
            if stop and (at := self._bytes.find(stop, start)) >= 0
        ]
        self._cut = min(found)[1:] if found else None
        return self._cut is not None

    def news(self) -> str:
        """What has become certain since the last call of this: whole characters that no stop string can begin with."""
        end = self._end - (0 if self._cut else self._held())
        new = self._decoder.decode(bytes(self._bytes[self._passed_on : end]))
        self._passed_on = end
        return new

    def parts(self) -> list[str]:
        """What each token has added to the text; a character counts with the token that completes it.

        They join to the text. Tokens that begin only after its end are left out.
        """
        decoder = _decoder()
        decoder.decode(bytes(self._bytes[: self._end]))
        left = self._end - len(decoder.getstate()[0])
        decoder.reset()
        parts: list[str] = []
        for _, piece in self.pieces:
            if left <= 0:
                break
            parts.append(decoder.decode(piece[:left]))
            left -= len(piece)
        return parts

    def tokens(self) -> tuple[int, ...]:
        """The tokens of the text: those that begin before its end."""
        return tuple(islice((token for token, _ in self.pieces), len(self.parts())))

    @property
    def stopped_by(self) -> int | None:
        """Index of the stop string."""
        return None if self._cut is None else self._cut[1]

    @property
    def known(self) -> int:
        """Length in bytes of the text with the stop string that ended it."""
        return len(self._bytes) if self._cut is None else self._cut[0] + len(self._stop[self._cut[1]])

    @property
    def _end(self) -> int:
        return len(self._bytes) if self._cut is None else self._cut[0]

    def _held(self) -> int:
        """How many of the last bytes may turn out to begin a stop string."""
        for size in range(min(self._longest - 1, len(self._bytes)), 0, -1):
            tail = self._bytes[-size:]
            if any(stop.startswith(tail) for stop in self._stop):
                return size
        return 0

    def __str__(self) -> str:
        """The text before the stop string, without a last character of which only a part was generated."""
        return _decoder().decode(bytes(self._bytes[: self._end]))


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")
