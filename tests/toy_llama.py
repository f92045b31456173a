"""A backend without llama.cpp: it keeps cells as the real one does, and what follows a text is a small sum over it."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from thread_cli.models.llama.policy import Policy

if TYPE_CHECKING:
    from thread_cli.models.llama.backend import Slice

LETTERS = 4
END = LETTERS


def choice(tokens: array) -> int:
    """The token after these: a letter, or now and then the end of the text."""
    value = sum(token * place for place, token in enumerate(tokens, 1)) + len(tokens)
    return END if value % 23 == 0 else value % LETTERS


def text_alone(prompt: str, most: int) -> str:
    """The text that the model generates after a prompt that nothing else is computed beside."""
    tokens = ToyVocabulary().tokenize(prompt.encode(), first=True, special=False)
    written = ""
    for _ in range(most):
        token = choice(tokens)
        if token == END:
            break
        tokens.append(token)
        written += chr(97 + token)
    return written


class ToyVocabulary:
    """The first letters of the alphabet, and an end of text."""

    size = LETTERS + 1
    handle = None

    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array:
        return array("i", [byte - 97 for byte in text])

    def piece(self, token: int) -> bytes:
        return bytes([97 + token])

    def is_end(self, token: int) -> bool:
        return token == END


class ToyBackend:
    """Sequences hold their tokens, cells are counted once for all sequences that share them."""

    def __init__(self, policy: Policy, *, context: int = 4096, sequences: int = 64) -> None:
        self.policy, self.context, self.sequences = policy, context, sequences
        self.recurrent, self.trained = False, 0
        self.vocabulary = ToyVocabulary()
        self.batches: list[list[Slice]] = []
        self.held: dict[int, list[tuple[int, int]]] = {}
        """Of each sequence its cells: a number of its own for each, and the token."""
        self._made = 0

    def metadata(self, key: str) -> str:
        return ""

    def share(self, source: int, target: int, start: int, end: int) -> None:
        mine = self.held.setdefault(target, [])
        assert len(mine) >= start
        mine[start:end] = self.held[source][start:end]

    def clear(self, sequence: int, start: int) -> None:
        del self.held.setdefault(sequence, [])[start:]

    def evaluate(self, slices: list[Slice]) -> list[list[np.ndarray]]:
        self.batches.append(slices)
        found: list[list[np.ndarray]] = []
        for part in slices:
            cells = self.held.setdefault(part.sequence, [])
            assert len(cells) == part.start
            rows: list[np.ndarray] = []
            for token in part.tokens:
                self._made += 1
                cells.append((self._made, token))
                rows.append(np.eye(LETTERS + 1, dtype=np.float32)[choice(array("i", [t for _, t in cells]))])
            found.append(rows[len(rows) - part.wanted :])
        assert len({cell for cells in self.held.values() for cell, _ in cells}) <= self.context
        return found
