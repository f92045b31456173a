"""Malformed outputs of models, played as whole episodes: each ends, is classed, recorded and replayed; nothing is left."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
from apr_traces import START
from conftest import Played
from damage import Malformed, damaged, whole
from formed import FORMED, LISTS
from rooms import Walls

from thread_cli.assembly.checking import FormatCheck
from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.limits import ChildLimits, Limits
from thread_cli.contracts.model import Completion, Request
from thread_cli.contracts.protocol import Orphans, Spawn
from thread_cli.engine.episode import plain
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.formats import FORMATS
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.protocols.text import cut_at_stop
from thread_cli.record import EpisodeLog, first_difference, read_events
from thread_cli.record.sums import Sums
from thread_cli.record.tree import tree_of

LONGEST = 20.0
"""Seconds that no episode may take, on a machine that does other things, too."""
EXAMPLE = "Prompt:\nSay it.\n\n\nResponse:\n#START#\nprint('it')\n#END#"
OPTIONS = {
    "weaver": ["", "", ":paper", ":evaluation", ":conclusions", ":conclusions,evaluation"],
    "npr": ["", ":paper"],
    "apr": ["", ":paper", ":calls=3", ":tokens=513,examples"],
    "thread": [""],
}


class Echo(Walls):
    """An environment whose answers depend on nothing but the action."""

    async def step(self, action: str) -> Step:
        return Step(f"You did {action[:40]}")


class Erring(ScriptedModel):
    """A scripted model of a server that sometimes cannot tell what ended a call, or cuts the text off."""

    def __init__(self, script: Malformed) -> None:
        super().__init__(script)
        self._script = script

    async def complete(self, request: Request) -> Completion:
        written = await super().complete(request)
        chance = self._script.chance(request)
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        how = chance.random()
        if how < 0.1:
            return replace(written, stop="stop", stop_string=None)
        if how < 0.13:
            return replace(written, text=written.text[: chance.randint(0, 200)], stop="length", stop_string=None)
        return written


def drawn(name: str, seed: int) -> tuple[Malformed, dict[str, Any]]:
    """A script whose first text is malformed, and the options of its episode."""
    chance = Random(f"{name} {seed}")
    rules: dict[str, Any] = {**FORMATS[name].load().rules, "protocol": name + chance.choice(OPTIONS[name])}
    options: dict[str, Any] = {"task": START if name == "apr" else "Do it."}
    if name == "thread":
        rules |= {**LISTS, "blank_line": chance.random() < 0.5, "code_errors": chance.choice(["show", "hide"])}
        rules |= {"fence": chance.choice(["", "```"]), "chat": chance.choice(["text", "turns"])}
        rules["orphans"] = chance.choice([*Orphans, Orphans.awaited, Orphans.awaited])
        options["environment"] = chance.choice([Echo, None])
    options["limits"] = Limits(
        depth=chance.randint(1, 4),
        calls=chance.choice([5, 20, 60]),
        threads=chance.choice([3, 20, 120]),
        fan_out=chance.choice([3, 100, 100]),
        total_tokens=chance.choice([None, None, 20_000]),
        wall_time=None,
    )
    options["child_limits"] = chance.choice([None, None, ChildLimits(share=0.5), ChildLimits(calls=2)])
    options["on_failure"] = chance.choice(["report", "report", "report", "retry", "abort"])
    options["max_parallel"] = chance.choice([None, 1, 2, 5])
    text = malformed(name, chance, Prompt("test", "", Rules(**rules)).protocol(), forks=seed % 2 == 1)
    return Malformed(name, seed, text), {"rules": rules, **options}


def malformed(name: str, chance: Random, protocol: Any, *, forks: bool) -> str:
    """A damaged text, wrong by the checker of its format where it has one; with `forks` one that forks all the same."""
    check = FORMATS[name].load().problems
    while True:
        right = whole(name, chance)
        text = damaged(name, right, chance)
        if text == right or (check is not None and not check(text)):
            continue
        if not forks:
            return text
        written, stop = cut_at_stop(text, protocol.stop) or (text, "end")
        with suppress(MalformedOutput):
            move = protocol.read(plain(written), stop)
            if isinstance(move, Spawn) and move.lines:
                return text


class Plays:
    """Plays episodes with one interpreter, writes their logs, and looks at what each has left."""

    def __init__(self, folder: Path) -> None:
        # No clock decides: what code may take is far more than it takes.
        self.interpreter = VariableInterpreter(seconds=60)
        self.interpreter.patience = 60
        self.folder = folder
        self.count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.interpreter.close()

    async def play(
        self, model: Any, *, rules: dict[str, Any], task: str, environment: Any = None, **options: Any
    ) -> Any:
        self.count += 1
        log = EpisodeLog(self.folder / f"{self.count}.jsonl")
        told: list[Any] = []
        executor = Executor(
            model=model,
            prompt=Prompt("test", EXAMPLE, Rules(**rules)),
            interpreter=self.interpreter,
            environment=environment and environment(),
            sinks=[told.append, log],
            **options,
        )
        before, started = asyncio.all_tasks(), time.monotonic()
        episode = await asyncio.wait_for(executor.run(Task("t", task)), LONGEST)
        assert time.monotonic() - started < LONGEST
        log.close()
        events = read_events(log.path)
        assert events == told
        log.path.unlink()
        nothing_is_left(executor, before)
        played = Played(episode, events)
        holds_together(played)
        return played

    async def both(self, model: Any, **how: Any) -> tuple[Any, Any]:
        """An episode, and its replay."""
        played = await self.play(model, **how)
        again = await self.play(ReplayModel(played.events), **how)
        return played, again


def nothing_is_left(executor: Executor, before: set[Any]) -> None:
    """No task of a thread, no timer of a deadline and no permit outlives an episode."""
    after = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not [task for task in after if re.fullmatch(r"[\d.]+", task.get_name())]
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert not [timer for timer in timers if "Clock" in repr(timer)]
    if (permits := executor._permits) is not None:
        assert permits.held == 0
        assert all(turn.done() for *_, turn in permits._waiting)


def holds_together(played: Any) -> None:
    """A log names the end of each thread, once; its texts and sums are those of the episode."""
    events, totals = played.events, played.episode.totals
    assert [event.n for event in events] == [*range(len(events))]
    assert all(event.cause is None or event.cause < event.n for event in events)
    assert [events[0].kind, events[-1].kind] == ["episode_started", "episode_ended"]
    started = [event.thread for event in played.of("thread_started")]
    assert len({*started}) == len(started)
    assert sorted(started) == sorted(event.thread for event in played.of("thread_ended"))
    assert (events[-1].status, events[-1].totals) == (played.episode.status, totals)
    spent = [*played.of("generated"), *played.of("failed")]
    assert totals.generated_tokens == sum(event.generated_tokens for event in spent)
    assert totals.prompt_tokens == sum(event.prompt_tokens for event in spent)
    assert (totals.calls, totals.threads) == (len(played.of("generated")), len(started))
    sums = Sums()
    for event in events[:-1]:
        sums.add(event)
    assert sums.totals().model_dump(exclude={"seconds"}) == totals.model_dump(exclude={"seconds"})
    tree = tree_of(events)
    assert {path: tree.threads[path].y for path in started} == {path: played.y(path) for path in started}


WRONG = (
    "listens without saying for what",
    "await is followed by",
    "was awaited already",
    "there is no thread",
    "its end",
)
WRONG += ("opens an action", "open an action", "each line of a list", "names no node", "Error: ", "Exception: ")
"""Words by which errors that threads read are told apart; the last two are of their code."""


def wrong(text: str) -> str:
    return next(words for words in WRONG if words in text)


def classes(played: Any) -> set[str]:
    """What an episode's record says of the outputs in it."""
    found = {f"problem: {problem}" for problem in FormatCheck(played.events).problems() or ()}
    found |= {f"repaired: {event.repair or 'its own line'}" for event in played.of("repaired")}
    found |= {f"failed: {event.failure}" for event in played.of("failed")}
    found |= {f"corrected: {wrong(event.text)}" for event in played.of("corrected")}
    return found or {"carried out as it stands"}


