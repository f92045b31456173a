"""Parallel-Probe on recorded branches, as its authors evaluate it: `python benchmarks/parallel_probe.py FILE…`.

A file (JSON, also compressed as .xz or .gz) is a list of questions, each with `gold_answer`, `probe_freq`, the tokens
between two probes, and `each_branch`: for each branch its answers at the probes, the number of its tokens, and its
final answer. For each seed, 64 of the branches are drawn; the figures are means over seeds and questions. Tokens that
probes themselves cost are not counted, as in the published table.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import random
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thread_cli.watchers.decisions import DISAGREEMENTS, PATIENCE, WARM_UP, Decisions, majority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DRAWN: Final = 64
SEEDS: Final = 100
_STEPS: Final = 100
"""Steps after which the released evaluation gives up."""
_OPENERS: Final[Mapping[str, Callable[..., Any]]] = {".xz": lzma.open, ".gz": gzip.open}


class Branch(NamedTuple):
    """A recorded branch."""

    answers: Sequence[Any]
    """The answer at each probe."""
    tokens: int
    final: Any

    def at(self, advances: int) -> Any:
        """The current answer once the branch was advanced that often: that of a probe, after the last one the final."""
        return self.answers[advances - 1] if advances <= len(self.answers) else self.final

    def cost(self, advances: int, distance: int) -> int:
        """The tokens that it had cost by then."""
        probed = len(self.answers)
        return advances * distance if advances <= probed else max(probed * distance, self.tokens)


@dataclass(frozen=True, slots=True)
class Question:
    branches: Sequence[Branch]
    gold: Any
    distance: int
    """Tokens between two probes."""


class Outcome(NamedTuple):
    right: bool
    total: int
    """Tokens of all branches."""
    sequential: int
    """Tokens of the longest branch."""


class Figures(NamedTuple):
    """Means over questions and seeds: accuracy in percent, and tokens, which are printed without their fractions."""

    accuracy: float
    total: float
    sequential: float

    def __str__(self) -> str:
        return f"{self.accuracy:.2f} / {int(self.total):,} / {int(self.sequential):,}"


def read(path: Path) -> list[Question]:
    """The questions of a file.

    Raises:
        ValueError: the file is not of this format.
        OSError: it cannot be read.
    """
    try:
        with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            questions = [_question(entry) for entry in json.load(file)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{path}: no recorded branches: {type(error).__name__}: {error}") from error
    if not questions:
        raise ValueError(f"{path}: it has no questions")
    return questions


def _question(entry: Mapping[str, Any]) -> Question:
    branches = [Branch([*map(_plain, answers)], int(tokens), _plain(final)) for answers, tokens, final in
                entry["each_branch"]]  # fmt: skip
    return Question(branches, _plain(entry["gold_answer"]), int(entry["probe_freq"]))


def _plain(answer: Any) -> Any:
    """An answer that can be compared and counted; numbers are compared as texts."""
    return answer if answer is None or isinstance(answer, str) else json.dumps(answer)


def drawn(question: Question, seed: int, count: int = DRAWN) -> list[Branch]:
    """The branches that a seed draws, in its order."""
    branches = [*question.branches]
    random.Random(seed).shuffle(branches)
    return branches[:count]


def probed(branches: Sequence[Branch], question: Question, **settings: int) -> Outcome:
    """The outcome of Parallel-Probe on these branches; `settings` are those of `Decisions`."""
    decisions = Decisions(len(branches), **settings)
    ends = [len(branch.answers) + 1 for branch in branches]
    advanced: list[int | None] = [None] * len(branches)
    advances = 1
    for _ in range(_STEPS):
        advances += 1
        current = [branch.at(advances) for branch in branches]
        for branch in decisions.step(current, [advances >= end for end in ends]):
            advanced[branch] = advances
        if decisions.over:
            break
    costs = [
        branch.cost(advances if until is None else until, question.distance)
        for branch, until in zip(branches, advanced, strict=True)
    ]
    return _outcome(decisions.winner, question, costs)


def voted(branches: Sequence[Branch], question: Question) -> Outcome:
    """The outcome of the majority of the final answers."""
    return _outcome(majority([branch.final for branch in branches]), question, [branch.tokens for branch in branches])


def _outcome(answer: Any, question: Question, costs: Sequence[int]) -> Outcome:
    return Outcome(answer is not None and answer == question.gold, sum(costs), max(costs, default=0))


def figures(outcomes: Iterable[Outcome]) -> Figures:
    """The means, computed exactly before they are rounded to floating-point numbers."""
    rows = [*outcomes]
    right, total, sequential = (Fraction(sum(column), len(rows)) for column in zip(*rows, strict=True))
    return Figures(float(100 * right), float(total), float(sequential))


def evaluated(
    questions: Sequence[Question], seeds: Iterable[int] = range(SEEDS), count: int = DRAWN, **settings: int
) -> tuple[Figures, Figures]:
    """The figures of Parallel-Probe and of the plain majority, over all questions and seeds."""
    pairs = [(question, drawn(question, seed, count)) for seed in seeds for question in questions]
    return (
        figures(probed(branches, question, **settings) for question, branches in pairs),
        figures(voted(branches, question) for question, branches in pairs),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--branches", type=int, default=DRAWN)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--patience", type=int, default=PATIENCE)
    parser.add_argument("--disagreements", type=int, default=DISAGREEMENTS)
    args = parser.parse_args()
    if min(args.seeds, args.branches, args.patience, args.disagreements) < 1 or args.warm_up < 0:
        parser.error("counts are whole numbers from 1 on, --warm-up from 0 on")
    settings = {name: getattr(args, name) for name in ("warm_up", "patience", "disagreements")}
    print("accuracy in % / tokens in all / tokens of the longest branch")
    for path in args.files:
        try:
            questions = read(path)
        except (OSError, ValueError) as error:
            print(f"parallel_probe: {error}", file=sys.stderr)
            return 2
        probe, vote = evaluated(questions, range(args.seeds), args.branches, **settings)
        print(f"{path.name}: parallel-probe {probe}; majority {vote}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
