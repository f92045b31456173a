"""Which tokens stand for which text, as llama.cpp has it."""

from __future__ import annotations

import ctypes
from array import array
from typing import Any

import llama_cpp.llama_cpp as llama

__all__ = ["Vocabulary"]


class Vocabulary:
    """The vocabulary of a model that llama.cpp has loaded; good for as long as the model is."""

    def __init__(self, model: Any) -> None:
        self.handle: Any = llama.llama_model_get_vocab(model)
        """For functions of llama.cpp's own, such as its samplers."""
        self.size = int(llama.llama_vocab_n_tokens(self.handle))
        begin: list[Any] = [llama.llama_vocab_bos(self.handle)] if llama.llama_vocab_get_add_bos(self.handle) else []
        self.begin: array[int] = array("i", begin)
        """What every prompt begins with; may be nothing."""
        self._pieces: dict[int, bytes] = {}
        self._pads = b"".join(map(self.piece, self._tokens(b"a", special=False))) != b"a"

    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array[int]:
        """Tokens of a text. Where it begins a prompt, the model's own rules for a beginning apply (BOS, space).

        `special`: whether the names of control tokens in the text are those tokens.
        """
        if first:
            return self.begin + self._tokens(text, special=special)
        if not self._pads:
            return self._tokens(text, special=special)
        # A vocabulary that puts a space before any text: hide it behind a line break, and take both away again.
        lead = self._tokens(b"\n", special=False)
        tokens = self._tokens(b"\n" + text, special=special)
        if tokens[: len(lead)] == lead and b"".join(map(self.piece, tokens[len(lead) :])) == text:
            return tokens[len(lead) :]
        return self._tokens(text, special=special)

    def piece(self, token: int) -> bytes:
        """The text that a token stands for; several tokens may make one character."""
        known = self._pieces.get(token)
        if known is not None:
            return known
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = int(llama.llama_token_to_piece(self.handle, token, buffer, size, 0, True))
            if length >= 0:
                break
            size = -length
        self._pieces[token] = buffer.raw[:length]
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        """True if the model ends its text with this token."""
        return bool(llama.llama_vocab_is_eog(self.handle, token))

    def _tokens(self, text: bytes, *, special: bool) -> array[int]:
        size = len(text) + 8
        while True:
            buffer: Any = (llama.llama_token * size)()
            count = int(llama.llama_tokenize(self.handle, text, len(text), buffer, size, False, special))
            if count >= 0:
                return array("i", buffer[:count])
            size = -count
