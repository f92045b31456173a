"""The command line, as a user meets it: real processes, their output and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from processes import cold_thread, thread
from pydantic import BaseModel

from thread_cli.assembly.config import Config, ModelSpec
from thread_cli.cli.bench import bench
from thread_cli.cli.options import Sets, settings_of
from thread_cli.cli.run import run
from thread_cli.cli.serve import serve
from thread_cli.record.lines import parse_event

PROMPT = """Prompt:
Crafting commands:
craft 1 chest using 8 oak planks
Goal: craft chest.


Response:
#START#
target = 'chest'

First, I need to obtain 1 {target}. =>done<=

#END#






Prompt:
I need to obtain 1 chest. =>


Response:
#START#
> get 1 chest =>Could not find chest.<=

print('You cannot get it.')
#END#
"""


def test_a_task_is_played_shown_replayed_and_run_again(tmp_path) -> None:
    ran = cold_thread("run", "textcraft", "--model", "teacher", "--task", "12", "--log", "a", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "log: a" in ran.stdout
    again = thread(
        "run", "textcraft", "--model", "replay:a", "--task", "12", "--log", "b", "--display", "none", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert "the same events as recorded" in again.stderr
    shown = [thread("show", run, cwd=tmp_path).stdout for run in "ab"]
    assert shown[0] == shown[1] != ""
    assert "obtain" in thread("show", "a", "--thread", "0.0", cwd=tmp_path).stdout
    replayed = thread("replay", "a", "--speed", "0", "--display", "json", cwd=tmp_path)
    recorded = Path(tmp_path / "a" / "12.jsonl").read_text()
    assert list(map(parse_event, replayed.stdout.splitlines())) == list(map(parse_event, recorded.splitlines()))
    assert thread("show", "a", "--svg", "tree.svg", cwd=tmp_path).returncode == 0
    assert (tmp_path / "tree.svg").read_text().startswith("<svg")


def test_an_interruption_while_modules_are_loaded_leaves_no_trace_on_the_screen(tmp_path) -> None:
    script = """if True:
        import os, signal, sys
        class Interrupts:
            def find_spec(self, name, *_):
                if name == "thread_cli.cli.bench":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Interrupts())
        from thread_cli.cli.main import main
        main()
    """
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_a_thread_that_a_log_does_not_have_is_told_in_one_line(tmp_path) -> None:
    ran = thread(
        "run", "textcraft", "--model", "teacher", "--task", "12", "--log", "a", "--display", "none", cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    log = tmp_path / "a" / "12.jsonl"
    log.write_text(log.read_text().splitlines()[0])  # killed before the main thread began
    for path in ("0", "0.7"):
        shown = thread("show", "a", "--thread", path, cwd=tmp_path)
        assert (shown.returncode, shown.stderr) == (2, f"thread: the run has no thread '{path}'\n")


def test_a_replay_of_another_task_says_where_it_diverges(tmp_path) -> None:
    thread("run", "textcraft", "--model", "teacher", "--task", "12", "--log", "a", "--display", "none", cwd=tmp_path)
    other = thread(
        "run",
        "textcraft",
        "--model",
        "replay:a",
        "--task",
        "12",
        "--seed",
        "5",
        "--log",
        "b",
        "--display",
        "none",
        cwd=tmp_path,
    )
    assert other.returncode != 0
    assert "diverges" in other.stderr


def test_a_plain_published_prompt_runs_as_it_is(tmp_path) -> None:
    (tmp_path / "prompt.txt").write_text(PROMPT)
    (tmp_path / "script.txt").write_text(
        "target = 'cyan banner'\n\nFirst, I need to obtain 1 {target}. =>\n---\n"
        "item = 'white dye'\n> get 1 {item} =>\n---\n\nprint('I have the {item}.')\n#END#\n---\nGood.\n#END#\n"
    )
    ran = thread(
        "run",
        "textcraft",
        "--model",
        "scripted:script.txt",
        "--prompt",
        "prompt.txt",
        "--log",
        "a",
        "--display",
        "json",
        cwd=tmp_path,
    )
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 1
    assert [e["context"] for e in events if e["kind"] == "thread_started"][1] == "I need to obtain 1 cyan banner. =>"
    assert [e["action"] for e in events if e["kind"] == "acted"] == ["get 1 white dye"]
    assert next(e["text"] for e in events if e["kind"] == "observed") == "=>Could not find {item}.<=\n\n"
    assert next(e["text"] for e in events if e["kind"] == "joined") == "=>I have the {item}.<=\n\n"
    assert (tmp_path / "a" / "prompt.txt").read_text() == PROMPT.rstrip("\n")


def test_the_embedded_model_plays_a_task_and_hardly_any_token_is_evaluated_twice(tmp_path) -> None:
    pytest.importorskip("llama_cpp")
    ran = thread(
        "run", "textcraft", "--task", "40", "--prompt", "small", "--log", "a", "--display", "json", cwd=tmp_path
    )
    assert ran.returncode in {0, 1}, ran.stderr
    end = json.loads(ran.stdout.splitlines()[-1])
    assert end["kind"] == "episode_ended"
    assert end["status"] in {"solved", "failed", "limited"}
    totals = end["totals"]
    assert totals["generated_tokens"] > 0
    assert totals["repeated_tokens"] < 0.05 * totals["prompt_tokens"]
    assert totals["cached_tokens"] > 0 or totals["calls"] == 1


def test_free_text_needs_no_environment(tmp_path) -> None:
    (tmp_path / "s.toml").write_text('[[thread]]\ntext = "print(6 * 7)"\n')
    ran = thread(
        "run", "none", "What is six times seven?", "--model", "scripted:s.toml", "--display", "none", cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert "answer: 42" in ran.stdout
    assert len(list((tmp_path / "runs").glob("*/text.jsonl"))) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ("run", "nosuchenv"),
            2,
            "there are alfworld, countdown, dataqa/datacommons, dataqa/icu, math, multiplication, none, textcraft, webshop",
        ),
        (("run", "textcraft", "--task", "99999", "--model", "teacher"), 2, "99999"),
        (("run", "textcraft", "--model", "nosuch:thing"), 2, "nosuch:thing"),
        (("run", "textcraft", "--model", "llama:/nonexistent.gguf"), 2, "/nonexistent.gguf"),
        (("run", "textcraft", "--model", "llama:broken.gguf"), 2, "broken.gguf"),
        (("run", "textcraft", "--model", "openai:x"), 2, "OPENAI_API_KEY"),
        (("run", "textcraft", "--model", "openai:x@http://127.0.0.1:9/v1"), 4, "127.0.0.1:9"),
        (("run", "textcraft", "--model", "openai:"), 2, "openai:NAME"),
        (("run", "textcraft", "--model", "faulty:429=2+teacher"), 2, "429"),
        (("run", "textcraft", "--model", "faulty:429=0.1"), 2, "faulty:"),
        (("run", "textcraft", "--model", "scripted:none.txt"), 2, "none.txt"),
        (("run", "textcraft", "--model", "replay:nowhere"), 2, "nowhere"),
        (("run", "textcraft", "--model", "teacher", "--prompt", "/nonexistent.txt"), 2, "/nonexistent.txt"),
        (("run", "textcraft", "--model", "teacher", "--phi", "nonsense"), 2, "last_line_after_comma"),
        (("run", "textcraft", "--model", "teacher", "--psi", "nonsense"), 2, "printed"),
        (("run", "textcraft", "--model", "teacher", "--calls", "0"), 2, "limits.calls"),
        (("run", "textcraft", "--model", "teacher", "--display", "x"), 2, "display"),
        (("run", "textcraft", "--model", "teacher", "-o", "limits.nonsense=1"), 2, "limits.nonsense"),
        (("run", "textcraft", "--model", "teacher", "-o", "nonsense"), 2, "KEY=VALUE"),
        (("run", "textcraft", "--model", "teacher", "--config", "bad.toml"), 2, "bad.toml"),
        (("run", "textcraft", "--model", "teacher", "--config", "absent.toml"), 2, "absent.toml"),
        (("run", "textcraft", "--model", "teacher", "-o", "options.colour=1"), 2, "colour"),
        (("run", "textcraft", "--model", "teacher", "--log", "bad.toml"), 2, "bad.toml"),
        (("run", "textcraft", "--model", "openai:x@http://127.0.0.1:9/v1", "--cost", "1"), 2, "price"),
        (("run", "none", "--model", "teacher", "x"), 2, "teacher"),
        (("run", "none"), 2, "--task"),
        (("run", "none", " "), 2, "empty"),
        (("run", "textcraft", "--model", "embedded:my.gguf"), 2, "nothing after its name"),
        (("run", "textcraft", "--model", "openai:x@localhost:8000/v1"), 2, "with its scheme"),
        (("run", "textcraft", "--model", "openai:@http://127.0.0.1:9/v1"), 2, "with its scheme"),
        (("run", "textcraft", "--model", "openai:x@http://127.0.0.1:9/v1?key=secret"), 2, "before any ?"),
        (("run", "textcraft", "--model", "faulty:cut=0.1+llama:nope.gguf"), 2, "nope.gguf"),
        (("run", "textcraft", "--model", "teacher", "-o", "limits=3", "--calls", "3"), 2, "as a section"),
        (("run", "textcraft", "--model", "teacher", "--prompt", "drop.txt"), 2, "regular expression"),
        (("run", "textcraft", "--model", "teacher", "--prompt", "zero.txt"), 2, "ZeroDivisionError"),
        (("run", "textcraft", "--model", "scripted:pattern.toml"), 2, "pattern.toml"),
        (("run", "textcraft", "--model", "teacher", "--log", ""), 2, "empty"),
        (("show", "nowhere"), 2, "nowhere"),
        (("show", "."), 2, "no recorded episode"),
        (("replay", "nowhere"), 2, "nowhere"),
        (("replay", ".", "--display", "x"), 2, "display"),
    ],
)
def test_wrong_input_gives_one_line_and_the_right_exit_code(tmp_path, arguments, code, says) -> None:
    (tmp_path / "bad.toml").write_text("limits = [")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\x00" * 100)
    (tmp_path / "drop.txt").write_text('+++\n[observation]\ndrop = ["(["]\n+++\nq')
    (tmp_path / "zero.txt").write_text("+++\n+++\n{{ 1 / 0 }}")
    (tmp_path / "pattern.toml").write_text('[[thread]]\ncontext = "(["\ntext = "x"\n')
    result = thread(*arguments, cwd=tmp_path, OPENAI_API_KEY="", NO_COLOR="1")
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_settings_come_from_files_then_the_environment_then_flags(tmp_path) -> None:
    (tmp_path / "thread.toml").write_text(
        'model = "teacher"\ndisplay = "none"\nlog = "a"\n[limits]\ncalls = 1\ndepth = 3\n'
    )
    ran = thread("run", "textcraft", "--calls", "2", cwd=tmp_path, THREAD_LIMITS__DEPTH="4")
    assert ran.returncode == 1
    settings = (tmp_path / "a" / "run.toml").read_text()
    assert "calls = 2" in settings
    assert "depth = 4" in settings
    assert "2 model calls" in ran.stderr


@pytest.mark.parametrize("given", ["flag", "override", "variable", "file"])
def test_a_numeric_task_can_be_given_in_any_way(tmp_path, given) -> None:
    (tmp_path / "t.toml").write_text("task = 17\n")
    ways = {"flag": ["--task", "17"], "override": ["-o", "task=17"], "file": ["--config", "t.toml"], "variable": []}
    environment = {"THREAD_TASK": "17"} if given == "variable" else {}
    ran = thread(
        "run",
        "textcraft",
        "--model",
        "teacher",
        "--display",
        "none",
        "--log",
        "a",
        *ways[given],
        cwd=tmp_path,
        **environment,
    )
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "a" / "17.jsonl").exists()


def test_debug_shows_the_trace_and_keeps_the_exit_code(tmp_path) -> None:
    shown = thread("--debug", "run", "nosuchenv", cwd=tmp_path)
    assert "Traceback" in shown.stderr
    assert shown.returncode == 2
    assert "Traceback" not in thread("run", "nosuchenv", cwd=tmp_path, THREAD_DEBUG="0").stderr


def test_a_replay_with_another_prompt_is_no_replay(tmp_path) -> None:
    (tmp_path / "s.txt").write_text("print('x')\n")
    common = ["run", "none", "Go.", "--display", "none"]
    thread(*common, "--model", "scripted:s.txt", "--log", "a", cwd=tmp_path)
    other = thread(*common, "--model", "replay:a", "--prompt", "arithmetic", "--log", "b", cwd=tmp_path)
    assert other.returncode == 1
    assert "another prompt" in other.stderr


def test_lists_say_what_is_installed_and_how_to_install_the_rest(tmp_path) -> None:
    assert "textcraft" in thread("envs", cwd=tmp_path).stdout
    assert "embedded" in thread("models", cwd=tmp_path).stdout
    assert "arithmetic" in thread("prompts", cwd=tmp_path).stdout
    assert "--install-completion" in thread("--help", cwd=tmp_path).stdout


HOSTILE = [
    "__import__('os').system('touch stolen')",
    "x = '{0.__class__}'.format(1)\nprint(x)",
    "while True: pass",
    "x = 'a' * 10**10",
    "print('\x1b]0;owned\x07\x1b[2J\x9b31m\u202e')",
    "> get 1 \x1b[31mred\x1b[0m {0.__class__} =>",
    "First, do __import__('os').system('touch stolen') \x1b[2J {x.__class__} =>",
    "> __import__('os').system('touch stolen') =>",
    "print('#END# => <= [bold]markup[/] {0}')",
]


@pytest.mark.parametrize("display", ["tree", "plain", "json"])
def test_hostile_text_changes_nothing_outside_and_shows_as_text(tmp_path, display) -> None:
    answers = [f"First, attack {place} =>\n---\n{text}\nprint('on')\n" for place, text in enumerate(HOSTILE)]
    rules = '+++\nphi = "last_line_after_comma"\n+++\nq'
    (tmp_path / "p.txt").write_text(rules)
    (tmp_path / "s.txt").write_text("---\n".join(answers))
    started = time.monotonic()
    ran = thread(
        "run",
        "textcraft",
        "--model",
        "scripted:s.txt",
        "--prompt",
        "p.txt",
        "--log",
        "a",
        "--display",
        display,
        cwd=tmp_path,
    )
    assert time.monotonic() - started < 15
    assert "Traceback" not in ran.stderr
    assert "\x1b]0" not in ran.stdout + ran.stderr
    assert "\x07" not in ran.stdout
    assert "\u202e" not in ran.stdout or display == "json"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "p.txt", "s.txt"]
    assert thread("show", "a", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_with_a_valid_log_and_its_exit_code(tmp_path, number, code) -> None:
    (tmp_path / "s.toml").write_text('[[thread]]\ntext = "First, go on {task} =>"\n')
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "thread_cli",
            "run",
            "none",
            "Go.",
            "--model",
            "faulty:timeout=1+scripted:s.toml",
            "--log",
            "a",
        ],
        cwd=tmp_path,
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
        text=True,
    )
    os.close(follower)
    log = tmp_path / "a" / "text.jsonl"
    deadline = time.monotonic() + 20
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    os.close(leader)
    assert process.returncode == code
    assert "interrupted" in errors
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["kind"], last["status"]) == ("episode_ended", "cancelled")


@pytest.mark.parametrize("command", [run, bench, serve])
def test_every_option_that_sets_something_sets_a_setting_that_there_is(command) -> None:
    hints = get_type_hints(command, include_extras=True).values()
    keys = [told.key for hint in hints for told in getattr(hint, "__metadata__", ()) if isinstance(told, Sets)]
    assert len(keys) >= 4
    for key in keys:
        section: Any = Config
        for name in key.split("."):
            assert issubclass(section, BaseModel)
            section = section.model_fields[name].annotation


def test_what_an_option_was_not_given_leaves_other_sources_their_say(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.toml").write_text("unsafe_python = true\n[model]\nadapters = 'a.gguf'\ntemperature = 0.5\n")
    names = [name for name in get_type_hints(run) if name != "return"]
    given = dict.fromkeys(names) | {"config": tmp_path / "t.toml", "unsafe_python": False, "lora": [], "seed": 0}
    settings = settings_of(run, given | {"temperature": 0.0, "calls": 7})
    assert settings.unsafe_python
    assert settings.model.adapters == (Path("a.gguf"),)
    assert (settings.model.temperature, settings.limits.calls, settings.seed) == (0.0, 7, 0)


def test_a_spec_is_read_into_its_parts() -> None:
    spec = ModelSpec.of("faulty:429=0.1,cut=0.2+faulty:500=1+openai:qwen@lora@http://localhost:1/v1")
    assert (spec.kind, spec.faults) == ("faulty", "429=0.1,cut=0.2")
    server = spec.innermost
    assert (server.kind, server.name, server.url) == ("openai", "qwen@lora", "http://localhost:1/v1")
    assert ModelSpec.of("openai:gpt-4o-mini").url is None
    assert ModelSpec.of("llama:hf:owner/repo:Q8_0").hub == "owner/repo:Q8_0"
    assert ModelSpec.of_this_machine("hf:owner/repo") == ModelSpec.of("llama:hf:owner/repo")
    assert ModelSpec.of_this_machine("embedded:base").text == "embedded:base"
    assert ModelSpec.of("faulty:429=0.1").innermost.text == "faulty:429=0.1"
