"""A model of which code writes threads: it follows a writer's courses, and leaves all other threads to a model.

A course under way is kept between calls. Where it does not fit a request (the same request comes again, or one of
another episode), the course is run again from its beginning: so the same request always gets the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import MalformedOutput, ModelError
from thread_cli.contracts.model import Completion, Piece, Usage
from thread_cli.contracts.protocol import Act, Await, Child, End, Spawn
from thread_cli.contracts.writer import Decided
from thread_cli.models.around import tell_recorded
from thread_cli.protocols.streams import asked, poured
from thread_cli.protocols.text import estimated_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from thread_cli.contracts.model import Model, Request
    from thread_cli.contracts.writer import Course, Exchange, Turn, Writer

__all__ = ["Written"]

_STRAYED: Final = "\nprint('the teacher did not write this thread')\n"


class Written:
    """Writes the threads that `writer` has a course for.

    Beside a model, what code writes costs no tokens, and its events name the writer. Without one, the writer stands in
    for a model, as a teacher does: its tokens are estimated, and nothing counts as cached.

    Args:
        writer: decides what to write.
        model: writes all threads that have no course; it is closed by whoever has opened it.
        name: of the writer, in events; the name of its class where none is given.
    """

    def __init__(self, writer: Writer, model: Model | None = None, *, name: str = "") -> None:
        self._writer = writer
        self._model = model
        self._name = name or type(writer).__name__
        tell_recorded(self, model)
        self._followed: dict[tuple[str, str, str], _Followed] = {}

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """The next turn of a thread, piece by piece where the model writes it and streams; raises as `complete`."""
        return poured(lambda tell: self._turn(request, tell))

    async def complete(self, request: Request) -> Completion:
        """The next turn of a thread.

        Raises:
            ModelError: as the model does; there is no model, and the writer has no course for the thread; or its course
            fails, or writes neither a text nor a text with a move.
            MalformedOutput: what the thread has written so far is not what its course writes.
        """
        return await self._turn(request)

    async def close(self) -> None:
        """Release nothing: a writer holds nothing, and the model belongs to whoever has opened it."""
        return

    async def _turn(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        decided = None if request.turn is None else self._decided(request.turn)
        if decided is not None:
            written = self._completion(request, decided)
            if tell is not None:
                tell(Piece(written.text, tokens=written.usage.generated))
            return written
        if self._model is None:
            why = "its structure is not told" if request.turn is None else f"{self._name} has no course for it"
            raise ModelError(f"nobody writes thread {request.thread}: {why}")
        return await asked(self._model, request, tell)

    def _decided(self, turn: Turn) -> str | Decided | None:
        """What the course of a thread writes now; None where it has none."""
        key = (turn.thread, turn.task, turn.context)
        followed = self._followed.pop(key, None)
        if followed is None or not followed.fits(turn):
            course = self._writer.course(turn)
            if course is None:
                return None
            followed = _Followed(course, turn.brief, turn.inherits)
        try:
            decided = followed.reply(turn.exchanges)
        except MalformedOutput:
            if self._model is not None:
                raise
            return Decided(_STRAYED, End())
        if not followed.over:
            self._followed[key] = followed
        if not _is_sound(decided):
            raise ModelError(
                f"a course of {self._name} has written neither text nor text with a move: {decided!r:.120}"
            )
        return decided

    def _completion(self, request: Request, decided: str | Decided) -> Completion:
        move = decided.move if isinstance(decided, Decided) else None
        text = _text(decided)
        if self._model is not None:
            usage = Usage(cost=0.0)
        else:
            prompt, generated = estimated_tokens(request.prompt), estimated_tokens(text)
            usage = Usage(prompt, generated=generated, estimated=True, cached_known=False)
        return Completion(
            text,
            "end" if isinstance(move, End) else "listen",
            usage,
            move=move,
            writer=self._name if self._model is not None else "",
        )


@dataclass(slots=True)
class _Followed:
    """A course under way."""

    course: Course
    brief: object
    inherits: Turn | None
    """The turn of the parent that the course was told of when it began."""
    begun: bool = False
    written: str | Decided = ""
    """The text, or the text with its move, that the course yielded last."""
    heard: int = 0
    """Number of exchanges whose feedback the course was sent."""
    last: Exchange | None = None
    """The newest of these exchanges."""
    over: bool = False

    def fits(self, turn: Turn) -> bool:
        """Whether it can go on to this turn."""
        if turn.brief is not self.brief or turn.inherits is not self.inherits or self.heard > len(turn.exchanges):
            return False
        return not self.heard or turn.exchanges[self.heard - 1] is self.last

    def reply(self, exchanges: Sequence[Exchange]) -> str | Decided:
        """The course's text after these exchanges; raises MalformedOutput where they hold other texts than it wrote."""
        try:
            if not self.begun:
                self.written, self.begun = next(self.course), True
            for exchange in exchanges[self.heard :]:
                if not _is_sound(self.written) or exchange.text != _text(self.written):
                    break
                self.heard, self.last = self.heard + 1, exchange
                self.written = self.course.send(exchange.feedback)
            else:
                return self.written
        except StopIteration as ended:
            self.over = True
            if self.heard == len(exchanges):
                return Decided(ended.value, End())
        raise MalformedOutput("this thread has written something else than its course")


def _text(written: str | Decided) -> str:
    return written if isinstance(written, str) else written.text


def _is_sound(written: object) -> bool:
    """Whether that is what a course may write: writers are anybody's code, which the engine does not look through."""
    if not isinstance(written, Decided):
        return isinstance(written, str)
    match written:
        case Decided(str(), End() | Act(str())):
            return True
        case Decided(str(), Await(handles, "all" | "any")):
            return not isinstance(handles, str) and all(map(_is_text, handles))
        case Decided(str(), Spawn(lines)):
            return not isinstance(lines, str) and all(map(_is_child, lines))
        case _:
            return False


def _is_child(line: object) -> bool:
    if not isinstance(line, Child):
        return isinstance(line, str)
    texts = (line.line, line.context or "", line.opening or "", *(line.stop or ()))
    return all(map(_is_text, texts)) and not isinstance(line.stop, str)


def _is_text(value: object) -> bool:
    return isinstance(value, str)
