"""What an episode held is freed when it ends: bench runs play thousands of them, and the collector comes seldom."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from rooms import Fork, Walls

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.engine.executor import Executor
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thread_cli.contracts.events import Event

EPISODES: dict[str, tuple[list[str], dict[str, Any], Status]] = {
    "one thread": (["print('done')"], {}, Status.answered),
    "a child": (["First, look =>", "print('seen')", "print('done')"], {}, Status.answered),
    "two children at once": (["a | b =>", "1#END#", "2#END#", "3#END#"], {"protocol": Fork()}, Status.answered),
    "an episode that the environment ends": (
        ["Now, go deeper =>", "> go 3 =>"],
        {"environment": Walls()},
        Status.solved,
    ),
    "a child that fails": (["First, look =>", "oops(", "print('done')"], {}, Status.answered),
    "a child that reaches a limit": (
        ["First, look =>", "Then look =>", "print(1)", "print(2)"],
        {"limits": Limits(depth=1)},
        Status.answered,
    ),
}


class Kept:
    """A sink that keeps nothing."""

    def __call__(self, event: Event) -> None:
        pass


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", EPISODES)
async def test_an_episode_that_has_ended_is_freed_without_the_collector(name, variables, no_collector) -> None:
    script, options, status = EPISODES[name]
    sink = Kept()
    executor = Executor(
        model=ScriptedModel(script),
        prompt=Prompt("test", "Q", Rules(phi="last_line_after_comma")),
        interpreter=variables,
        sinks=[sink],
        **options,
    )
    episode = await executor.run(Task("t", "Do it."))
    assert episode.status is status
    held = weakref.ref(sink)
    del executor, sink
    assert held() is None
