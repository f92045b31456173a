"""One evaluation of `divergence.py` in a process of its own: logits of a text, kept or compared.

    divergence_worker.py MODEL TEXT TOKENS THREADS JSON

With `keep` in the options, the logits are written to that file as float32, a row for each token. With `against`, a list
of such files, a line of JSON tells the mean Kullback-Leibler divergence from each of them, in nats.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np
from formats_worker import Llama

from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.loading import load_model, quiet
from thread_cli.models.llama.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["divergence"]

BATCH = 256
LONGEST = 2048


def divergence(reference: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float64]:
    """The Kullback-Leibler divergence of each row's distribution from that of the reference's row, in nats."""
    of, to = _log_probabilities(reference), _log_probabilities(found)
    return (np.exp(of) * (of - to)).sum(axis=1)


def _log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def tokenised(model: Path, text: str, count: int) -> tuple[list[list[int]], int]:
    """The first tokens of a text, in pieces as long as the model's context at most; and the size of the vocabulary.

    Raises:
        SystemExit: the text is shorter.
    """
    quiet()
    llama.llama_backend_init()
    loaded = load_model(model, vocabulary_only=True)
    vocabulary = Vocabulary(loaded)
    trained = int(llama.llama_model_n_ctx_train(loaded))
    size = min(LONGEST, trained or LONGEST)
    tokens = list(vocabulary.tokenize(text.encode(), first=True, special=False))[:count]
    if len(tokens) < count:
        raise SystemExit(f"the text has {len(tokens)} tokens only")
    pieces = [tokens[at : at + size] for at in range(0, count, size)]
    width = vocabulary.size
    llama.llama_model_free(loaded)
    return pieces, width


class Ours:
    """The backend of this project, with one sequence."""

    def __init__(self, model: Path, threads: int, options: dict[str, Any]) -> None:
        chosen = {"kernel_path": options["path"]} if "path" in options else {}
        self._backend: Any = Backend(
            model, context=options["context"], sequences=1, batch=BATCH, threads=threads, **chosen
        )
        self.told = "own kernels" if self._backend.own else "in part llama.cpp"

    def logits(self, tokens: list[int], start: int) -> Any:
        if start == 0:
            self._backend.clear(0, 0)
        rows = self._backend.evaluate([Slice(0, start, array("i", tokens), len(tokens))])
        return np.stack(rows[0])


def rows(one: Ours | Llama, pieces: list[list[int]]) -> Iterator[NDArray[np.float32]]:
    """Logits, batch after batch; they hold until the next one."""
    for piece in pieces:
        for start in range(0, len(piece), BATCH):
            yield one.logits(piece[start : start + BATCH], start)


def main(model: str, text: str, count: str, threads: str, options: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    wanted = json.loads(options)
    pieces, width = tokenised(Path(model), Path(text).read_text("utf-8"), int(count))
    wanted["context"] = max(map(len, pieces)) + BATCH
    one: Any = (Ours if wanted.get("ours") else Llama)(Path(model), int(threads), wanted)
    said: dict[str, Any] = {"told": one.told if isinstance(one, Ours) else one.told()}
    shape = (int(count), width)
    at = 0
    if "keep" in wanted:
        kept = np.memmap(wanted["keep"], np.float32, "w+", shape=shape)
        for found in rows(one, pieces):
            kept[at : at + len(found)] = found
            at += len(found)
        kept.flush()
    else:
        references = [np.memmap(name, np.float32, "r", shape=shape) for name in wanted["against"]]
        sums = [0.0] * len(references)
        for found in rows(one, pieces):
            for number, reference in enumerate(references):
                # A few rows at once: a vocabulary may have 262,144 tokens, and the sums are of 64 bits.
                for row in range(0, len(found), 16):
                    some = reference[at + row : at + min(row + 16, len(found))]
                    sums[number] += float(divergence(some, found[row : row + 16]).sum())
            at += len(found)
        said["divergence"] = [each / at for each in sums]
    print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
