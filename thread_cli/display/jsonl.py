"""Every event as one line of JSON, for programs. All but ASCII is escaped, so that it is safe on a terminal, too."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING

from thread_cli.display.base import Display, LineWriter

if TYPE_CHECKING:
    from thread_cli.contracts.events import Event

__all__ = ["JsonDisplay"]


class JsonDisplay(Display):
    """The event stream, written out."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = LineWriter(file)

    def __call__(self, event: Event) -> None:
        self._writer.write(json.dumps(event.model_dump(mode="json"), separators=(",", ":")))
