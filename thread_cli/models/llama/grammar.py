"""Grammars in GBNF, checked by llama.cpp's own grammar sampler."""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.loading import last_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grammar"]

_LONGEST = 32_768
_DEEPEST = 100
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama.cpp's `llama_token_data`."""


class Grammar:
    """The rules of one text, from its beginning. `vocab` is llama.cpp's vocabulary of the model that writes it.

    Raises:
        UserError: the text is no GBNF grammar with a rule `root`.
    """

    def __init__(self, vocab: Any, text: str) -> None:
        _check(text)
        self._vocab = vocab
        last_error()
        self._sampler: Any = llama.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        if not self._sampler:
            raise UserError(f"the grammar is not GBNF with a rule named root: {last_error()}")
        weakref.finalize(self, llama.llama_sampler_free, self._sampler)

    @property
    def end(self) -> int:
        """The token that ends a text."""
        return int(llama.llama_vocab_eos(self._vocab))

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        candidates = np.zeros(1, _CANDIDATE)
        candidates["id"] = token
        self._apply(candidates)
        return bool(np.isfinite(candidates["logit"][0]))

    def allowed(self, logits: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The logits, minus infinity for tokens that may not come next; None if no token at all may."""
        candidates = np.zeros(len(logits), _CANDIDATE)
        candidates["id"] = np.arange(len(logits))
        candidates["logit"] = logits
        self._apply(candidates)
        masked: NDArray[np.float32] = np.ascontiguousarray(candidates["logit"])
        return masked if np.isfinite(masked).any() else None

    def accept(self, token: int) -> None:
        """Go on past a token that may come next. The end of a text is none to go past."""
        if not llama.llama_vocab_is_eog(self._vocab, token):
            llama.llama_sampler_accept(self._sampler, token)

    def _apply(self, candidates: NDArray[Any]) -> None:
        array: Any = llama.llama_token_data_array()
        array.data = ctypes.cast(candidates.ctypes.data, ctypes.POINTER(llama.llama_token_data))
        array.size, array.selected, array.sorted = len(candidates), -1, False
        pointer: Any = ctypes.byref(array)
        llama.llama_sampler_apply(self._sampler, pointer)


def _check(text: str) -> None:
    """Refuse what llama.cpp's parser would print on the terminal as it is, cut off, or exhaust its stack with."""
    if len(text) > _LONGEST:
        raise UserError(f"the grammar has {len(text)} characters; at most {_LONGEST} are read")
    if any(not (char.isprintable() or char in "\n\r\t") for char in text):
        raise UserError("the grammar holds control characters; write them as escapes, such as \\x1b")
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth > _DEEPEST:
            raise UserError(f"the grammar nests more than {_DEEPEST} brackets; give the inner ones rules of their own")
