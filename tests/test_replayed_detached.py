"""A thread that was detached and then pruned: the recording plays to the same events, though its parent has ended."""

from __future__ import annotations

from typing import Any

from later import episode

from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role
from thread_cli.record import first_difference

ROLES = [
    Role(path="0", text="start a =>\nawait 0 =>\nnow, c =>\nprint('end')"),
    Role(path="0.0", text="start b =>\nprint('a')"),
    Role(path="0.0.0", text="start x =>\nstart y =>\nprint('b')"),
    *(Role(path=path, text="print('done')") for path in ("0.1", "0.0.0.0", "0.0.0.1")),
]


class Prunes:
    """Prunes the detached thread once it has written twice."""

    left = 2

    def begin(self, episode: Any) -> None:
        self.episode = episode

    def see(self, event: Any) -> None:
        self.left -= (event.kind, event.thread) == ("generated", "0.0.0")
        if not self.left:
            self.episode.prune("0.0.0", "enough")

    def hear(self, thread: str, piece: Any) -> None:
        pass


async def test_a_detached_thread_is_pruned_again_where_it_was_and_not_where_its_parent_ended(play) -> None:
    pace = {"0.0.0": 0.02, "0.1": 1.0}
    first = await episode(play, ROLES, pace=pace, rules={"orphans": "detached"}, watchers=[Prunes()])
    ends = [(event.thread, str(event.how)) for event in first.of("thread_ended")]
    assert ends[0] == ("0.0", "returned")
    assert ("0.0.0", "pruned") in ends
    model = ReplayModel(first.events)
    again = await episode(play, model, rules={"orphans": "detached"})
    assert first_difference(first.events, again.events) is None
