"""The vocabulary of the model to train, as the llama backend will have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import finalize

import llama_cpp.llama_cpp as llama
from transformers import AutoTokenizer

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.loading import load_model, quiet
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.vocabulary import Vocabulary as Known

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Vocabulary", "unloadable", "vocabulary"]


class Vocabulary(Protocol):
    """The mapping from text to tokens."""

    def encode(self, text: str, *, first: bool) -> list[int]:
        """The tokens that the llama backend gives a text in which names of control tokens are nothing but text.

        `first`: it begins a prompt.
        """
        ...


def vocabulary(source: Path | None = None) -> Vocabulary:
    """The vocabulary of a GGUF file or of a Hugging Face folder; None is the embedded model's.

    Raises:
        UserError: it cannot be read.
    """
    path = packaged() if source is None else source
    return _OfFolder(path) if path.is_dir() else _OfFile(path)


def unloadable(path: Path, error: Exception) -> UserError:
    """The error for a folder that transformers cannot load."""
    return UserError(f"{str(path)!r} holds no model that transformers can load: {' '.join(str(error).split())}")


class _OfFile:
    """The vocabulary of a GGUF file, through llama.cpp."""

    def __init__(self, path: Path) -> None:
        quiet()
        llama.llama_backend_init()
        model = load_model(path, vocabulary_only=True)
        finalize(self, llama.llama_model_free, model)
        self._known = Known(model)

    def encode(self, text: str, *, first: bool) -> list[int]:
        return list(self._known.tokenize(text.encode("utf-8", "replace"), first=first, special=False))


class _OfFolder:
    """A tokenizer of transformers."""

    def __init__(self, path: Path) -> None:
        tokenizers = cast("Any", AutoTokenizer)  # its declared types are incomplete
        try:
            tokenizer = tokenizers.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise unloadable(path, error) from None
        self._tokenizer = tokenizer
        begins = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        self._begin: list[int] = [tokenizer.bos_token_id] if begins else []
        self._pads = tokenizer.convert_ids_to_tokens(self._tokens("a")) != ["a"]

    def encode(self, text: str, *, first: bool) -> list[int]:
        if first:
            return self._begin + self._tokens(text)
        if not self._pads:
            return self._tokens(text)
        # It puts a space before any text, so a line break goes in front to absorb it.
        lead, both = self._tokens("\n"), self._tokens("\n" + text)
        return both[len(lead) :] if both[: len(lead)] == lead else self._tokens(text)

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
