"""Watchers that end threads and episodes, for the tests of everything that has to stand it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rooms import Walls

from thread_cli.contracts.environment import Step
from thread_cli.models.scripted import Role

LOOKING = [
    Role(path="0", text="First, a =>\nThen, b =>\nprint('end')"),
    Role(path="0.0", text="x = 1\n> look =>\nNow, deeper =>\nprint('too late')"),
    Role(path="0.0.0", text="print('deep')"),
    Role(path="0.1", text="> look =>\nprint('fine')"),
]
HANGING = [
    Role(path="0", text="First, a =>\nprint('end')"),
    Role(path="0.0", text="Now, deeper =>\n"),
    Role(path="0.0.0", text="> hang =>"),
]


class When:
    """A watcher that does something at the first event that `sign` is true of; it keeps what it saw and heard."""

    def __init__(self, sign: Callable[[Any], bool], do: Callable[[Any], Any]) -> None:
        self.sign, self.do = sign, do
        self.events: list[Any] = []
        self.heard: list[tuple[str, str]] = []
        self.done: list[Any] = []

    def begin(self, episode: Any) -> None:
        self.episode = episode

    def see(self, event: Any) -> None:
        self.events.append(event)
        if not self.done and self.sign(event):
            self.done.append(None)
            self.done[0] = self.do(self.episode)

    def hear(self, thread: str, piece: Any) -> None:
        self.heard.append((thread, piece.text))


def at(kind: str, thread: str, times: int = 1) -> Callable[[Any], bool]:
    """True of the event of that kind, of that thread, that is the `times`-th of its like."""
    seen = [0]

    def sign(event: Any) -> bool:
        seen[0] += event.kind == kind and event.thread == thread
        return seen[0] == times

    return sign


def prune(thread: str, reason: str = "enough", after: float | None = None) -> Callable[[Any], Any]:
    """Prune a thread, at once or after some seconds."""
    if after is None:
        return lambda episode: episode.prune(thread, reason)
    return lambda episode: asyncio.get_running_loop().call_later(after, episode.prune, thread, reason)


def ends(played: Any) -> dict[str, str]:
    """For each thread that ended, in that order, how it did."""
    return {event.thread: str(event.how) for event in played.of("thread_ended")}


class SlowToLeave(Walls):
    """An environment in which an action that is cancelled takes a while to end."""

    async def step(self, action: str) -> Step:
        try:
            return await super().step(action)
        finally:
            await asyncio.sleep(0.3)


def prune_then_stop(episode: Any) -> None:
    """Prune a thread, and end the episode while that thread still waits for the end of what is below it."""
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, episode.prune, "0.0", "enough")
    loop.call_later(0.15, episode.stop, "all agree", "42")
