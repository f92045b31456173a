"""Runners that are killed: in the end every episode has one result, and the report is that of an undisturbed run."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from processes import in_this_process

from thread_cli.bench import Result
from thread_cli.contracts.events import EpisodeEnded, EpisodeStarted
from thread_cli.record import read_events

SCRIPT = """
[[thread]]
path = "0"
context = "Goal: craft [a-m]"
text = '''
First, look.
> inventory =>
Then ask another, obtain 1 stick =>
print('done') '''

[[thread]]
path = "0"
text = '''
Ask two others, obtain 1 stick =>
And then, obtain 2 planks =>
print('{observation}') '''

[[thread]]
text = '''
> get 1 stick =>
print('1 stick') '''
"""


class Run:
    """A run of scripted episodes in `folder`, and the runners that play it."""

    def __init__(self, folder: Path, episodes: int, *, faults: str = "", in_flight: int = 20) -> None:
        self.path = folder / "run"
        self.episodes = episodes
        self._folder = folder
        self._in_flight = in_flight
        folder.mkdir()
        epochs = -(-episodes // 250)
        (folder / "script.toml").write_text(SCRIPT)
        (folder / "load.toml").write_text(
            f'[[parts]]\nenvironment = "textcraft"\nsplit = "all"\ntasks = {episodes // epochs}\n'
        )
        model = ["--model", f"{faults}scripted:script.toml"]
        self.command = ["bench", "load.toml", *model, "--epochs", str(epochs), "--log", "run"]

    def start(self, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        command = [
            *prefix,
            sys.executable,
            "-m",
            "thread_cli",
            *arguments,
            "--display",
            "none",
            "-j",
            str(self._in_flight),
        ]
        return subprocess.Popen(command, cwd=self._folder, stdin=subprocess.DEVNULL)

    def done(self) -> int:
        return len(list((self.path / "results").glob("*.json")))

    def wait_for(self, results: int, runner: subprocess.Popen[bytes]) -> None:
        while self.done() < results and runner.poll() is None:
            time.sleep(0.003)

    def report(self) -> list[bytes]:
        """What reports tell of the run, times left out."""
        forms = (["--json"], ["--markdown"], ["--csv", "--episodes"])
        told = [in_this_process("report", "run", "--no-times", *form, cwd=self._folder) for form in forms]
        assert all(each.returncode == 0 for each in told)
        return [each.stdout.encode() for each in told]

    def check(self) -> None:
        """Each episode has one result, whole, with the log of the attempt that it is of; and nothing is left over."""
        files = list((self.path / "results").iterdir())
        found = [Result.model_validate_json(file.read_bytes()) for file in files]
        assert len(found) == self.episodes
        assert {file.name for file in files} == {f"{result.key}.json" for result in found}
        assert set(Counter((result.task, result.epoch) for result in found).values()) == {1}
        assert {file.name for file in (self.path / "episodes").iterdir()} == {f"{r.key}.jsonl" for r in found}
        for result in found:
            events = read_events(self.path / "episodes" / f"{result.key}.jsonl")
            assert [type(event) for event in (events[0], events[-1])] == [EpisodeStarted, EpisodeEnded]
            assert events[-1].totals == result.totals
        assert not list((self.path / "claims").iterdir())


@pytest.mark.parametrize(
    ("episodes", "kills"),
    [(60, 4), pytest.param(1000, 50, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])],
)
def test_a_runner_killed_again_and_again_ends_as_one_that_never_was(tmp_path, episodes, kills):
    faults = "faulty:429=0.3,retry_after=0.05+"
    undisturbed = Run(tmp_path / "undisturbed", episodes, faults=faults)
    run = Run(tmp_path / "killed", episodes, faults=faults, in_flight=5)
    assert undisturbed.start(*undisturbed.command).wait(300) == 0
    chance = random.Random(7)
    landed = 0
    for number in range(kills):
        runner = run.start(*run.command)
        if chance.random() < 0.1:
            time.sleep(chance.random())
        else:
            done = run.done()
            run.wait_for(done + chance.randrange(1 + (episodes - done) // (kills - number + 2)), runner)
            time.sleep(chance.random() * 0.05)
        landed += runner.poll() is None
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    assert landed > kills * 0.8, "the runner was killed while it ran"
    assert run.done() < episodes
    assert run.start(*run.command).wait(300) == 0
    run.check()
    undisturbed.check()
    assert run.report() == undisturbed.report()


@pytest.mark.parametrize("episodes", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_runners_that_share_a_run_finish_it_though_two_of_four_are_killed(tmp_path, episodes):
    faults = "faulty:429=0.25,retry_after=0.5+"
    alone = Run(tmp_path / "alone", episodes, faults=faults)
    run = Run(tmp_path / "shared", episodes, faults=faults, in_flight=4)
    undisturbed = alone.start(*alone.command)
    apart = network_of_its_own()
    runners = [run.start(*run.command, prefix=apart)]
    while not (run.path / "bench.toml").exists():
        assert runners[0].poll() is None
        time.sleep(0.01)
    runners += [run.start("bench", "--join", "run", prefix=apart) for _ in range(3)]
    while len(list((run.path / "claims").glob("*.alive"))) < 4:
        assert all(runner.poll() is None for runner in runners)
        time.sleep(0.01)
    run.wait_for(run.done() + episodes // 10, runners[0])
    assert run.done() < episodes
    for runner in runners[1:3]:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    assert [runner.wait(300) for runner in (runners[0], runners[3])] == [0, 0]
    run.check()
    assert undisturbed.wait(300) == 0
    assert run.report() == alone.report()


def network_of_its_own() -> tuple[str, ...]:
    """What puts a process into a network namespace of its own, where that is to be had."""
    unshare = shutil.which("unshare")
    if unshare and subprocess.run([unshare, "--net", "true"], capture_output=True, check=False).returncode == 0:
        return (unshare, "--net")
    return ()


TWO_NODES = """
import subprocess, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1, resources={"kitchen": 2})
command = [sys.executable, "-m", "thread_cli", *sys.argv[1:], "--executor", "ray", "--address", cluster.address]
code = subprocess.run(command).returncode
cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.slow
def test_a_ray_cluster_of_two_nodes_gives_the_same_report(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'thread-runner[ray]'")
    alone, run = Run(tmp_path / "alone", 60), Run(tmp_path / "ray", 60)
    suite = (tmp_path / "ray/load.toml").read_text() + "resources = {kitchen = 1}\n"
    for folder in ("alone", "ray"):
        (tmp_path / folder / "load.toml").write_text(suite)
    assert alone.start(*alone.command).wait(300) == 0
    arguments = [sys.executable, "-c", TWO_NODES, *run.command, "--display", "none", "-j", "6"]
    assert subprocess.run(arguments, cwd=tmp_path / "ray", check=False, timeout=100).returncode == 0
    run.check()
    assert run.report() == alone.report()
