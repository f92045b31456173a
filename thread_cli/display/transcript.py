"""One thread in full: its context and its whole token sequence Y, the parts that the engine appended marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.text import Text

from thread_cli.contracts.events import (
    Awaiting,
    CodeRan,
    Corrected,
    Event,
    Failed,
    Generated,
    Joined,
    Observed,
    Removed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)
from thread_cli.display.layout import UNICODE, Glyphs
from thread_cli.display.render import PHASE_STYLES
from thread_cli.display.state import Phase, ended_as, waits_for
from thread_cli.display.text import clean, clean_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Hand", "part_of", "render_thread"]

Hand = Literal["model", "engine", "aside", "wrong"]
"""The source of a piece of a thread's text: `model` was generated; `engine` was appended to Y; `aside` is output of the
thread's Python, `wrong` its error, neither of them part of Y.
"""

_FROM_MODEL, _FROM_ENGINE = "  ", "+ "


def part_of(event: Event) -> tuple[Hand, str] | None:
    """The text that an event adds to the transcript of its thread, and its source; None if it adds none."""
    match event:
        case Generated():
            return "model", event.text
        case Observed() | Joined() | Corrected() | Spawned(waits=False):
            return "engine", event.text
        case CodeRan(error=str(error)):
            return "wrong", error
        case CodeRan(printed=str(printed)):
            return "aside", printed
        case _:
            return None


def render_thread(events: Iterable[Event], path: str, *, glyphs: Glyphs = UNICODE) -> list[Text]:
    """The lines of thread `path`.

    A line that holds text appended by the engine begins with `+`, and that text is coloured. Code errors and failures
    stand where they happened, behind `!`.

    Raises:
        KeyError: there is no such thread.
    """
    transcript = _Transcript()
    begun = False
    phase = Phase.generating
    for event in events:
        if event.thread != path:
            continue
        match event:
            case ThreadStarted():
                begun = True
                transcript.note(f"thread {path} {glyphs.separator} depth {event.depth}", "bold")
                transcript.append(event.context, engine=True)
                transcript.note("Y", "bold")
            case Failed():
                transcript.note(f"! {event.boundary}: {event.failure}: {clean(event.message)}", "bold red")
            case Removed():
                transcript.note(f"{glyphs.separator} the text from character {event.kept:,} of Y on is replaced", "dim")
            case Awaiting():
                transcript.note(
                    f"{glyphs.phases[Phase.waiting]} {waits_for(event.children, event.which)}",
                    PHASE_STYLES[Phase.waiting],
                )
            case ThreadEnded():
                phase = ended_as(event)
                result = "nothing" if event.result is None else clean(event.result)
                transcript.note(f"{glyphs.phases[phase]} {phase} {glyphs.returns} {result}", PHASE_STYLES[phase])
            case _:
                transcript.add(part_of(event))
    if not begun:
        raise KeyError(path)
    return transcript.finish()


class _Transcript:
    """Joins pieces of text into lines that show the source of each."""

    def __init__(self) -> None:
        self._lines: list[Text] = []
        self._line = Text()
        self._engine = False

    def append(self, text: str, *, engine: bool) -> None:
        first, *rest = clean_lines(text)
        self._add(first, engine=engine)
        for line in rest:
            self._break()
            self._add(line, engine=engine)

    def add(self, part: tuple[Hand, str] | None) -> None:
        """Add a part. Output of code is left out, since it is returned or appended to Y anyway."""
        match part:
            case ("model" | "engine") as hand, text:
                self.append(text, engine=hand == "engine")
            case "wrong", error:
                self.note(f"! {clean(error)}", "red")
            case _:
                pass

    def note(self, words: str, style: str) -> None:
        """A line of our own."""
        self._flush()
        self._lines.append(Text(words, style))

    def finish(self) -> list[Text]:
        self._flush()
        return self._lines

    def _add(self, text: str, *, engine: bool) -> None:
        self._line.append(text, "cyan" if engine else "")
        self._engine = self._engine or (engine and bool(text))

    def _break(self) -> None:
        mark = _FROM_ENGINE if self._engine else _FROM_MODEL
        line = Text(mark, "dim cyan").append_text(self._line)
        line.rstrip()
        self._lines.append(line)
        self._line, self._engine = Text(), False

    def _flush(self) -> None:
        if self._line:
            self._break()
