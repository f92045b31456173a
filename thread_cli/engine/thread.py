"""The state of one thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import Repetition, UserError
from thread_cli.contracts.writer import Exchange, Turn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from thread_cli.contracts.errors import Ending
    from thread_cli.contracts.protocol import Protocol, Result
    from thread_cli.contracts.writer import Feedback
    from thread_cli.engine.limits import Budget, Deadline
    from thread_cli.engine.namespace import Namespace
    from thread_cli.engine.pending import Pending

__all__ = ["Thread", "is_first_of_its_format"]


@dataclass(slots=True, eq=False)
class Thread:
    """One thread: context c, token sequence Y, names, and its place in the tree.

    `path` is `0` for the main thread and `0.2` for its third child.
    """

    path: str
    parent: Thread | None
    depth: int
    context: str
    names: Namespace
    budget: Budget
    deadline: Deadline | None
    ended: asyncio.Future[Result]
    protocol: Protocol
    """Its wire format."""
    opening: str | None = None
    """The text before its Y; None: as its wire format opens its context."""
    stop: tuple[str, ...] | None = None
    """Its stop strings; None: those of its wire format."""
    inherited: int | None = None
    """Characters of its parent's Y that it reads before its own; None where it begins with its own context."""
    task: str = ""
    """The text of the task."""
    brief: object = None
    """The object that its parent's writer left for its own writer."""
    exchanges: tuple[Exchange, ...] = ()
    """Its exchanges so far."""
    above: Turn | None = None
    """Its parent when it spawned this thread, if it inherits the parent's text."""
    tokens: Sequence[int] | None = None
    """The token numbers of its newest completion, if the model told them."""
    how: Ending | None = None
    """How it ends, if a watcher or its parent's end decided that before."""
    reason: str = ""
    """Why a watcher ends it."""
    begun: bool = False
    """Whether its task runs; before that, setting `how` is enough to end it."""
    alive: dict[str, Thread] = field(default_factory=dict[str, "Thread"])
    """Its children that have not ended, and threads that were detached to it."""
    background: Pending[Thread] | None = None
    """Its children in the background that it has not awaited yet."""
    cause: int | None = None
    """`n` of the thread's newest event."""
    children: int = 0
    held: str = ""
    """Text that was cut off on purpose, whose code is run once it goes on and is finished."""
    printed: str | None = None
    error: str | None = None
    """The error of the newest piece of code, if it ended in one."""
    by_code: bool = False
    """Whether a writer beside the model wrote its newest text, and so writes the next one."""
    counted: tuple[int, int] = (0, 0)
    """Characters and tokens of the newest prompt."""
    _steps: dict[int, tuple[int, int]] | None = None
    """For each step taken, by hash: the hash of its newest feedback, and how often in a row it was the same."""
    y: str = ""
    """All that it has written and read."""

    def prompt(self) -> tuple[str, str]:
        """Its prompt behind the few-shot prompt: c and Y. Where it inherits, they begin with its ancestors' text."""
        if self.inherited is None:
            return self._opened(), self.y
        thread, parts = self, [self.y]
        while thread.inherited is not None and thread.parent is not None:
            parts += [thread._opened(), thread.parent.y[: thread.inherited]]
            thread = thread.parent
        return thread._opened(), "".join(reversed(parts))

    def _opened(self) -> str:
        return self.protocol.open(self.context) if self.opening is None else self.opening

    def prompt_tokens(self, length: int) -> int:
        """Tokens of the next prompt, which has `length` characters: those of the last prompt, and an estimate for the
        new text.

        0 for a thread's first prompt, as only the model's answer tells the number of its tokens.
        """
        characters, tokens = self.counted
        if not tokens:
            return 0
        return tokens + max(0, length - characters) // 4

    def write(self, text: str) -> None:
        """Append to Y."""
        self.y += text

    def read(self, written: str, text: str, feedback: Feedback, removed: int = 0) -> None:
        """Append to Y the text in which it reads the feedback to what it has written; `removed` characters of Y were
        removed before.
        """
        self.write(text)
        self.exchanges = (*self.exchanges, Exchange(written, feedback, text, self.tokens, removed))

    def remove(self, kept: int) -> int:
        """Remove all of Y but its first `kept` characters; returns the number of those removed.

        Raises:
            UserError: a child in the background goes on from some of them.
        """
        removed = len(self.y) - kept
        if any(child.parent is self and (child.inherited or 0) > kept for child in self.alive.values()):
            raise UserError("the wire format removes text of a thread from which a child in the background goes on")
        self.y = self.y[:kept]
        characters, tokens = self.counted
        self.counted = (characters - removed, max(0, tokens - removed // 4))
        return removed

    @property
    def concludes(self) -> bool:
        """Whether code writes it on from children of which one has returned. No limit refuses that: code costs no
        tokens, and the answers of its threads would be lost. It comes to an end, as further children may make no call.
        """
        return self.by_code and any(not result.failed for result in self.exchanges[-1].feedback.results)

    @property
    def stops(self) -> tuple[str, ...]:
        """Its stop strings, the first of which is ω_listen."""
        return self.stop or self.protocol.stop

    def turn(self) -> Turn:
        """Its structure, for its writer."""
        if self.above is None:
            return Turn(self.path, self.depth, self.task, self.context, self.brief, self.exchanges)
        opening = self._opened()
        return Turn(self.path, self.depth, self.task, self.context, self.brief, self.exchanges, self.above, opening)

    def inherited_turn(self) -> Turn:
        """Its structure for a child that inherits its text: with the text after its last exchange."""
        answered = sum(len(part.text) - part.removed + len(part.read) for part in self.exchanges)
        return self.turn()._replace(written=self.y[answered:], tokens=self.tokens)

    def step(self, *parts: str, repeats: int) -> int:
        """The key of a step, a hash of `parts`: the text that was written and the move with its values.

        Raises:
            Repetition: the step was taken `repeats` times already, and each time its feedback was the same.
        """
        key = hash(parts)
        if self._steps is not None and self._steps.get(key, (0, 0))[1] >= repeats:
            raise Repetition(f"the thread takes the same step with the same outcome for the {repeats + 1}. time")
        return key

    def stepped(self, key: int, feedback: str) -> None:
        """Note the feedback to a step."""
        outcome = hash(feedback)
        if self._steps is None:
            self._steps = {}
        before, times = self._steps.get(key, (outcome, 0))
        self._steps[key] = (outcome, times + 1 if before == outcome else 1)

    def ancestors_with(self, context: str) -> int:
        """How many of this thread and its ancestors have the context `context`."""
        count, thread = 0, self
        while thread is not None:
            count += thread.context == context
            thread = thread.parent
        return count


def is_first_of_its_format(thread: Thread) -> bool:
    """Whether it is a main thread, or reads and writes like one: a branch below a vote."""
    if thread.parent is None:
        return True
    return thread.inherited is None and thread.protocol is not thread.parent.protocol
