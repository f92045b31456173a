"""Recordings that are played again, for the tests of replays."""

from __future__ import annotations

import asyncio
from typing import Any

from pruning import ends

from thread_cli.models.replay import ReplayModel
from thread_cli.record import first_difference

WORDS = " ".join(f"word{n}" for n in range(300))


async def replayed(play: Any, first: Any, **options: Any) -> Any:
    """The recording of an episode, played again."""
    model = ReplayModel(first.events)
    again = await asyncio.wait_for(play(model, **options), 20)
    assert first_difference(first.events, again.events) is None
    assert ends(again) == ends(first)
    assert again.episode.answer == first.episode.answer
    sums = [played.episode.totals.model_dump(exclude={"seconds", "model_seconds"}) for played in (first, again)]
    assert sums[0] == sums[1]
    return again
