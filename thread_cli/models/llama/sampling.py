"""From logits to tokens to text: greedy or nucleus sampling, and exact stops. All of it belongs to one call alone."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Sampler", "Text"]


class Sampler:
    """Draws one call's tokens.

    `seed` None means a fresh one. `salt` tells calls with the same seed apart, so that they do not draw alike.
    `top_p` is the probability mass that the tokens drawn from hold together.
    """

    def __init__(self, temperature: float, top_p: float, seed: int | None, salt: int) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._random = np.random.default_rng(None if seed is None else [seed & (2**63 - 1), salt])

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The next token; at temperature 0 the most probable one."""
        if self._temperature <= 0:
            return int(logits.argmax())
        weights: NDArray[np.float64] = np.exp((logits.astype(np.float64) - logits.max()) / self._temperature)
        order: NDArray[np.intp] = np.argsort(-weights, kind="stable")
        mass: NDArray[np.float64] = np.cumsum(weights[order])
        kept = len(mass)
        if self._top_p < 1:
            kept = min(kept, _place(mass, self._top_p * mass[-1], "left") + 1)
        drawn = self._random.random() * mass[kept - 1]
        return int(order[min(_place(mass, drawn, "right"), kept - 1)])


def _place(mass: NDArray[np.float64], value: float, side: Literal["left", "right"]) -> int:
    place: Any = np.searchsorted(mass, value, side)
    return int(place)


class Text:
    """The text of a generation as it grows, and where a stop string ends it."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        """Tokens and what each stands for."""
        self._bytes = bytearray()
        self._stop = [string.encode("utf-8", "replace") for string in stop]
        self._longest = max(map(len, self._stop), default=0)
        self._cut: tuple[int, int] | None = None

    def add(self, token: int, piece: bytes) -> bool:
        """Append a token; True if the text now holds a stop string."""
        start = max(0, len(self._bytes) - self._longest + 1)
        self.pieces.append((token, piece))
        self._bytes += piece
        found = [(at, i) for i, stop in enumerate(self._stop) if stop and (at := self._bytes.find(stop, start)) >= 0]
        self._cut = min(found, default=None)
        return self._cut is not None

    @property
    def stopped_by(self) -> int | None:
        """Index of the stop string."""
        return None if self._cut is None else self._cut[1]

    @property
    def known(self) -> int:
        """Length in bytes of the text with the stop string that ended it."""
        return len(self._bytes) if self._cut is None else self._cut[0] + len(self._stop[self._cut[1]])

    def __str__(self) -> str:
        """The text before the stop string, without a last character of which only a part was generated."""
        end = len(self._bytes) if self._cut is None else self._cut[0]
        return codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._bytes[:end]))
