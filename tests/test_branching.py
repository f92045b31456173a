"""`--branches` and `--watch parallel-probe`, for run and bench, as configured and on a local model."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from benches import keys, of, plan, results, suite
from processes import in_this_process

from thread_cli.assembly.config import Config
from thread_cli.assembly.environments import open_environment
from thread_cli.assembly.playing import Played, play
from thread_cli.bench.arms import arms_of, title_of
from thread_cli.bench.playing import join, run
from thread_cli.bench.report import read_run
from thread_cli.bench.runner import Ending
from thread_cli.bench.suite import Part, Suite, Variant
from thread_cli.bench.tables import as_json
from thread_cli.bench.ways import Ways
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.events import Event
from thread_cli.record import RunFolder, first_difference, read_events

PROBE: dict[str, Any] = {
    "parallel-probe": {"distance": 8, "warm_up": 0, "patience": 2, "opening": "\nSo:", "stop": "\n"}
}
VOTES = """
[[thread]]
path = "0.0"
text = "print('4')"

[[thread]]
text = "print('5')"
"""


@pytest.fixture
def votes(tmp_path: Path) -> str:
    (tmp_path / "votes.toml").write_text(VOTES)
    return f"scripted:{tmp_path / 'votes.toml'}"


def questions(**changes: Any) -> Suite:
    """Two questions over data, which an answer in words settles."""
    return suite(parts=(Part(environment="dataqa/icu", split="test", tasks=2),), **changes)


def events(played: Played) -> list[Event]:
    return [*read_events(played.folder.episode(played.task.id))]


# --- a local model


async def on_machine(spec: str, folder: Path, temperature: float = 0.7, **settings: Any) -> Played:
    """Four branches of 40 tokens each."""
    model = {"spec": spec, "temperature": temperature}
    settings = {"model": model, "branches": 4, "limits": {"max_tokens": 40}, **settings}
    return await play(Config.of(task="Count the chairs.", log=folder, **settings))


async def test_a_probed_run_on_a_local_model_is_replayed_and_its_probes_read_nothing_twice(
    tmp_path, embedded_model
) -> None:
    watched = {"watch": "parallel-probe", "watchers": PROBE}
    first = await on_machine(f"llama:{embedded_model}", tmp_path / "run", **watched)
    recorded = events(first)
    probes = {event.thread: event for event in recorded if event.kind == "thread_started" and event.depth == 2}
    assert probes
    asked = [event for event in recorded if event.kind == "generated" and event.thread in probes]
    assert max(event.prompt_tokens - event.cached_tokens for event in asked) <= 8
    parts = [event for event in recorded if event.kind == "generated" and event.thread == "0.0"]
    assert len(parts) > 1
    assert {event.prompt_tokens - event.cached_tokens for event in parts[1:]} <= {1, 2, 3, 4}

    again = await on_machine(f"replay:{tmp_path / 'run'}", tmp_path / "again", **watched)
    assert first_difference(recorded, events(again)) is None
    assert again.episode.answer == first.episode.answer


async def test_on_a_local_model_branches_write_the_same_with_probes_and_without(tmp_path, embedded_model) -> None:
    spec = f"llama:{embedded_model}"
    never = {"parallel-probe": PROBE["parallel-probe"] | {"patience": 999, "disagreements": 999}}
    plain = await on_machine(spec, tmp_path / "plain", 1.0, seed=3)
    probed = await on_machine(spec, tmp_path / "probed", 1.0, seed=3, watch="parallel-probe", watchers=never)

    def texts(played: Played) -> dict[str, str]:
        found: dict[str, str] = {}
        for event in events(played):
            if event.kind == "generated" and event.thread.count(".") == 1:
                found[event.thread] = found.get(event.thread, "") + event.text
        return found

    assert texts(plain) == texts(probed)
    assert len(set(texts(plain).values())) == 4


# --- run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("none", "x", "--watch", "parallel-probe"), "watches branches of one question: add --branches N"),
        (("none", "x", "--branches", "1"), "configuration: branches: Input should be greater than or equal to 2"),
        (("none", "x", "--branches", "2", "--watch", "no"), "there is no watcher 'no'; there are"),
        (
            ("none", "x", "--branches", "2", "--watch", "parallel-probe", "-o", "watchers.parallel-probe.distance=3"),
            "the watcher parallel-probe cannot be used: ValueError: distance is 3, and has to be a whole number from 8",
        ),
        (
            ("none", "x", "--branches", "2", "--watch", "parallel-probe", "-o", "watchers.parallel-probe.speed=3"),
            "unexpected keyword argument 'speed'",
        ),
        (("none", "x", "-o", "watchers.no.distance=3"), "watchers.no: there is no such watcher; there are"),
        (("textcraft", "--branches", "2"), "textcraft is solved by actions, and branches vote on answers"),
        (
            ("none", "x", "--branches", "2", "--watch", "parallel-probe", "--watch", "parallel-probe"),
            "only one watcher",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(tmp_path, votes, arguments, says) -> None:
    ran = in_this_process("run", *arguments, "--model", votes, "--log", str(tmp_path / "run"), cwd=tmp_path)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_run_answers_as_most_branches_do(tmp_path, votes) -> None:
    ran = in_this_process("run", "none", "2 + 3", "--branches", "3", "--model", votes, "--log", "run", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "answer: 5" in ran.stdout
    again = ("run", "none", "2 + 3", "--branches", "3", "--model", "replay:run", "--log", "again")
    ran = in_this_process(*again, "--display", "none", cwd=tmp_path)
    assert (ran.returncode, "replay: the same events as recorded" in ran.stderr) == (0, True)


def test_limits_of_calls_and_threads_hold_for_each_branch(tmp_path, votes) -> None:
    arguments = ("--model", votes, "-o", "limits.calls=1", "-o", "limits.threads=1", "-o", "limits.depth=0")
    ran = in_this_process("run", "none", "x", "--branches", "150", *arguments, "--log", "run", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_a_branch_may_make_as_many_calls_and_threads_as_a_run_without_branches(tmp_path) -> None:
    lines = "".join(f"part, step {n} =>\n" for n in range(5))
    script = f'[[thread]]\npath = "{{}}"\ntext = """\n{lines}print(7)\n"""\n[[thread]]\ntext = "print(1)"\n'
    for path, more, runs in (("0", (), 1), ("0.?", ("--branches", "4"), 4)):
        (tmp_path / "script.toml").write_text(script.format(path))
        for calls, threads, failed in ((11, 6, 0), (10, 6, 1), (11, 5, 1)):
            limits = ("-o", f"limits.calls={calls}", "-o", f"limits.threads={threads}")
            log = tmp_path / f"{runs}-{calls}-{threads}"
            in_this_process(
                "run", "none", "x", "--model", "scripted:script.toml", *more, *limits, "--log", str(log), cwd=tmp_path
            )
            failures = [event for event in read_events(log / "text.jsonl") if event.kind == "failed"]
            assert len(failures) == runs * failed, (runs, calls, threads)


def test_of_searches_for_a_countdown_problem_a_whole_one_is_the_answer(tmp_path) -> None:
    arguments = ("countdown", "--branches", "2", "--log", "run", "--model")
    ran = in_this_process("run", *arguments, "teacher", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "the task is solved" in ran.stdout
    ran = in_this_process("run", *arguments[:4], "again", "--model", "replay:run", "--display", "none", cwd=tmp_path)
    assert (ran.returncode, "replay: the same events as recorded" in ran.stderr) == (0, True)


@pytest.mark.parametrize(("protocol", "closed"), [("weaver", "\\n</Parallel>\\n"), ("weaver:paper", "")])
def test_the_format_of_branches_is_checked_and_not_that_of_their_vote(tmp_path, protocol, closed) -> None:
    outlines = "<Parallel>\\n<Outlines>\\n<Outline>1: a</Outline>\\n<Outline>2: b</Outline>\\n</Outlines>"
    right = f"{outlines}{closed}4"
    for second, says in ((right, "format correct"), (right.replace("2: b", "3: b"), "format wrong: ")):
        texts = {"0.0": right, "0.1": second, "0.?.*": " part</Thread>"}
        script = "".join(f'[[thread]]\npath = "{path}"\ntext = "{text}"\n' for path, text in texts.items())
        (tmp_path / "script.toml").write_text(script)
        arguments = ("none", "x", "--prompt", "weaver", "--branches", "2", "--protocol", protocol)
        in_this_process("run", *arguments, "--model", "scripted:script.toml", "--log", says[7:12], cwd=tmp_path)
        assert f"{protocol} · {says}" in in_this_process("show", says[7:12], cwd=tmp_path).stdout


def test_branches_are_no_deeper_than_a_run_without_branches(tmp_path) -> None:
    (tmp_path / "script.toml").write_text('[[thread]]\ntext = """\ndeeper, go on =>\nprint(7)\n"""\n')
    for depth in (0, 1):
        arguments = ("none", "x", "--model", "scripted:script.toml", "--depth", str(depth))
        for log, more, level in ((f"alone{depth}", (), 0), (f"branches{depth}", ("--branches", "2"), 1)):
            in_this_process("run", *arguments, *more, "--log", log, cwd=tmp_path)
            threads = [event for event in read_events(tmp_path / log / "text.jsonl") if event.kind == "thread_started"]
            assert max(event.depth for event in threads) == depth + level


# --- bench


async def test_self_consistency_is_a_method_and_branches_are_part_of_what_a_run_is(tmp_path, votes) -> None:
    outcome = await run(plan(questions(), model=votes, method="self-consistency", branches=3), tmp_path / "run")
    assert outcome.ending is Ending.complete
    assert [result.totals.threads for result in results(tmp_path / "run")] == [4, 4]
    folder = RunFolder(tmp_path / "run")
    first = min(result.key for result in results(tmp_path / "run"))
    answers = [event.result for event in read_events(folder.episode(first)) if event.kind == "thread_ended"]
    assert answers[-1] == "5"
    min((tmp_path / "run/results").iterdir()).unlink()
    assert (await join(tmp_path / "run")).ending is Ending.complete

    plain = plan(questions(), model=votes)
    three = plan(questions(), model=votes, branches=3)
    watched = plan(questions(), model=votes, branches=3, watch="parallel-probe")
    set_otherwise = plan(questions(), model=votes, branches=3, watch="parallel-probe", watchers=PROBE)
    assert len({key for each in (plain, three, watched, set_otherwise) for key in await keys(each)}) == 8
    with pytest.raises(UserError, match="branches was 3, is now 4"):
        await run(plan(questions(), model=votes, method="self-consistency", branches=4), tmp_path / "run")


async def test_a_vote_of_branches_that_overran_a_limit_is_judged_by_bench_and_in_its_replay(tmp_path) -> None:
    truth = open_environment("dataqa/icu", {}).tasks("test")[0].data["answer"]
    (tmp_path / "right.toml").write_text(f'[[thread]]\ntext = """print("Final Answer: {truth}")"""\n')
    options: dict[str, Any] = {"method": "self-consistency", "branches": 3, "limit": 1, "limits": {"total_tokens": 100}}
    for name, model in (("run", f"scripted:{tmp_path / 'right.toml'}"), ("again", f"replay:{tmp_path / 'run'}")):
        await run(plan(questions(), model=model, **options), tmp_path / name)
        (result,) = results(tmp_path / name)
        assert (result.status, result.failure) == (Status.solved, None)
        assert result.message == "the task is solved; the limit of 100 tokens is reached"
    (recorded,), (now,) = (RunFolder(tmp_path / name).episodes() for name in ("run", "again"))
    assert first_difference(read_events(recorded), read_events(now)) is None


async def test_self_consistency_has_sixteen_branches_where_nobody_says(tmp_path, votes) -> None:
    await run(plan(questions(), model=votes, method="self-consistency", limit=1), tmp_path / "run")
    assert [result.totals.threads for result in results(tmp_path / "run")] == [17]


async def test_suites_and_variants_name_branches_and_watchers(tmp_path, votes) -> None:
    probing = Variant(name="probe", watch=("parallel-probe",), watchers=PROBE)
    chosen = questions(branches=2, variants=(Variant(name="vote"), Variant(name="more", branches=3), probing))
    await run(plan(chosen, model=votes, limit=1), tmp_path / "run")
    assert {result.variant: result.totals.threads for result in results(tmp_path / "run")} == {
        "vote": 3, "more": 4, "probe": 3,
    }  # fmt: skip
    assert 'watch = ["parallel-probe"]' in " ".join((tmp_path / "run/bench.toml").read_text().split()).replace(
        "[ ", "["
    ).replace(", ]", "]")


async def test_reports_name_branches_and_watchers_as_they_name_methods_and_models(tmp_path, votes) -> None:
    watched: dict[str, Any] = {"branches": 3, "watch": "parallel-probe"}
    settings: dict[str, dict[str, Any]] = {
        "plain": {}, "three": {"branches": 3}, "watched": watched, "set": watched | {"watchers": PROBE},
        "vote": {"method": "self-consistency"}, "same": {"branches": 3},
    }  # fmt: skip
    for name, chosen in settings.items():
        await run(plan(questions(), model=votes, limit=1, **chosen), tmp_path / name)
    read = {name: read_run(tmp_path / name) for name in settings}
    who = "thread · scripted:votes.toml"
    probe = r'parallel-probe distance=8 warm_up=0 patience=2 opening="\nSo:" stop="\n"'
    assert [arm.label for arm in arms_of([*read.values()])] == [
        who,
        f"{who} · 3 branches (three)",
        f"{who} · 3 branches · parallel-probe",
        f"{who} · 3 branches · {probe}",
        "self-consistency · scripted:votes.toml · 16 branches",
        f"{who} · 3 branches (same)",
    ]
    assert title_of(arms_of([read["plain"]])) == f"small · {who}"
    assert title_of(arms_of([read["watched"]])) == f"small · {who} · 3 branches · parallel-probe"
    assert title_of(arms_of([read["three"], read["same"]])) == f"small · {who} · 3 branches"
    assert title_of(arms_of([read["plain"], read["three"]])) == f"small · {who}"
    assert Ways(watch={"own": {"since": date(2026, 1, 2), "often": True}}).words == [
        'own since="2026-01-02" often=true'
    ]
    told = json.loads(as_json([*read.values()]))
    assert [each["branches"] for each in told] == [None, 3, 3, 3, 16, 3]
    assert [each["watch"] for each in told[2:4]] == [{"parallel-probe": {}}, PROBE]


async def test_variants_have_their_names_in_reports_and_runs_of_them_their_branches(tmp_path, votes) -> None:
    probing = Variant(name="probe", watch=("parallel-probe",), watchers=PROBE)
    voting = Variant(name="vote", method="self-consistency")
    chosen = questions(variants=(Variant(name="more", branches=4), probing, voting))
    for name, branches in (("two", 2), ("three", 3)):
        await run(plan(chosen, model=votes, limit=1, branches=branches), tmp_path / name)
    two, three = (read_run(tmp_path / name) for name in ("two", "three"))
    arms = arms_of([two.variant(name) for name in ("more", "probe")])
    assert [(arm.summary.branches, [*arm.summary.watch]) for arm in arms] == [(4, []), (2, ["parallel-probe"])]
    more, _, vote, *_, last = [arm.label for arm in arms_of([two, three])]
    assert more == "thread · scripted:votes.toml · 4 branches · more (two)"
    assert (vote, last) == (
        "self-consistency · scripted:votes.toml · 2 branches · vote",
        "self-consistency · scripted:votes.toml · 3 branches · vote",
    )
    await run(plan(questions(variants=chosen.variants[:2]), model=votes, limit=1, branches=2), tmp_path / "one")
    assert [arm.label for arm in arms_of([read_run(tmp_path / "one")])] == ["more", "probe"]


async def test_keys_of_variants_without_branches_are_what_they_were(votes) -> None:
    one = plan(of(1, prompt="small"), model="teacher")
    assert await keys(one) == await keys(plan(of(1, prompt="small"), model="teacher", branches=None, watchers={}))
    dumped = json.dumps(one.suite.model_dump(mode="json"))
    assert '"watch": []' in dumped


async def test_a_method_that_writes_the_main_thread_itself_has_no_branches(tmp_path, votes) -> None:
    with pytest.raises(UserError, match="the method adapt has no branches: leave out --branches"):
        await run(plan(of(1), model=votes, method="adapt", branches=2), tmp_path / "run")
    with pytest.raises(UserError, match="textcraft is solved by actions"):
        await run(plan(of(1), model=votes, branches=2), tmp_path / "run")
    with pytest.raises(UserError, match="use neither --branches nor self-consistency"):
        await run(plan(of(1), model=votes, method="self-consistency"), tmp_path / "run")


@pytest.mark.parametrize(
    "setting",
    [("--watch", "x"), ("--branches", "3"), ("--lora", "x.gguf"), ("--gpu-layers", "1"), ("--unsafe-python",)],
)
def test_whoever_joins_a_run_is_told_of_settings_that_would_not_count(tmp_path, setting) -> None:
    ran = in_this_process("bench", "--join", "run", *setting, cwd=tmp_path)
    assert ran.returncode == 2
    assert "--join takes everything that decides a result from the run" in ran.stderr
