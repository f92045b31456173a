"""Full-text search as WebShop's: Lucene's English analysis and BM25 with k1 = 0.9 and b = 0.4, computed by `bm25s`."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["HITS", "Index", "words"]

HITS: Final = 50
"""How many products a search finds at most."""
_STOP_WORDS: Final = frozenset(
    """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
    was will with
    """.split()  # noqa: SIM905
)
_LETTER = r"[^\W\d_]"
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
# Unicode's word boundaries (UAX 29): some signs join letters, others digits.
_WORD: Final = re.compile(
    rf"\w+(?:(?:(?<={_LETTER})[.:·{_APOSTROPHES}](?={_LETTER})|(?<=\d)[.,;{_APOSTROPHES}](?=\d))\w+)*"
)
_POSSESSIVE: Final = re.compile(rf"[{_APOSTROPHES}]s\Z")


def words(text: str) -> list[str]:
    """The words of a text in the form in which they are compared: lower case, no stop words, Porter stems."""
    found = (_POSSESSIVE.sub("", word) for word in _WORD.findall(text.lower()))
    return [_stem(word) for word in found if word not in _STOP_WORDS]


@cache
def _stemmer() -> Any:
    return import_module("Stemmer").Stemmer("porter")


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return _stemmer().stemWord(word)


class Index:
    """BM25 scores of all words in all documents; documents are numbered from 0."""

    def __init__(self, retriever: Any, lookup: Callable[[str], int | None]) -> None:
        self._retriever = retriever
        self._lookup = lookup

    @classmethod
    def build(cls, documents: Sequence[Sequence[int]], vocabulary: Mapping[str, int]) -> Index:
        """Index documents whose words are given by their numbers in the vocabulary."""
        retriever = _retriever()
        retriever.index(_Tokenized(list(documents), dict(vocabulary)), create_empty_token=False, show_progress=False)
        return cls(retriever, vocabulary.get)

    @classmethod
    def open(cls, folder: Path, documents: int, lookup: Callable[[str], int | None]) -> Index:
        """An index that `save` has written; it stays on disk and is read where needed."""
        retriever = _retriever()
        retriever.load_scores(folder, num_docs=documents, mmap=True)
        retriever.nonoccurrence_array = None
        return cls(retriever, lookup)

    def save(self, folder: Path) -> None:
        import numpy as np

        for name in ("data", "indices", "indptr"):
            np.save(folder / f"{name}.csc.index.npy", self._retriever.scores[name])

    def search(self, query: str) -> list[int]:
        """The numbers of the best documents, at most `HITS`; of equals the first comes first."""
        import numpy as np

        known = [number for word in words(query) if (number := self._lookup(word)) is not None]
        if not known:
            return []
        scores = self._retriever.get_scores_from_ids(known)
        hits = np.flatnonzero(scores > 0)
        if len(hits) > HITS:
            least = np.partition(scores[hits], -HITS)[-HITS]
            hits = hits[scores[hits] >= least]
        return hits[np.lexsort((hits, -scores[hits]))][:HITS].tolist()


class _Tokenized:
    """What `bm25s` takes for documents of numbered words."""

    def __init__(self, ids: list[Sequence[int]], vocab: dict[str, int]) -> None:
        self.ids = ids
        self.vocab = vocab


def _retriever() -> Any:
    return import_module("bm25s").BM25(method="lucene", k1=0.9, b=0.4)
