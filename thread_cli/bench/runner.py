"""The runner: plays every episode of a run that has no result yet, some at a time, until all have one.

An episode is claimed, played, tried again where the infrastructure failed, and its result kept. Whatever ends the
runner between two of these steps, the episode is played anew by the next one that finds its claim abandoned. So the
same loop starts a run, takes it up again, and shares it with other machines.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thread_cli.bench import FailureClass
from thread_cli.bench.claims import Claims
from thread_cli.bench.journal import unwritable
from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from thread_cli.bench import Result
    from thread_cli.bench.budget import Allowance
    from thread_cli.bench.journal import Journal
    from thread_cli.bench.plan import Item, Plan
    from thread_cli.bench.player import Attempt, Players
    from thread_cli.bench.progress import Progress

__all__ = ["Ending", "Runner"]

_POLL: Final = 1.0
"""Seconds between two looks at the results of other runners."""
_ROW: Final = 10
"""Episodes in a row that the infrastructure fails before it counts as down."""
_HOLD: Final = (30.0, 600.0)
"""Seconds without a new episode while it is down: at first, and at most."""
_LONGEST_PAUSE: Final = 30.0


class Ending(StrEnum):
    """The end of a runner."""

    complete = "complete"
    """Every episode of the run has its result."""
    budget = "budget"
    interrupted = "interrupted"
    broken = "broken"
    """The infrastructure failed every episode so far."""


class Runner:
    """Plays the remaining episodes of a run.

    Args:
        plan, items: the run, settled, and its episodes in the order of playing.
        journal: its folder.
        players: where episodes are played.
        progress: gets all results.
        allowance: what the run may spend.
        concurrency: episodes under way at once.
        retries: further attempts at an episode that the infrastructure has failed.
        retry_wait: seconds before the first of them; doubled for each further one.
        claims: how episodes are claimed.
    """

    def __init__(
        self,
        plan: Plan,
        items: Sequence[Item],
        journal: Journal,
        players: Players,
        *,
        progress: Progress,
        allowance: Allowance,
        concurrency: int = 8,
        retries: int = 2,
        retry_wait: float = 1.0,
        claims: Claims | None = None,
    ) -> None:
        self._plan = plan
        self._items = {item.key: item for item in items}
        self._journal = journal
        self._players = players
        self._progress = progress
        self._allowance = allowance
        self._slots = asyncio.Semaphore(concurrency)
        self._retries = retries
        self._retry_wait = retry_wait
        self._claims = claims or Claims(journal.claims)
        self._several = len({part.environment for part in plan.suite.parts}) > 1
        self._mine: set[str] = set()
        """Episodes that are being played here."""
        self._finishing = False
        self._stopped = asyncio.Event()
        self._row = 0
        self.trouble = ""
        """The infrastructure's last failure."""

    def finish(self) -> None:
        """Start no further episode, and let those under way end."""
        self._finishing = self._progress.finishing = True

    def stop(self) -> None:
        """Give up the episodes under way, too."""
        self._finishing = True
        self._stopped.set()

    async def run(self) -> Ending:
        """Play the remaining episodes; returns when every episode has a result, or after `finish` or `stop`.

        Raises:
            UserError: no episode can be played with these settings, or the run cannot be recorded.
        """
        for key in sorted(self._journal.keys() & self._items.keys()):
            self._learn(key)
        self._progress.start()
        error: UserError | OSError | None = None
        async with self._claims.alive():
            try:
                async with asyncio.TaskGroup() as group:
                    guards = [
                        group.create_task(self._guard(), name="guard"),
                        group.create_task(self._listen(), name="news of others"),
                    ]
                    await self._start_all(group)
                    for guard in guards:
                        guard.cancel()
            except* _Stopped:
                pass
            except* (UserError, OSError) as errors:
                error = _first(errors)
            if error is not None:  # raised here: Python 3.11.2 makes a group of an error raised up there
                if isinstance(error, OSError) and error.filename is not None:  # without one it is the display's
                    raise unwritable(Path(error.filename), error) from None
                raise error from None
            if self._progress.complete:
                self._claims.tidy(self._progress.done)
                self._journal.tidy()
        return self._ending()

    def _ending(self) -> Ending:
        if self._progress.complete:
            broken = self._progress.infrastructure == self._progress.total
            return Ending.broken if broken else Ending.complete
        if self._allowance.used_up:
            return Ending.budget
        return Ending.broken if self._down and not self._progress.all.judged else Ending.interrupted

    async def _start_all(self, group: asyncio.TaskGroup) -> None:
        """Start episodes as slots come free, and wait for the last of them."""
        under_way: set[asyncio.Task[None]] = set()
        pending = deque(item for key, item in self._items.items() if key not in self._progress.done)
        while True:
            await self._slots.acquire()
            item = await self._next(pending)
            if item is None:
                break
            task = group.create_task(self._episode(item), name=f"episode {item.key}")
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)

    async def _next(self, pending: deque[Item]) -> Item | None:
        """The next episode, claimed; waits for those that others play. None if no episode is left."""
        elsewhere: deque[Item] = deque()
        while not self._finishing:
            if self._down and not await self._held():
                return None
            while pending and not self._finishing:
                item = pending.popleft()
                if self._claimed(item):
                    pending.extend(elsewhere)
                    return item
                if item.key not in self._progress.done:
                    elsewhere.append(item)
            if not elsewhere or self._finishing:
                return None
            await asyncio.sleep(_POLL)
            pending.extend(elsewhere)
            elsewhere.clear()
        return None

    def _claimed(self, item: Item) -> bool:
        """Claim an episode that has no result."""
        if item.key in self._progress.done or self._found(item):
            return False
        mine = self._claims.take(item.key)
        if mine and self._found(item):  # its player finished between the two looks
            self._claims.release(item.key)
            return False
        return mine

    def _found(self, item: Item) -> bool:
        self._learn(item.key)
        return item.key in self._progress.done

    async def _episode(self, item: Item) -> None:
        """Play a claimed episode until it has its result."""
        log = self._journal.attempt(item.key, self._claims.owner.id)
        self._progress.under_way += 1
        self._mine.add(item.key)
        try:
            attempt = await self._tried(item, log)
            result = attempt.result(self._plan, item, self._journal.attempts(item.key) + 1)
            if await _to_its_end(self._journal.commit, result, log):
                self._count(result)
            else:
                self._learn(item.key)
        finally:
            log.unlink(missing_ok=True)
            self._claims.release(item.key)
            self._mine.discard(item.key)
            self._progress.under_way -= 1
            self._slots.release()

    async def _tried(self, item: Item, log: Path) -> Attempt:
        """The attempt that counts: the first that the infrastructure does not fail, or the last one."""
        for tried in count():
            attempt = await self._players.play(item, log, self._allowance.charge)
            if attempt.failure is not FailureClass.infrastructure:
                self._row = 0
                return attempt
            self.trouble = attempt.message
            if tried == self._retries:
                self._row += 1
                return attempt
            self._journal.keep_attempt(item.key, log)
            pause = min(self._retry_wait * 2**tried, _LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
        raise AssertionError

    def _count(self, result: Result) -> None:
        where = f"{result.environment}: " if self._several else ""
        self._progress.add(result, f"{where}{result.category or 'all'}")

    def _learn(self, key: str) -> None:
        """Count the result that another runner has written, now or earlier, if there is one."""
        if key not in self._progress.done:
            result = self._journal.find(key)
            if result is None:
                return
            self._count(result)
            totals = result.totals
            self._allowance.charge(totals.prompt_tokens + totals.generated_tokens, totals.cost)

    # --- what may end the run early

    @property
    def _down(self) -> bool:
        return self._row >= _ROW

    async def _held(self) -> bool:
        """Wait for the infrastructure; False if it has never worked, so that waiting is of no use."""
        if not self._progress.all.judged:
            return False
        least, most = _HOLD
        pause = min(least * 2.0 ** min(self._row - _ROW, 10), most)
        for _ in range(int(pause / _POLL)):
            if self._finishing or not self._down:
                break
            await asyncio.sleep(_POLL)
        return True

    async def _guard(self) -> None:
        """End everything when a budget is used up, or after `stop`."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        reached = asyncio.ensure_future(self._allowance.reached.wait())
        try:
            await asyncio.wait({stopped, reached}, timeout=self._allowance.seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            reached.cancel()
        if not self._stopped.is_set() and not self._allowance.reached.is_set():
            self._allowance.end(f"the {self._allowance.seconds:g} seconds of the run are over")
        raise _Stopped

    async def _listen(self) -> None:
        """Count the results of other runners as they come."""
        while True:
            await asyncio.sleep(_POLL)
            for key in sorted((self._journal.keys() & self._items.keys()) - self._progress.done - self._mine):
                self._learn(key)


async def _to_its_end(write: Callable[[Result, Path], bool], result: Result, log: Path) -> bool:
    """Write in an OS thread, so that the event loop does not wait for the disk; a cancellation waits for the write to
    end.
    """
    writing = asyncio.ensure_future(asyncio.to_thread(write, result, log))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        raise


class _Stopped(Exception):
    """The run is to end at once."""


def _first(errors: BaseExceptionGroup[UserError | OSError]) -> UserError | OSError:
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError
