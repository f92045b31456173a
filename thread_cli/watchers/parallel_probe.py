"""Parallel-Probe (arXiv 2602.03845): branches of one question are asked for their answers while they write; a branch
that disagrees for too long is pruned, and all are stopped once the answer of most has stayed the same for long enough.

The steps follow the numbers of the probes and not the clock: step n is decided as soon as every branch that still
writes has answered its probe n. So the answer depends on what the branches wrote, and not on how fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.events import Joined, Spawned, ThreadEnded, ThreadStarted
from thread_cli.contracts.watcher import Probe
from thread_cli.protocols.answers import answer_in, likeness
from thread_cli.watchers.decisions import DISAGREEMENTS, PATIENCE, WARM_UP, Decisions

if TYPE_CHECKING:
    from collections.abc import Hashable

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece
    from thread_cli.contracts.watcher import Watched
    from thread_cli.contracts.writer import Turn

__all__ = ["ParallelProbe"]

_MAIN: Final = "0"
_LEAST: Final = 8


@dataclass(slots=True)
class _Branch:
    """The state of a branch, from its events."""

    path: str
    answers: list[str] = field(default_factory=list[str])
    """What its probes answered; empty texts where they failed."""
    final: str = ""
    ended: bool = False
    failed: bool = False
    """Whether it ended without a result, so that it has no vote."""

    def done(self, number: int) -> bool:
        """Whether the branch ended before its probe `number`, counted from 0."""
        return self.ended and number >= len(self.answers)

    def at(self, number: int) -> str:
        """The answer to that probe; the final answer if the branch ended before."""
        return self.answers[number] if number < len(self.answers) else self.final


class ParallelProbe:
    """Watches the children of the main thread, which are the branches.

    Args:
        distance: tokens that a branch writes between two probes; 500 in the paper, whose branches write 15,000.
        warm_up: steps in which no branch is pruned, and no disagreement counted.
        patience: steps in a row in which the answer of most branches has to stay the same, until all are stopped.
        disagreements: steps in a row in which a branch disagrees with the answer of most, after which it is pruned.
        opening: text after which a branch writes the answer that it would give now.
        stop: text that ends this answer.
        longest: tokens that it may have.

    Raises:
        ValueError: a setting is out of range.
    """

    branches = True

    def __init__(
        self,
        *,
        distance: int = 500,
        warm_up: int = WARM_UP,
        patience: int = PATIENCE,
        disagreements: int = DISAGREEMENTS,
        opening: str = "\n\nThe final answer is \\boxed{",
        stop: str = "}",
        longest: int = 24,
    ) -> None:
        whole = {"patience": patience, "disagreements": disagreements, "longest": longest}
        for name, value, least in (
            ("distance", distance, _LEAST),
            ("warm_up", warm_up, 0),
            *((name, value, 1) for name, value in whole.items()),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"{name} is {value!r}, and has to be a whole number from {least} on")
        for name, value in (("opening", opening), ("stop", stop)):
            if type(value) is not str or not value:
                raise ValueError(f"{name} is {value!r}, and has to be a text")
        self._probe = Probe(distance, opening, (stop,) if stop == "\n" else (stop, "\n"), longest)
        self._settings = {"warm_up": warm_up, "patience": patience, "disagreements": disagreements}
        self._branches: dict[str, _Branch] = {}
        self._said: dict[str, str] = {}
        """What probes have answered that have not joined, by their paths; empty texts until then."""
        self._number = 0
        """The probe of each branch that is to be decided next."""

    def probe(self, turn: Turn) -> Probe | None:
        """The probe of a branch."""
        return self._probe if turn.depth == 1 else None

    def begin(self, episode: Watched) -> None:
        self._episode = episode

    def hear(self, thread: str, piece: Piece) -> None:
        pass

    def see(self, event: Event) -> None:
        """Take what branches and probes return, and decide the steps that are complete by it."""
        match event:
            case Spawned(thread=thread, children=children) if thread == _MAIN and not self._branches:
                self._branches = {path: _Branch(path) for path in children}
                self._decisions = Decisions(len(children), **self._settings)
            case ThreadEnded(thread=thread) if thread in self._branches:
                branch = self._branches[thread]
                branch.final, branch.ended = _answer(event), True
                branch.failed = event.how is not Ending.returned
                self._decide()
            case ThreadStarted(parent=parent) if parent in self._branches and event.opening == self._probe.opening:
                self._said[event.thread] = ""
            case ThreadEnded(thread=thread) if thread in self._said:
                self._said[thread] = _answer(event)
            case Joined(thread=thread, children=children, text="") if thread in self._branches:
                # A probe joins without a text, as children do whose results are variables; where it could not be born,
                # there is no answer.
                probes = [child for child in children if child in self._said]
                if probes or not children:
                    self._branches[thread].answers.append(self._said.pop(probes[0]) if probes else "")
                    self._decide()
            case _:
                pass

    def _decide(self) -> None:
        # Decisions are made when a probe has joined, not when it ends: the branch then is in its next call at once, and
        # not on the way there, so that a replay finds it where it was.
        while not self._decisions.over and self._complete():
            self._step()

    def _standing(self) -> list[_Branch]:
        branches = [*self._branches.values()]
        return [branches[place] for place in self._decisions.standing]

    def _complete(self) -> bool:
        """Whether each branch that is not pruned has answered the next probe, or has come to its end before."""
        return all(branch.ended or len(branch.answers) > self._number for branch in self._standing())

    def _step(self) -> None:
        branches, number = [*self._branches.values()], self._number
        self._number += 1
        self._decisions.drop(place for place, branch in enumerate(branches) if branch.failed and branch.done(number))
        if not number:  # as in the released code, the first answers decide nothing
            return
        answers = [_vote(place, branch.at(number)) for place, branch in enumerate(branches)]
        done = [branch.done(number) for branch in branches]
        settings = self._settings
        for place in self._decisions.step(answers, done):
            steps = settings["disagreements"]
            self._episode.prune(branches[place].path, f"its answer was not that of most in {steps} steps in a row")
        winner = self._decisions.winner
        if self._decisions.over and isinstance(winner, str) and not all(branch.ended for branch in branches):
            votes = [place for place in self._decisions.standing if answers[place] == winner]
            why = f"{len(votes)} of {len(self._decisions.standing)} branches agree at probe {number + 1}"
            self._episode.stop(why, branches[votes[0]].at(number))


def _answer(event: ThreadEnded) -> str:
    return "" if event.failed else answer_in(event.result or "")


def _vote(place: int, answer: str) -> Hashable:
    """The answer as it is counted. A branch that gave none agrees with nobody."""
    return likeness(answer) or place
