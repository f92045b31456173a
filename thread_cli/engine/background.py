"""Children in the background: spawned without waiting, and awaited later by their handles, one, any or all.

Which child an `any` joins depends on time. It is recorded, and an episode that is played again joins the same child.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import ChildFailed, Ending, UserError
from thread_cli.contracts.events import Awaiting
from thread_cli.contracts.protocol import Handles, Result, Spawn
from thread_cli.engine.joining import join, refuse_failed, said
from thread_cli.engine.pending import Pending
from thread_cli.engine.thread import Thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.limits import Limits
    from thread_cli.contracts.protocol import Await, Child
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.family import Family
    from thread_cli.engine.stage import Stage

__all__ = ["Background"]


class Background:
    """Spawns and awaits the background children of one episode.

    Args:
        recorder: is told who waits for whom, and what was joined.
        family: the threads of the episode.
        stage: the environment, whose worlds join as well.
        limits: limits of the episode.
        abort: the episode ends as soon as a child fails, whether or not anybody awaits it.
    """

    def __init__(self, recorder: Recorder, family: Family, stage: Stage, limits: Limits, *, abort: bool) -> None:
        self._recorder = recorder
        self._family = family
        self._stage = stage
        self._limits = limits
        self._abort = abort
        recorded = recorder.following.choices if recorder.following is not None else {}
        self._choices = {thread: iter(children) for thread, children in recorded.items()}

    async def carry_out(self, thread: Thread, written: str, move: Spawn | Await) -> None:
        """Carry out a move, and append what the thread reads next.

        Raises:
            MalformedOutput: there is no such child to await.
            Repetition: the thread takes the same step again and again.
            ChildFailed: a child failed, and that ends the episode.
            UserError: the wire format cannot name children in the background.
        """
        if isinstance(move, Spawn):
            self._spawn(thread, written, move.lines)
        else:
            await self._await(thread, written, move)

    def _spawn(self, thread: Thread, written: str, lines: Sequence[str | Child]) -> None:
        protocol = thread.protocol
        if not isinstance(protocol, Handles):
            name = type(protocol).__name__
            raise UserError(f"the wire format {name} cannot spawn without waiting: it has no method `spawned`")
        carried = [thread.names.substitute(said(line)) for line in lines]
        step = thread.step(written, *carried, repeats=self._limits.repeats)
        born, text = self._family.spawn(thread, lines, written, announce=protocol.spawned)
        if self._abort:
            if thread.background is not None:
                thread.background.heed = self._heed
            for child in born:
                if isinstance(child, Thread):
                    # A detached one is no longer among its parent's when it ends.
                    child.ended.add_done_callback(self._heed_ended)
            refuse_failed(child for child in born if isinstance(child, Result))
        thread.stepped(step, text)

    async def _await(self, thread: Thread, written: str, move: Await) -> None:
        pending = thread.background or Pending[Thread]()
        asked = pending.asked(move.handles)
        # A thread may wait for any of many again and again: neither the log nor the time is to grow with the square of
        # their number.
        of_all = move.which == "any" and not move.handles
        told = () if of_all else tuple(asked)
        step = thread.step(written, move.which, str(len(asked)), *told, repeats=self._limits.repeats)
        paths = tuple([f"{thread.path}.{handle}" for handle in told])
        self._recorder.emit(Awaiting, thread, children=paths, which=move.which)
        chosen = [await self._first(thread, pending, asked, of_all=of_all)] if move.which == "any" else [*asked]
        children = [asked[handle] for handle in chosen]
        results = await self._family.results(thread, children)
        if self._abort:
            refuse_failed(results)
        pending.take(chosen)
        if self._stage.several:
            results = await self._stage.join(thread, children, results, self._recorder)
        results = [result._replace(handle=handle) for handle, result in zip(chosen, results, strict=True)]
        paths, parts = [f"{thread.path}.{handle}" for handle in chosen], thread.protocol.join(results)
        thread.stepped(step, join(self._recorder, thread, written, children, results, paths=paths, parts=parts))

    async def _first(
        self, thread: Thread, pending: Pending[Thread], asked: Mapping[str, Thread | Result], *, of_all: bool
    ) -> str:
        """The handle of the child that ended first, now or, in a replay, when the episode was recorded."""
        recorded = next(self._choices.get(thread.path, iter(())), "").rpartition(".")[2]
        if recorded in asked:
            return recorded
        if of_all:
            return await pending.first()
        while True:
            for handle, child in asked.items():
                if isinstance(child, Result) or child.ended.done():
                    return handle
            ends = [child.ended for child in asked.values() if isinstance(child, Thread)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    def _heed(self, child: Thread | Result) -> None:
        """End the episode where a child has failed."""
        if isinstance(child, Thread):
            self._heed_ended(child.ended)

    def _heed_ended(self, ended: asyncio.Future[Result]) -> None:
        if not ended.cancelled() and ended.result().how is Ending.failed:
            self._family.finish(ChildFailed(ended.result().text))
