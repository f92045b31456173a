"""Runs of fork-join formats from the command line: played, shown, replayed, summed up in reports, and served by chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benches import of, plan, report, results
from forking import WEAVER, weaver_block
from processes import in_this_process
from servers import Answer, Server, chat_event, error, usage_event

from thread_cli.bench.playing import run
from thread_cli.contracts.errors import UserError
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.openai_shapes import Shape
from thread_cli.protocols.checking import npr_problems, weaver_problems
from thread_cli.protocols.prompt import load
from thread_cli.record import RunFolder, read_events
from thread_cli.train.recordings import recordings

MAIN = """
[[thread]]
path = "0"
text = '''I split it.
<Parallel>
<Outlines>
<Outline>1: add</Outline>
<Outline>2: count</Outline>
"""
SCRIPT = f"""{MAIN}</Outlines></Parallel>
</think>
6'''

[[thread]]
path = "0.0"
text = ''' It is 2
<Parallel>
<Outlines>
<Outline>1: below</Outline>
</Outlines></Parallel></Thread>'''

[[thread]]
text = ' It is 4</Thread>'
"""
BY_PAPER = f"""{MAIN}</Outlines>
So it is 6.
</think>
6'''

[[thread]]
text = ' It is 4</Thread>'
"""
"""The main thread as a model writes it where the engine closes blocks."""
SIX_PLANS = f"""
[[thread]]
path = "0"
text = '''<guideline>
{"".join(f"<plan>{n}: part {n}</plan>" for n in range(1, 7))}</guideline>all of it</takeaway>
6'''

[[thread]]
text = ' It is 4</step>'
"""
FLAT = SCRIPT.replace("<Parallel>\n<Outlines>\n<Outline>1: below</Outline>\n</Outlines></Parallel>", "")


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "nested.toml").write_text(SCRIPT)
    (tmp_path / "flat.toml").write_text(FLAT)
    return tmp_path


def played(folder: Path, script: str, *more: str) -> Any:
    options = ("--display", "none", "--log", script, "--prompt", "weaver", *more)
    return in_this_process("run", "none", "How many?", "--model", f"scripted:{script}.toml", *options, cwd=folder)


def test_a_run_is_played_shown_and_replayed(scripts: Path) -> None:
    assert played(scripts, "flat").returncode == 0
    shown = in_this_process("show", "flat", cwd=scripts)
    assert shown.stdout.splitlines()[-1] == "weaver · format correct"
    assert "1: add" in shown.stdout
    assert "2: count" in shown.stdout
    replayed = in_this_process("replay", "flat", "--speed", "1000", cwd=scripts)
    assert (replayed.returncode, replayed.stderr) == (0, "")
    again = in_this_process(
        *("run", "none", "How many?", "--model", "replay:flat", "--prompt", "weaver"),
        *("--display", "none", "--log", "again"),
        cwd=scripts,
    )
    assert (again.returncode, again.stderr) == (0, "replay: the same events as recorded\n")


def test_a_nested_run_says_that_the_released_checker_does_not_know_nested_blocks(scripts: Path) -> None:
    assert played(scripts, "nested").returncode == 0
    last = in_this_process("show", "nested", cwd=scripts).stdout.splitlines()[-1]
    assert last == "weaver · format wrong: nested blocks, a tag in a body"


def test_the_protocol_may_be_chosen_on_the_command_line(scripts: Path) -> None:
    assert played(scripts, "flat", "--protocol", "weaver:paper").returncode == 0
    started = read_events(RunFolder.open(scripts / "flat").episode(None))[0]
    assert started.kind == "episode_started"
    assert started.protocol == "weaver:paper"
    refused = played(scripts, "nested", "--protocol", "weaver:loud")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "'weaver' takes no option 'loud'" in line
    set_by_override = played(scripts, "nested", "-o", "protocol=npr:paper")
    assert set_by_override.returncode == 0


async def test_reports_say_how_many_texts_keep_to_the_format(tmp_path: Path) -> None:
    scripts = tmp_path / "script.toml"
    scripts.write_text(FLAT)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Think.")
    await run(plan(of(2), model=f"scripted:{scripts}", prompt=str(prompt), protocol="weaver"), tmp_path / "run")
    assert [(each.format_correct, each.format_problems) for each in results(tmp_path / "run")] == [(True, ())] * 2
    (told,) = json.loads(report(tmp_path / "run"))
    assert told["format"] == {"checked": 2, "correct": 2, "share": 1.0, "repairs": 0, "problems": {}}
    told_by = {"--no-times": "format correct %", "--csv": "format.share", "--markdown": "format correct %"}
    told_by |= {"--latex": "Wire format", "--json": '"share": 1.0'}
    for form, expected in told_by.items():
        assert expected in in_this_process("report", "run", form, cwd=tmp_path).stdout
    episodes = in_this_process("report", "run", "--csv", "--episodes", cwd=tmp_path).stdout
    assert "format_correct" in episodes.splitlines()[0]
    in_this_process("report", "run", "--html", "page.html", cwd=tmp_path)
    assert "format correct %" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("script", "protocol", "released"),
    [(BY_PAPER, "weaver:paper", ("an open tag",)), (SIX_PLANS, "npr:paper", ("too many threads", "as many threads"))],
)
async def test_texts_of_the_papers_formats_are_right_in_show_and_in_reports(
    tmp_path: Path, script: str, protocol: str, released: tuple[str, ...]
) -> None:
    (tmp_path / "script.toml").write_text(script)
    (tmp_path / "prompt.txt").write_text("Think.")
    model = {"model": f"scripted:{tmp_path / 'script.toml'}", "prompt": str(tmp_path / "prompt.txt")}
    await run(plan(of(1), **model, protocol=protocol), tmp_path / "run")
    (result,) = results(tmp_path / "run")
    assert (result.format_correct, result.format_problems) == (True, ())
    assert result.totals.threads > 2
    last = in_this_process("show", "run", cwd=tmp_path).stdout.splitlines()[-1]
    assert last == f"{protocol} · format correct"
    await run(plan(of(1), **model, protocol=protocol.partition(":")[0]), tmp_path / "other")
    (result,) = results(tmp_path / "other")
    assert any(problem.startswith(released) for problem in result.format_problems)


async def test_reports_of_threads_format_say_nothing_of_it(tmp_path: Path, script: str) -> None:
    await run(plan(of(1), model=script), tmp_path / "run")
    (told,) = json.loads(report(tmp_path / "run"))
    assert told["format"] is None
    assert "format correct" not in in_this_process("report", "run", cwd=tmp_path).stdout


@pytest.mark.parametrize(("name", "check"), [("weaver", weaver_problems), ("npr", npr_problems)])
def test_the_examples_of_our_prompts_keep_to_the_format(name: str, check: Any) -> None:
    prompt = load(name, "none")
    examples = prompt.q.split("\n\n\nResponse:\n")[1:]
    assert len(examples) >= 2
    assert [check(example) for example in examples] == [()] * len(examples)
    assert prompt.protocol().open("c").endswith(f"Response:\n{prompt.rules.start}\n")


def test_blocks_are_written_as_the_prompt_shows_them() -> None:
    example = load("weaver", "none").q
    block = weaver_block(" a", " b")
    for piece in ("</Outlines>\n<Thread>\n1:", "</Thread><Thread>\n2:", "</Thread>\n</Parallel>"):
        assert piece in example
        assert piece in block


@pytest.mark.parametrize("continues", [True, False], ids=["begun answers", "begun answers closed"])
async def test_a_server_that_knows_chat_alone_forks_and_joins_by_begun_answers(play, continues: bool) -> None:
    text = f"So:\n{weaver_block(' a', ' b')}\n</think>\n5"

    def served(seen: Any) -> Answer:
        if not seen.path.endswith("/chat/completions"):
            return error(404, "Not Found")
        last = seen.body["messages"][-1]
        begun = last["role"] == "assistant"
        written = "Hello!"
        if begun and last["content"].endswith("Wednes"):
            written = "day, Thursday" if continues else "Monday"
        elif continues or not begun:
            _, _, y = last["content"].rpartition("<think>\n") if not begun else ("", "", last["content"])
            at = max((n for n in range(len(text) + 1) if y.endswith(text[:n])), default=0)
            branch = {"<Thread>\n1:": " a", "<Thread>\n2:": " b"}.get(y[-11:])
            written = text[at:] if branch is None else f"{branch}</Thread>"
            written = min((written.partition(stop)[0] for stop in seen.body.get("stop", ["\0"])), key=len)
        counted = sum(7 + len(message["content"].split()) for message in seen.body["messages"])
        told = usage_event(counted + (-4 if begun and continues else 3), 3)
        if not seen.body["stream"]:
            message = {"message": {"role": "assistant", "content": written}, "index": 0, "finish_reason": "stop"}
            return Answer(body=json.dumps({**told, "choices": [message]}))
        return Answer(events=[chat_event(written), chat_event("", "stop"), told])

    with Server(served) as server:
        model = OpenAIModel("m", server.url)
        played = await play(model, rules=WEAVER)
        await model.close()
        assert model.learnt.shape is (Shape.continued if continues else Shape.within)
    assert (played.y("0"), played.episode.answer) == (text, "5")
    assert [event.stop for event in played.of("generated")] == ["stop"] * 4


def test_nothing_is_learned_from_runs_in_other_formats_yet(scripts: Path) -> None:
    assert played(scripts, "flat").returncode == 0
    with pytest.raises(UserError, match="is in the protocol 'weaver': training knows 'thread' alone"):
        list(recordings(scripts / "flat"))