def as_recorded(played: Any, again: Any) -> None:
    """A replay has the same events in the same order, and the same outcome."""
    assert first_difference(played.events, again.events) is None
    assert [(event.kind, event.thread) for event in again.events] == [
        (event.kind, event.thread) for event in played.events
    ]
    assert again.episode.status is played.episode.status
    assert classes(again) == classes(played)


async def played_malformed(name: str, seeds: range, folder: Path) -> Counter[str]:
    """Play malformed outputs, with all that holds for each of them; returns how they were classed, and other counts."""
    counts: Counter[str] = Counter()
    async with Plays(folder) as plays:
        for seed in seeds:
            counts.update(await one_malformed(plays, name, seed))
    return counts


async def one_malformed(plays: Plays, name: str, seed: int) -> list[str]:
    """Play one malformed output; returns how it was classed, and what else is to be counted."""
    script, how = drawn(name, seed)
    try:
        played, again = await plays.both(Erring(script), **how)
        assert played.episode.status.value in {"answered", "failed", "limited"}, played.episode
        as_recorded(played, again)
        found = classes(played)
        assert all(0 < len(each) < 80 for each in found)
    except BaseException as error:
        error.add_note(f"format {name}, seed {seed}: {script.text[:2000]!r}")
        raise
    counts = ["episodes", f"status: {played.episode.status}", *found]
    counts += ["with children"] * (played.episode.totals.threads > 1)
    return counts + ["threads were stopped"] * any(event.how == "stopped" for event in played.of("thread_ended"))


