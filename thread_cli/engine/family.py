"""The threads of one episode: how they are born, run and end.

Every thread is an asyncio task of its own, and a parent waits for its children on futures. So depth costs no stack, and
stopping an episode is cancelling its tasks one by one, whatever they wait for. Below a thread that has ended, only
children that were detached to the next thread above are alive.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from thread_cli.contracts.errors import Ending, EndlessSpawning, LimitReached, ThreadFailure
from thread_cli.contracts.events import Awaiting, Spawned, ThreadEnded, ThreadStarted
from thread_cli.contracts.protocol import Child, Orphans, Result
from thread_cli.contracts.writer import Feedback
from thread_cli.engine.boundary import asked_to_stop, go_on
from thread_cli.engine.episode import plain
from thread_cli.engine.limits import EPISODE, Budget, Clock, Deadline
from thread_cli.engine.namespace import Namespace
from thread_cli.engine.pending import Pending
from thread_cli.engine.stage import EpisodeOver
from thread_cli.engine.thread import Thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from thread_cli.contracts.limits import ChildLimits, Limits
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.following import Following
    from thread_cli.engine.stage import Stage

__all__ = ["Family"]


class Family:
    """All threads of an episode.

    Args:
        recorder: is told of births, ends and failures.
        course: what a thread does from its start to its end; returns its result.
        phi: the context of a child, from its parent and the line that spawns it.
        so_far: what a thread would return if it ended now.
        protocol: the wire format of the main thread.
        limits: of the episode.
        child_limits: what each child with all below it may spend.
        orphans: what becomes of children that are alive when their parent returns.
        stage: the environment; it is told which threads run at the same time.
    """

    def __init__(
        self,
        recorder: Recorder,
        course: Callable[[Thread], Awaitable[Result]],
        *,
        phi: Callable[[Thread, str], str],
        so_far: Callable[[Thread], str],
        protocol: Protocol,
        limits: Limits,
        child_limits: ChildLimits | None,
        stage: Stage,
        orphans: Orphans = Orphans.awaited,
    ) -> None:
        self._recorder = recorder
        self._course = course
        self._phi = phi
        self._so_far = so_far
        self._protocol = protocol
        self._limits = limits
        self._child_limits = child_limits
        self._orphans = orphans
        self._stage = stage
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._live: dict[str, Thread] = {}
        self._contexts: set[int] = set()
        """Hashes of the contexts of all threads so far: no ancestor has a context whose hash is not among them."""
        self._stopping = False
        self._cancelled: set[asyncio.Task[None]] = set()
        """The tasks that were cancelled since the episode ends."""
        self._clock = Clock()
        self._following = recorder.following
        if self._following is not None:
            self._following.begin(self, self._clock)
            limits = limits.model_copy(update={"working_time": None})  # it is up where it was
            self._limits = limits
            self._child_limits = child_limits and child_limits.model_copy(update={"working_time": None})
        self.stopped_because = ""
        """Why a watcher ended the episode."""
        self.stopped_with: str | None = None
        """The answer that this watcher gave the episode, if it gave one."""
        self.over: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        """The main thread's result; None where the environment ended the episode; or the error that ended it."""

    def root(self) -> Thread:
        """The main thread; its context is still to be set."""
        now = asyncio.get_running_loop().time()
        budget = Budget(self._limits)
        budget.charge("threads", 1)
        wall_time = self._limits.wall_time
        if self._following is not None:  # all its blocks have deadlines, so that they can be cut off where they were
            wall_time = (inf if wall_time is None else wall_time) + self._clock.grace
        return Thread(
            path="0",
            parent=None,
            depth=0,
            context="",
            names=Namespace(),
            budget=budget,
            deadline=None if wall_time is None else Deadline(now + wall_time, now, self._clock),
            ended=asyncio.get_running_loop().create_future(),
            protocol=self._protocol,
        )

    def start(self, thread: Thread) -> None:
        """Let a thread run."""
        self._live[thread.path] = thread
        self._contexts.add(hash(thread.context))
        if thread.parent is not None:
            thread.parent.alive[thread.path] = thread
        rare: dict[str, Any] = {}
        if thread.inherited is not None or thread.opening is not None:
            rare.update(inherits=thread.inherited is not None, opening=thread.opening)
        self._recorder.emit(ThreadStarted, thread, depth=thread.depth, context=thread.context, **rare)
        task = asyncio.get_running_loop().create_task(self._run_thread(thread), name=thread.path)
        self._tasks[thread.path] = task

    async def fork(self, parent: Thread, lines: Sequence[str | Child]) -> tuple[list[Thread | Result], list[Result]]:
        """Run children to their ends. Returns each thread, or why it could not be born, and all results."""
        born, _ = self.spawn(parent, lines)
        return born, await self.results(parent, born)

    def spawn(
        self,
        parent: Thread,
        lines: Sequence[str | Child],
        written: str = "",
        *,
        announce: Callable[[Sequence[str]], str] | None = None,
    ) -> tuple[list[Thread | Result], str]:
        """Start children. Returns each thread, or the account of why it could not be born.

        `announce` is for children in the background: from their handles it makes the text that the parent reads at
        once, after the text that it has `written` until it listened; the new text is returned too. Each such child has
        a place among its siblings, whether or not it was born.
        """
        born: list[Thread | Result] = []
        handles: list[str] = []
        for place, line in enumerate(lines):
            child = self._child(parent, Child(line) if isinstance(line, str) else line, place, len(lines))
            born.append(child)
            if announce:
                parent.children += isinstance(child, Result)
                handles.append(str(parent.children - 1))
        text = plain(announce(list(map(_called, handles, lines)))) if announce else ""
        children = [child for child in born if isinstance(child, Thread)]
        paths = tuple(child.path for child in children)
        if children and (announce or len(children) > 1):
            budgets = parent.budget.divided(self._child_limits, paths, goes_on=announce is not None)
            for child, budget in zip(children, budgets, strict=True):
                child.budget = budget
        rare: dict[str, Any] = {"waits": False, "text": text} if announce else {}
        self._recorder.emit(Spawned, parent, children=paths, **rare)
        if announce:
            parent.read(written, text, Feedback("spawned", " ".join(handles)))
            parent.background = parent.background or Pending[Thread]()
            parent.background.add(handles, born)
            for handle, line in zip(handles, lines, strict=True):
                if isinstance(line, Child) and line.name:
                    parent.background.names[handle] = line.name
        at_once = announce is not None or len(children) > 1
        if at_once or self._stage.several:
            self._stage.spawned(parent, children, at_once=at_once)
        for child in children:
            child.cause = parent.cause
            self.start(child)
        return born, text

    async def results(self, parent: Thread, children: Sequence[Thread | Result]) -> list[Result]:
        """The results of children, once all have ended, and given back what they may no longer spend.

        What their parent does next was caused by the last of them.
        """
        # A loop, since the frame of a comprehension would live as long as the children.
        results: list[Result] = []
        for child in children:
            results.append(child if isinstance(child, Result) else await child.ended)  # noqa: PERF401
        if self._following is not None:
            await self._following.turn(parent)
        cause = parent.cause or 0
        for child in children:
            if isinstance(child, Thread):
                if child.budget is not parent.budget:
                    child.budget.give_back()
                cause = max(cause, child.cause or 0)
        parent.cause = cause
        return results

    async def joined(self, parent: Thread, children: Sequence[Thread | Result]) -> list[Result]:
        """As `results`; what the children have done to worlds of their own joins as well."""
        results = await self.results(parent, children)
        return await self._stage.join(parent, children, results, self._recorder) if self._stage.several else results

    def finish(self, outcome: Result | BaseException | None) -> None:
        """End the episode: with the main thread's result, by the environment (None), or by an error.

        In the last two cases no thread takes a further step: a replay could not know how many it had taken.
        """
        if self.over.done():
            return
        if not isinstance(outcome, Result):
            if self._following is not None and self._following.postpones(outcome):
                return
            self._cancel()
        if isinstance(outcome, BaseException):
            self.over.set_exception(outcome)
        else:
            self.over.set_result(outcome)

    def prune(self, thread: str, reason: str) -> bool:
        """End a thread early, with all below it; see `Watched.prune`."""
        pruned = self._live.get(thread)
        if pruned is None or pruned.parent is None or pruned.how is not None:
            return False
        pruned.how, pruned.reason = Ending.pruned, plain(reason)
        # The thread's own task may be running, in the middle of an event.
        asyncio.get_running_loop().call_soon(self._interrupt, pruned)
        return True

    def stop(self, reason: str, answer: str | None = None) -> None:
        """End the episode on behalf of a watcher; see `Watched.stop`."""
        if not self.over.done():
            self.stopped_because, self.stopped_with = plain(reason), None if answer is None else plain(answer)
            main = self._live.get("0")  # none, where a watcher ends the episode at its first event
            if main is None and "0" in self._tasks and answer is None:
                return  # it has just ended, and its result is about to be the episode's
            so_far = self._so_far(main) if main is not None else ""
            self.finish(Result(so_far if answer is None else plain(answer)))
            self._cancel()

    def end_from_outside(self, thread: str, how: Ending, reason: str, *, with_episode: bool = False) -> None:
        """End a thread as it ended in a recorded episode, now or in the moment in which this episode ends."""
        ended = self._live.get(thread)
        if ended is None:
            return
        if with_episode:
            ended.how, ended.reason = ended.how or how, reason
        elif ended.how is None:
            ended.how, ended.reason = how, reason
            self._interrupt(ended)

    async def close(self, error: BaseException | None) -> BaseException | None:
        """Cancel whatever still runs, and record the end of every thread, the deepest first.

        Returns the error that the episode ends with: `error`, or a cancellation that came while waiting.
        """
        if self._following is not None:
            self._following.stop()
        self._cancel()
        while tasks := [task for task in self._tasks.values() if not task.done()]:
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as cancelled:
                error = error or cancelled
        self._cancelled.clear()  # they hold all that their threads held
        self._clock.stop()
        for thread in reversed(self._live.values()):
            so_far = error.partial if isinstance(error, ThreadFailure) and thread.parent is None else None
            try:
                how, failed = thread.how or Ending.stopped, error is not None
                self._recorder.emit(
                    ThreadEnded, thread, result=so_far or None, failed=failed, how=how, reason=thread.reason
                )
            except Exception as untold:  # noqa: BLE001 - the first error is the one that is raised
                error = error or untold
        return error

    def _cancel(self) -> None:
        """Cancel whatever still runs, each task once."""
        self._stopping = True
        for task in self._tasks.values():
            if task not in self._cancelled:
                self._cancelled.add(task)
                task.cancel()

    def _child(self, parent: Thread, wanted: Child, place: int, siblings: int) -> Thread | Result:
        """A new child of `parent`, or the account of why it could not be born."""
        try:
            if place >= self._limits.fan_out:
                cap, message = self._limits.fan_out, f"at most {self._limits.fan_out} children may be spawned at once"
                raise LimitReached("fan_out", message, used=siblings, cap=cap, owner=EPISODE)
            if parent.depth >= self._limits.depth:
                cap, message = self._limits.depth, f"threads may be at most {self._limits.depth} levels deep"
                raise LimitReached("depth", message, used=parent.depth, cap=cap, owner=EPISODE)
            parent.budget.demand("threads", 1)
            context = wanted.context
            if context is None:
                context = self._phi(parent, wanted.line) if wanted.line or not wanted.inherits else ""
            known = not wanted.inherits and hash(context) in self._contexts
            if known and parent.ancestors_with(context) >= self._limits.repeats:
                raise EndlessSpawning("this thread's ancestors already work on exactly this")
        except ThreadFailure as failure:
            return self._failed(parent, failure)
        parent.budget.charge("threads", 1)
        path = f"{parent.path}.{parent.children}"
        protocol, opening = wanted.protocol or parent.protocol, wanted.opening
        if wanted.inherits and opening is None:
            opening = protocol.open(context)  # recorded, so that the log alone gives the thread's prompt
        levels = self._limits.depth - parent.depth
        child = Thread(
            path=path,
            parent=parent,
            depth=parent.depth + 1,
            context=context,
            names=parent.names.child(),
            budget=parent.budget.child(self._child_limits, path),
            deadline=Deadline.of_child(path, parent.deadline, self._child_limits, levels, self._clock),
            ended=asyncio.get_running_loop().create_future(),
            protocol=protocol,
            opening=opening,
            stop=wanted.stop,
            inherited=len(parent.y) if wanted.inherits else None,
            task=parent.task,
            brief=wanted.brief,
            above=parent.inherited_turn() if wanted.inherits else None,
        )
        parent.children += 1
        return child

    async def _run_thread(self, thread: Thread) -> None:
        try:
            await self._lead(thread)
        except EpisodeOver:
            self.finish(None)
        except Exception as error:  # noqa: BLE001 - ends the episode, which records and raises it
            thread.how = Ending.failed
            self.finish(error)
        except asyncio.CancelledError:
            if asked_to_stop():
                raise
            self.finish(RuntimeError("something that a thread waited for was cancelled"))
        finally:
            del self._tasks[thread.path]
            if self._stage.several:
                self._stage.ended(thread.path)

    async def _lead(self, thread: Thread) -> None:
        """Take a thread from its start to its end."""
        thread.begun = True
        try:
            if self._following is not None:
                await self._following.turn(thread)
            result = await self._course(thread) if thread.how is None else Result("")
            if self._following is not None:
                await self._following.due(thread)
            if (thread.alive or thread.background) and thread.how is None:
                await self._leave(thread)
        except asyncio.CancelledError:
            # A thread that is pruned in the moment in which a watcher ends the episode always ends with it.
            if thread.how is None or self._stopping or self.stopped_because:
                raise
            result = Result("")
        except ThreadFailure as failure:
            if isinstance(failure, LimitReached):
                failure.partial = self._so_far(thread)
            if failure.fatal or thread.parent is None:
                self._recorder.failed(thread, failure)
                raise
            result = self._failed(thread, failure)
            await self._stop_below(thread, "its parent failed")
        if self._following is not None:
            await self._turn_to_end(thread, self._following)
        if thread.how is not None:
            result = await self._ended_from_outside(thread, thread.how)
        del self._live[thread.path]
        thread.background = None
        rare: dict[str, Any] = {"reason": thread.reason} if thread.reason else {}
        text, failed = result.text, result.failed
        self._recorder.emit(ThreadEnded, thread, result=text, failed=failed, how=result.how, **rare)
        result = Result(result.text, result.failed, result.how, thread.y, closed=result.closed)
        above = self._above(thread)
        if above is None:
            self.finish(result)
            return
        del above.alive[thread.path]
        if not thread.ended.done():
            thread.ended.set_result(result)
            parent = thread.parent
            if parent is not None and parent.background is not None:
                parent.background.ended(thread.path.rpartition(".")[2])

    async def _leave(self, thread: Thread) -> None:
        """Carry out the rule for the children that are alive when a thread returns."""
        above = self._above(thread)
        if self._orphans is Orphans.awaited:
            # The event names all that the thread has not awaited: which of them have ended by now depends on time.
            pending = thread.background.children.values() if thread.background is not None else ()
            left = [child for child in pending if isinstance(child, Thread)]
            if left:
                self._recorder.emit(Awaiting, thread, children=tuple(child.path for child in left), which="all")
                await self.results(thread, left)
        elif self._orphans is Orphans.detached and above is not None:
            above.alive |= thread.alive
            thread.alive = {}
        else:
            await self._stop_below(thread, "its parent returned")

    def _above(self, thread: Thread) -> Thread | None:
        """The nearest thread above that is alive: the parent, but for a thread that was detached."""
        above = thread.parent
        while above is not None and above.path not in self._live:
            above = above.parent
        return above

    async def _ended_from_outside(self, thread: Thread, how: Ending) -> Result:
        """Stop all below a thread that was pruned or stopped; returns the text that its parent reads."""
        await self._stop_below(thread)
        so_far = self._so_far(thread)
        why = f"{how}: {thread.reason}" if thread.reason else str(how)
        return Result(plain(f"error: {why}{f'. So far: {so_far}' if so_far else ''}"), failed=True, how=how)

    async def _turn_to_end(self, thread: Thread, following: Following) -> None:
        """Wait until a thread has ended in a recorded episode, by itself or from outside."""
        try:
            await following.turn(thread)
        except asyncio.CancelledError:
            if thread.how is None or self._stopping or self.stopped_because:
                raise

    async def _stop_below(self, thread: Thread, reason: str = "") -> None:
        """Stop all below a thread, and wait until it has ended. Where a recording is followed, it has its ends."""
        following, stopped = self._following, False
        while tasks := [self._tasks[path] for path in thread.alive if path in self._tasks]:
            if not (stopped or (following is not None and following.leads)):
                stopped = True
                for child in [*thread.alive.values()]:
                    if child.how is None:
                        child.how, child.reason = Ending.stopped, reason
                    self._interrupt(child)
            go_on(stopping=self._stopping)
            with suppress(asyncio.CancelledError):  # it ends after all threads below it, unless the episode ends
                await (asyncio.wait(tasks) if stopped or following is None else following.any_of(tasks))
        go_on(stopping=bool(thread.alive))  # threads that are left end with the episode, and so does this one

    def _interrupt(self, thread: Thread) -> None:
        task = self._tasks.get(thread.path)
        if task is not None and thread.begun:
            task.cancel()

    def _failed(self, thread: Thread, failure: ThreadFailure) -> Result:
        """Record a failure, and make the text that the parent reads about it."""
        self._recorder.failed(thread, failure)
        so_far = f". So far: {failure.partial}" if failure.partial else ""
        return Result(plain(f"error: {failure.kind}: {failure.message}{so_far}"), failed=True, how=Ending.failed)


def _called(handle: str, line: str | Child) -> str:
    """What a child in the background is called in its parent's text: its variable, if its result is one."""
    return f"{{{line.name}}}" if isinstance(line, Child) and line.name else handle
