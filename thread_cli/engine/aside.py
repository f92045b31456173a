"""Children beside a text that goes on: its thread waits for them, and reads nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.events import Joined
from thread_cli.contracts.protocol import Result
from thread_cli.contracts.writer import Feedback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.protocol import Child
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.family import Family
    from thread_cli.engine.thread import Thread

__all__ = ["look_aside"]


async def look_aside(recorder: Recorder, family: Family, thread: Thread, written: str, wanted: Sequence[Child]) -> None:
    """Run children to their ends beside the part of a text that was `written` last (`Aside`)."""
    thread.held += written
    children, results = await family.fork(thread, wanted)
    thread.read(written, "", Feedback("joined", "\n".join([result.text for result in results]), tuple(results)))
    born = tuple([child.path for child in children if not isinstance(child, Result)])
    recorder.emit(Joined, thread, children=born, text="")
