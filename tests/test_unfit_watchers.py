"""Watchers that break, or act, where an episode begins and ends: one line says so, and what was recorded is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from processes import thread

from thread_cli.assembly.config import resolve
from thread_cli.contracts.errors import Status
from thread_cli.record import read_events

WATCHERS = """\
class Base:
    def begin(self, episode): ...
    def see(self, event): ...
    def hear(self, thread, piece): ...
class Late(Base):
    def see(self, event):
        if event.kind == 'episode_ended':
            raise ValueError('too late')
class Mute:
    def begin(self, episode): ...
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Run the command line with watchers of an installed package."""
    (tmp_path / "unfit.py").write_text(WATCHERS)
    about = tmp_path / "unfit-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: unfit\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[thread_cli.watchers]\nlate = unfit:Late\nmute = unfit:Mute\n")
    (tmp_path / "script.txt").write_text("print('done')")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

    def command(*more: str) -> Any:
        words = ("run", "none", "Do it.", "--model", "scripted:script.txt", "--log", "run", "--display", "none")
        return thread(*words, *more, cwd=tmp_path, PYTHONPATH=path)

    return command


def test_a_watcher_that_breaks_over_the_end_is_told_as_one_and_the_log_is_whole(run, tmp_path) -> None:
    told = run("-o", "watch=late")
    assert (told.returncode, told.stderr) == (4, "thread: watcher failed: ValueError: too late\n")
    assert [event.kind for event in read_events(next((tmp_path / "run").glob("*.jsonl")))][-1] == "episode_ended"


def test_what_is_no_watcher_is_refused_before_anything_is_recorded(run, tmp_path) -> None:
    told = run("-o", "watch=mute")
    assert (told.returncode, told.stderr) == (2, "thread: the watcher mute cannot be used: it has no method see\n")
    assert not (tmp_path / "run").exists()


def test_names_of_watchers_may_have_blanks_between_them() -> None:
    assert resolve({}, overrides=("watch=late, mute",)).watch == ("late", "mute")


@pytest.mark.parametrize("answer", [None, "early"])
@pytest.mark.parametrize("first", ["begin", "episode_started", "thread_started"])
async def test_a_watcher_may_end_an_episode_before_anything_was_written(play, first, answer) -> None:
    class AtOnce:
        def begin(self, episode: Any) -> None:
            self.episode = episode
            if first == "begin":
                episode.stop("seen", answer)

        def see(self, event: Any) -> None:
            if event.kind == first:
                self.episode.stop("seen", answer)

        def hear(self, thread: str, piece: Any) -> None: ...

    played = await play(["print('late')"], watchers=[AtOnce()])
    assert (played.episode.status, played.episode.answer) == (Status.answered, answer or "")
    assert played.episode.message == "a watcher ended the episode: seen"
    assert (played.events[-1].reason, played.events[-1].answer) == ("seen", answer)