@pytest.mark.parametrize("name", FORMED)
async def test_malformed_outputs_are_played_to_an_end_classed_recorded_and_replayed(name, tmp_path) -> None:
    counts = await played_malformed(name, range(30), tmp_path)
    assert counts["with children"] >= 10


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMED)
async def test_two_thousand_malformed_outputs_are_played_to_an_end(name, tmp_path) -> None:
    started = time.monotonic()
    counts = await played_malformed(name, range(2000), tmp_path)
    print(f"{name}: {time.monotonic() - started:.0f} s", *sorted(counts.items()), sep="\n")  # shown by `pytest -rP`
    assert counts["episodes"] == 2000
    assert counts["with children"] >= 1000


async def one_well_formed(plays: Plays, name: str, seed: int) -> None:
    formed = FORMED[name](Random(f"{name} {seed}"))
    how: dict[str, Any] = {"limits": Limits(wall_time=None, calls=1000), "rules": formed.rules, "task": formed.task}
    try:
        played, again = await plays.both(ScriptedModel(formed.script), **how)
        assert played.y("0") == formed.y
        assert first_difference(played.events, again.events) is None
        assert not FormatCheck(played.events).problems()
        assert classes(played) == {"carried out as it stands"}
    except BaseException as error:
        error.add_note(f"format {name}, seed {seed}: {formed.y[:2000]!r}")
        raise


@pytest.mark.parametrize("name", FORMED)
async def test_well_formed_outputs_come_out_of_an_episode_as_they_are(name, tmp_path) -> None:
    async with Plays(tmp_path) as plays:
        for seed in range(10):
            await one_well_formed(plays, name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMED)
async def test_hundreds_of_well_formed_outputs_come_out_of_an_episode_as_they_are(name, tmp_path) -> None:
    async with Plays(tmp_path) as plays:
        for seed in range(500):
            await one_well_formed(plays, name, seed)
