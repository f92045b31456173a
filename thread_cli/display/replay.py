"""Feeds recorded events to a display at the pace at which they happened."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from thread_cli.contracts.events import EpisodeStarted, Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.display.base import Display

__all__ = ["replay"]


async def replay(events: Iterable[Event], display: Display, speed: float = 1.0) -> None:
    """Give `events` to a started display, `speed` times as fast as they were recorded (at once if infinite).

    Raises:
        ValueError: `speed` is not above 0.
    """
    if not speed > 0:
        raise ValueError(f"speed is {speed!r}, but must be above 0")
    display.speed = speed
    clock = asyncio.get_running_loop().time
    began = clock()
    for event in events:
        if isinstance(event, EpisodeStarted):
            began = clock() - event.time / speed
        early = began + event.time / speed - clock()
        if early > 0 and math.isfinite(speed):
            await asyncio.sleep(early)
        display(event)
