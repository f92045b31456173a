"""`thread bench --model replay:RUN`: each episode repeats the one that was recorded of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from benches import plan, results, suite
from processes import in_this_process

from thread_cli.bench.playing import run
from thread_cli.bench.suite import Part, Variant
from thread_cli.contracts.errors import UserError
from thread_cli.record import RunFolder, first_difference, read_events

VARIANTS = (Variant(name="all"), Variant(name="line", phi="whole_sequence"), Variant(name="alone", method="react"))
PARTS = (Part(environment="textcraft", split="test", tasks=2), Part(environment="textcraft", split="all", tasks=1))
ONE = """
[[thread]]
path = "0"
text = '''
First, look.
> inventory =>
Then ask another, obtain 1 stick =>
print('done') '''

[[thread]]
text = "print('1 stick')"
"""

BLANK = """
[[thread]]
path = "0"
text = "\\n\\n\\n\\n\\n\\n"

[[thread]]
path = "*"
text = "The answer is 7"
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run of two parts, three variants and two epochs, by a script. Each log tells of as many retries as no other."""
    (tmp_path / "one.toml").write_text(ONE)
    chosen = suite(parts=PARTS, variants=VARIANTS)
    asyncio.run(run(plan(chosen, model=f"scripted:{tmp_path / 'one.toml'}", epochs=2), tmp_path / "run"))
    for number, log in enumerate(RunFolder(tmp_path / "run").episodes()):
        events = [json.loads(line) for line in log.read_text().splitlines()]
        told = [event | {"retries": number} if event["kind"] == "generated" else event for event in events]
        log.write_text("".join(f"{json.dumps(event)}\n" for event in told))
    return tmp_path / "run"


def by_place(folder: Path) -> dict[tuple[Any, ...], list[tuple[str, int]]]:
    """What each episode's threads wrote, and after how many retries, by its place in the suite."""
    return {
        (each.split, each.task, each.variant, each.method, each.epoch): [
            (event.text, event.retries)
            for event in read_events(RunFolder(folder).episode(each.key))
            if event.kind == "generated"
        ]
        for each in results(folder)
    }


@pytest.mark.parametrize("kind", ["replay:", "faulty:500=0+replay:"])
async def test_each_variant_and_epoch_repeats_its_own_recorded_episode(tmp_path, recorded, kind) -> None:
    again = tmp_path / "again"
    await run(plan(suite(parts=PARTS, variants=VARIANTS), model=f"{kind}{recorded}", epochs=2), again)
    before = by_place(recorded)
    assert len({retries for written in before.values() for _, retries in written}) == len(before) == 18
    assert by_place(again) == before


async def test_one_episode_of_each_task_is_repeated_under_any_name(tmp_path, recorded) -> None:
    alone = tmp_path / "alone"
    await run(plan(suite(parts=PARTS[:1], variants=VARIANTS[:1]), model=f"replay:{recorded}"), alone)
    await run(plan(suite(parts=PARTS[:1]), model=f"replay:{alone}", epochs=2), tmp_path / "again")
    named, unnamed = by_place(alone), by_place(tmp_path / "again")
    assert (len(named), len(unnamed)) == (2, 4)
    for epoch in (0, 1):
        for split, task, variant, way, _ in named:
            assert unnamed[split, task, "", way, epoch] == named[split, task, variant, way, 0]


@pytest.mark.parametrize("method", ["react", "plan-and-execute", "adapt", "direct", "self-consistency"])
async def test_an_episode_of_each_method_has_the_events_of_the_recorded_one(tmp_path, method) -> None:
    (tmp_path / "blank.toml").write_text(BLANK)
    part = Part(environment="math", split="generated", tasks=1)
    for folder, model in (("run", f"scripted:{tmp_path / 'blank.toml'}"), ("again", f"replay:{tmp_path / 'run'}")):
        await run(plan(suite(parts=(part,), method=method), model=model), tmp_path / folder)
    (recorded,), (now,) = (RunFolder(tmp_path / folder).episodes() for folder in ("run", "again"))
    assert first_difference(read_events(recorded), read_events(now)) is None


async def test_an_episode_that_has_no_result_yet_is_not_taken_for_another(tmp_path, recorded) -> None:
    gone = next(each for each in results(recorded) if (each.variant, each.epoch) == ("line", 1))
    (recorded / f"results/{gone.key}.json").unlink()
    with pytest.raises(
        UserError, match=f"no episodes of task {gone.task}, split '{gone.split}', variant 'line', epoch 1"
    ):
        await run(plan(suite(parts=PARTS, variants=VARIANTS), model=f"replay:{recorded}", epochs=2), tmp_path / "again")


async def test_a_part_of_what_was_recorded_is_repeated(tmp_path, recorded) -> None:
    chosen = suite(parts=PARTS[1:], variants=VARIANTS[1:2])
    await run(plan(chosen, model=f"replay:{recorded}"), tmp_path / "again")
    ((place, written),) = by_place(tmp_path / "again").items()
    assert by_place(recorded)[place] == written


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"suite": suite(parts=PARTS)},
            "holds no episodes of task 0, split 'test', variant '', epoch 0, method 'thread': ",
        ),
        (
            {"epochs": 3},
            "epoch 2, method 'thread': repeat a run by the suite, --method, --epochs and --limit that it was ",
        ),
        ({"suite": suite(parts=(Part(environment="textcraft", split="all", tasks=2),), variants=VARIANTS)}, "task 1, "),
        ({"model": "replay:nowhere"}, "there is no run at"),
    ],
)
async def test_an_episode_that_was_not_recorded_is_refused_before_anything_is_played(
    tmp_path, recorded, settings, says
) -> None:
    settings = {"suite": suite(parts=PARTS, variants=VARIANTS), "epochs": 2, "model": f"replay:{recorded}", **settings}
    with pytest.raises(UserError) as refused:
        await run(plan(settings["suite"], model=settings["model"], epochs=settings["epochs"]), tmp_path / "again")
    assert says in refused.value.message
    assert "\n" not in refused.value.message
    assert not (tmp_path / "again").exists()


def test_run_repeats_an_episode_by_its_file_where_a_task_has_several(tmp_path, recorded) -> None:
    arguments = ("run", "textcraft", "--task", "0", "--display", "none", "--log")
    ran = in_this_process(*arguments, "one", "--model", "replay:run", cwd=tmp_path)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "or its file run/episodes/KEY.jsonl" in ran.stderr
    wanted = ("test", "0", "line", 1)
    key = next(each.key for each in results(recorded) if (each.split, each.task, each.variant, each.epoch) == wanted)
    for log, model in (("one", f"run/episodes/{key}.jsonl"), ("two", "one/0.jsonl")):
        ran = in_this_process(*arguments, log, "--phi", "whole_sequence", "--model", f"replay:{model}", cwd=tmp_path)
        told = [event.retries for event in read_events(tmp_path / log / "0.jsonl") if event.kind == "generated"]
        assert told == [written[1] for written in by_place(recorded)["test", "0", "line", "thread", 1]]
    assert ran.stderr.endswith("replay: the same events as recorded\n")
