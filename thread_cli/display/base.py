"""The base class of displays, and writing to a stream that may be closed at any time."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, redirect_stderr
from typing import IO, TYPE_CHECKING, Final, Self

from rich.live import Live

from thread_cli.supervision import note

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType

    from rich.console import Console, RenderableType
    from rich.text import Text

    from thread_cli.contracts.events import Event

__all__ = ["Display", "LineWriter", "print_lines", "redrawn"]

# Terminals disagree on the width of some characters. A line that comes out too long must not push the others down.
_WRAP_OFF: Final = "\x1b[?7l"
_WRAP_ON: Final = "\x1b[?7h"


class Display:
    """A sink that shows the events of a run while it is used as a context manager. This one shows nothing.

    `speed` is the number of recorded seconds that pass in one second; it differs from 1 only in a replay.
    """

    speed: float = 1.0

    def __call__(self, event: Event) -> None:
        """Show one event."""

    def start(self) -> None:
        """Begin to show."""

    def stop(self) -> None:
        """Restore the terminal, with the final output on it. May be called twice."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class LineWriter:
    """Writes whole lines at once. When nobody reads them any more, writes nothing and says so in `broken`."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.broken = False

    def write(self, text: str) -> None:
        """Write `text` and a line end, and flush."""
        if self.broken:
            return
        encoding = getattr(self.file, "encoding", None) or "utf-8"
        safe = text.encode(encoding, "replace").decode(encoding)
        try:
            self.file.write(safe + "\n")
            self.file.flush()
        except BrokenPipeError:
            self.broken = True
            self._discard_rest()

    def _discard_rest(self) -> None:
        """Discard the buffered output, so that closing the file at exit does not fail either."""
        try:
            descriptor = self.file.fileno()
        except (OSError, ValueError):
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


@contextmanager
def redrawn(console: Console, frame: Callable[[], RenderableType], per_second: float) -> Generator[None]:
    """Draw `frame` again and again on the alternate screen, where a resized window can simply be drawn anew.

    Meanwhile, output to `sys.stderr` is held back. On a console that is no terminal, nothing is drawn.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    held = io.StringIO()
    try:
        note(screen=True)
        _switch(console, _WRAP_OFF)
        with (
            redirect_stderr(held),
            Live(
                console=console,
                screen=True,
                get_renderable=frame,
                refresh_per_second=per_second,
                redirect_stdout=False,
                redirect_stderr=False,
            ),
        ):
            yield
    finally:
        _switch(console, _WRAP_ON)
        note(screen=None)
        sys.stderr.write(held.getvalue())


def _switch(console: Console, sequence: str) -> None:
    console.file.write(sequence)
    console.file.flush()


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines in the console's colours, none of them wrapped. A reader who went away is no error."""
    with console.capture() as capture:
        for line in lines:
            console.print(line, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)
    LineWriter(console.file).write(capture.get().removesuffix("\n"))
