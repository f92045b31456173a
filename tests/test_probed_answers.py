"""Branches whose answers are whole texts are not probed: run and bench refuse it in one line, and recorded runs go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from benches import results
from processes import in_this_process, thread

from thread_cli.record import read_events

NOBODY = "openai:m@http://127.0.0.1:9/v1"
"""A server that no test may come to ask."""
PROBED = ("--branches", "2", "--watch", "parallel-probe")
SOON = ("-o", "watchers.parallel-probe.distance=8", "-o", "watchers.parallel-probe.warm_up=0")
LONG = '[[thread]]\ntext = """\n# ' + "word " * 200 + '\nprint(5)\n"""\n'
WATCHERS = """\
from thread_cli.contracts.watcher import Probe
class Asks:
    branches = True
    def begin(self, episode): ...
    def see(self, event): ...
    def hear(self, thread, piece): ...
    def probe(self, turn):
        return Probe(8, 'So ')
class AsksAnybody(Asks):
    branches = False
"""


def refused(watcher: str, name: str) -> str:
    return (
        f"thread: the watcher {watcher} asks branches for short answers, and an answer in {name} is a whole text: "
        "leave the watcher out\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a prompt in APR's format, another one, and a script."""
    (tmp_path / "apr.txt").write_text('+++\nprotocol = "apr:examples"\n+++\nThink.')
    (tmp_path / "plain.txt").write_text("Think.")
    (tmp_path / "long.toml").write_text(LONG)
    return tmp_path


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The variable of the environment with which two watchers of another package are found."""
    (tmp_path / "asking.py").write_text(WATCHERS)
    about = tmp_path / "asking-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: asking\nVersion: 1\n")
    points = "asks = asking:Asks\nasks-anybody = asking:AsksAnybody"
    (about / "entry_points.txt").write_text(f"[thread_cli.watchers]\n{points}\n")
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.parametrize("model", [NOBODY, "embedded", "teacher", "scripted:long.toml"])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("countdown",), "countdown"),
        (("countdown", "--prompt", "plain.txt", "--protocol", "thread"), "countdown"),
        (("none", "x", "--prompt", "plain.txt", "--protocol", "apr"), "the protocol apr"),
        (("none", "x", "--prompt", "apr.txt"), "the protocol apr:examples"),
        (("dataqa/icu", "--prompt", "plain.txt", "-o", "protocol=apr:paper"), "the protocol apr:paper"),
    ],
)
def test_run_refuses_to_probe_whole_answers_before_anything_is_recorded(folder, model, arguments, name) -> None:
    ran = in_this_process("run", *arguments, *PROBED, "--model", model, "--log", "run", cwd=folder)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", refused("parallel-probe", name))
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    "method", [("--branches", "2", "--model", "embedded"), ("--method", "self-consistency", "--model", NOBODY)]
)
@pytest.mark.parametrize(
    ("suite", "name"),
    [
        (("countdown-generated",), "countdown"),
        (("icu-160", "--prompt", "apr.txt"), "the protocol apr:examples"),
        (("icu-160", "--prompt", "plain.txt", "--protocol", "apr"), "the protocol apr"),
    ],
)
def test_bench_refuses_it_before_anything_is_played(folder, suite, method, name) -> None:
    more = ("--watch", "parallel-probe", "--log", "run", "--display", "none")
    ran = in_this_process("bench", *suite, *method, *more, cwd=folder)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", refused("parallel-probe", name))
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ('environment = "countdown"\nsplit = "val"', "countdown"),
        ('environment = "dataqa/icu"\nsplit = "test"\nprompt = "apr.txt"', "the protocol apr:examples"),
    ],
)
def test_a_variant_that_probes_whole_answers_is_refused_beside_one_that_votes(folder, part, name) -> None:
    vote = '[[variants]]\nname = "vote"\nbranches = 2\n'
    probe = '[[variants]]\nname = "probe"\nbranches = 2\nwatch = ["parallel-probe"]\n'
    (folder / "small.toml").write_text(f'name = "small"\n[[parts]]\n{part}\ntasks = 1\n{vote}{probe}')
    ran = thread("bench", "small.toml", "--model", NOBODY, "--log", "run", "--display", "none", cwd=folder)
    assert (ran.returncode, ran.stderr) == (2, refused("parallel-probe", name))
    assert not (folder / "run").exists()


def test_any_watcher_that_probes_branches_is_refused_and_one_that_probes_other_threads_is_not(
    folder, installed
) -> None:
    arguments = ("run", "countdown", "--branches", "2", "--model", "teacher", "--display", "none", "--log", "run")
    ran = thread(*arguments, "--watch", "asks", cwd=folder, **installed)
    assert (ran.returncode, ran.stderr) == (2, refused("asks", "countdown"))
    ran = thread(*arguments, "--watch", "asks-anybody", cwd=folder, **installed)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_recorded_runs_are_followed_with_a_watcher_that_probes_branches(folder) -> None:
    run = ("run", "countdown", "--branches", "2", "--display", "none")
    assert in_this_process(*run, "--model", "teacher", "--log", "run", cwd=folder).returncode == 0
    more = ("--watch", "parallel-probe", *SOON, "--model", "replay:run", "--log", "again")
    ran = in_this_process(*run, *more, cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "replay: the same events as recorded\n")

    bench = ("bench", "countdown-generated", "--limit", "1", "--branches", "2", "--display", "none")
    assert in_this_process(*bench, "--model", "teacher", "--log", "suite", cwd=folder).returncode == 0
    more = ("--watch", "parallel-probe", "--model", "replay:suite", "--log", "repeated")
    ran = in_this_process(*bench, *more, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert [result.status.value for result in results(folder / "repeated")] == ["solved"]


def test_scripts_and_teachers_are_never_probed_and_their_branches_vote(folder) -> None:
    def threads(*arguments: str) -> list[Any]:
        log = folder / arguments[0]
        ran = in_this_process("run", *arguments, *PROBED, *SOON, "--log", str(log), "--display", "none", cwd=folder)
        assert ran.returncode == 0, ran.stderr
        (file,) = log.glob("*.jsonl")
        return [event for event in read_events(file) if event.kind == "thread_started"]

    assert [event.depth for event in threads("none", "x", "--model", "scripted:long.toml")] == [0, 1, 1]
    taught = threads("multiplication", "--model", "teacher")
    assert len(taught) > 3
    assert not [event for event in taught if event.context.startswith("probe after")]
