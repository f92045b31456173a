"""Prompt files: ours with front matter, published ones as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thread_cli.assembly.config import Config
from thread_cli.assembly.environments import installed as environments
from thread_cli.assembly.playing import play
from thread_cli.contracts.errors import MalformedOutput, UserError
from thread_cli.contracts.protocol import Act, Await, End, Result, Spawn
from thread_cli.protocols.prompt import installed, load
from thread_cli.protocols.thread import ThreadProtocol

PLAIN = "Prompt:\nDo it.\n\n\nResponse:\n[START]\nFirst, look. =>seen<=\n\n[END]\n"


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "prompt.txt"
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize("pair", [("[START]", "[END]"), ("#START#", "#END#")])
def test_a_plain_file_is_taken_as_it_is_with_its_own_token_pair(tmp_path, pair) -> None:
    text = PLAIN.replace("[START]", pair[0]).replace("[END]", pair[1])
    prompt = load(_file(tmp_path, text), "none", plain_rules={"phi": "last_line_after_comma"})
    assert prompt.q == text.rstrip("\n")
    assert (prompt.rules.start, prompt.rules.end) == pair
    assert prompt.rules.code_errors == "hide"
    assert prompt.rules.phi == "last_line_after_comma"
    assert prompt.protocol().open("Task").endswith(f"\n\n\n\n\n\nPrompt:\nTask\n\n\nResponse:\n{pair[0]}\n")


def test_braces_in_a_plain_file_are_no_template(tmp_path) -> None:
    text = PLAIN.replace("look", "{{ look }} {% if %} {obj}")
    assert "{{ look }} {% if %} {obj}" in load(_file(tmp_path, text), "none").q


def test_front_matter_sets_rules_and_the_body_is_a_template(tmp_path) -> None:
    prompt = load(
        _file(tmp_path, '+++\nstart = "<s>"\npsi = "last_line"\n+++\n{{ start }} {x} {{ environment }}\n'), "none"
    )
    assert prompt.q == "<s> {x} none"
    assert prompt.rules.psi == "last_line"


def test_a_flag_wins_over_front_matter(tmp_path) -> None:
    file = _file(tmp_path, '+++\nphi = "last_line"\n+++\nq')
    assert load(file, "none", override={"phi": "line_and_task", "psi": None}).rules.phi == "line_and_task"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("+++\nphi = 3\n+++\nq", "phi"),
        ("+++\nnonsense = 1\n+++\nq", "nonsense"),
        ("+++\nphi = \n+++\nq", "front matter"),
        ("+++\nphi = 'last_line'\nq", "no closing line"),
        ("+++\nphi = 'no_such'\n+++\nq", "no_such"),
        ("+++\nsetup = 'a = 1; b ='\n+++\nq", "setup: Value error, line 1 is no Python"),
        ("+++\nphi = 'last_line:separator=x'\n+++\nq", "separator"),
        ("+++\n+++\n{{ missing }}", "missing"),
        ("+++\n+++\n{% if %}", "prompt.txt"),
    ],
)
def test_a_faulty_prompt_is_refused_in_one_line(tmp_path, text, says) -> None:
    with pytest.raises(UserError) as caught:
        load(_file(tmp_path, text), "none")
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_every_environment_has_a_default_prompt_and_every_prompt_renders() -> None:
    for found in environments():
        assert load(None, found.name).q
        for name, rules in installed(found.name):
            prompt = load(name, found.name)
            examples = prompt.q.count(prompt.rules.start)
            assert examples == prompt.q.count(prompt.rules.end)
            assert examples > 2 or (rules.model and not prompt.q) or rules.protocol != "thread"
            assert "{{" not in prompt.q


def _installed(monkeypatch, tmp_path, **fronts: str) -> None:
    """Make a package of prompts for the environment `there`, each with this front matter."""
    folder = tmp_path / "prompts_for_tests" / "there"
    folder.mkdir(parents=True)
    for name, front in fronts.items():
        (folder / f"{name}.jinja").write_text(f"+++\n{front}\n+++\n{name}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("thread_cli.protocols.prompt._PACKAGE", "prompts_for_tests")


def test_a_prompt_for_the_model_or_its_size_is_used_before_that_of_the_category_and_the_default(
    monkeypatch, tmp_path
) -> None:
    _installed(
        monkeypatch,
        tmp_path,
        always="default = true",
        hot='category = "heat"',
        trained='model = "embedded"',
        brief="max_parameters = 4_000_000_000",
    )
    for model, parameters, category, name in (
        ("embedded", None, "heat", "trained"),
        ("embedded", 135_000_000, "", "trained"),
        ("embedded:base", None, "heat", "hot"),
        ("llama:a.gguf", 1_500_000_000, "heat", "brief"),
        ("llama:a.gguf", 4_000_000_000, "", "brief"),
        ("llama:a.gguf", 4_000_000_001, "heat", "hot"),
        ("teacher", None, "", "always"),
        ("", None, "", "always"),
    ):
        assert load(None, "there", category=category, model=model, parameters=parameters).q == name
    assert load("always", "there", model="embedded").q == "always"
    assert load("trained", "there", model="teacher").q == "trained"


def test_a_prompt_for_a_model_has_the_rules_of_the_default_and_no_examples() -> None:
    told = {"description": "", "default": False, "model": ""}
    trained = [(found.name, rules) for found in environments() for _, rules in installed(found.name) if rules.model]
    assert "textcraft" in dict(trained)
    for environment, rules in trained:
        default = load(None, environment).rules
        assert rules.model_copy(update=told) == default.model_copy(update=told)
        assert load(None, environment, model=rules.model).q == ""


async def test_an_episode_is_played_and_replayed_without_examples(tmp_path) -> None:
    settings = {"environment": "textcraft", "task": "200", "log": tmp_path / "run"}
    played = await play(Config.of(model={"spec": "teacher"}, prompt="specialist", **settings))
    assert played.episode.status == "solved"
    assert (tmp_path / "run" / "prompt.txt").read_text() == ""
    again = await play(
        Config.of(
            model={"spec": f"replay:{tmp_path / 'run'}"}, prompt="specialist", **settings | {"log": tmp_path / "2"}
        )
    )
    assert again.episode.totals.generated_tokens == played.episode.totals.generated_tokens


_TWO_THREADS = """
[[thread]]
path = "0"
text = '''
x = twice(4)
Next, double {x} =>
print(y)
'''

[[thread]]
path = "0.0"
text = '''
y = twice(x) + length
print(y)
'''
"""


def _with_setup(tmp_path: Path, setup: str) -> Config:
    """Two threads, whose code uses what a prompt's Python has bound."""
    script = tmp_path / "script.toml"
    script.write_text(_TWO_THREADS, "utf-8")
    prompt = _file(tmp_path, f"+++\nsetup = '''\n{setup}'''\n+++\n{PLAIN}")
    return Config.of(
        environment="none", task="abc", model={"spec": f"scripted:{script}"}, prompt=prompt, log=tmp_path / "run"
    )


async def test_all_threads_know_what_the_python_of_a_prompt_binds(tmp_path) -> None:
    setup = "factor = 2\n\ndef twice(n):\n    return factor * n\n\nlength = len(task)\n"
    played = await play(_with_setup(tmp_path, setup))
    assert played.episode.answer == "19"


async def test_python_of_a_prompt_that_fails_is_told_in_one_line(tmp_path) -> None:
    with pytest.raises(UserError, match=r"setup: NameError: name 'tusk' is not defined") as caught:
        await play(_with_setup(tmp_path, "length = len(tusk)\n"))
    assert "\n" not in caught.value.message


def test_a_json_file_of_several_prompts_gives_the_one_for_the_category(tmp_path) -> None:
    file = tmp_path / "prompt.json"
    file.write_text(
        json.dumps({f"thread_{name}": f"{name}\n[START]\n[END]\n" for name in ("pick", "heat", "pick_two")})
    )
    for category, first in (("pick", "pick"), ("heat", "heat"), ("pick2", "pick_two")):
        prompt = load(str(file), "alfworld", category=category)
        assert prompt.q.split("\n")[0] == first
        assert prompt.rules.start == "[START]"
    with pytest.raises(UserError, match="none is for the category 'look'"):
        load(str(file), "alfworld", category="look")
    file.write_text('{"thread_webshop": "only\\n#START#\\n#END#"}')
    assert load(str(file), "webshop", category="beauty").q.startswith("only")
    file.write_text("[1]")
    with pytest.raises(UserError, match="an object of prompts"):
        load(str(file), "webshop")


PROTOCOL = ThreadProtocol(start="#START#", end="#END#")


@pytest.mark.parametrize(
    ("y", "stop", "move"),
    [
        ("x = 1\nFirst, look. ", "listen", Spawn(("First, look. ",))),
        ("> get 3 {item} ", "listen", Act("get 3 {item}")),
        ("prose\n# > print(x) ", "listen", Act("print(x)")),
        ("in A is =>0.3<= and in B is ", "listen", Spawn(("in A is =>0.3<= and in B is ",))),
        ("I need it.\n", "listen", Spawn(("I need it.",), repaired=True)),
        ("print('x')", "end", End()),
        ("print('x')", "stop", End()),
        ("done\n", "stop", End()),
        ("I need it. ", "stop", Spawn(("I need it. ",))),
    ],
)
def test_a_move_is_read_off_the_last_line(y, stop, move) -> None:
    assert PROTOCOL.read(y, stop) == move


def test_listening_for_nothing_is_malformed() -> None:
    with pytest.raises(MalformedOutput):
        PROTOCOL.read("=>ok<=\n\n", "listen")


def test_feedback_is_written_as_the_dialects_want_it() -> None:
    assert PROTOCOL.join([Result("ok")]) == "=>ok<=\n\n"
    assert PROTOCOL.join([Result("a\nb")]) == "=>\na\nb\n<=\n\n"
    data = ThreadProtocol(start="#START#", end="#END#", blank_line=False, comment="# ")
    assert data.join([Result("0.3")]) == "=>0.3<="
    assert data.join([Result("a\nb")]) == "=>\na\nb\n<="
    assert data.answer("a\nb") == "=>\n# a\n# b\n# <="


def test_a_line_goes_on_behind_feedback_of_several_lines() -> None:
    data = ThreadProtocol(start="#START#", end="#END#", blank_line=False, comment="# ")
    y = "prose\nin A is =>\n1\n2\n<= and in B is "
    assert data.read(y, "listen") == Spawn(("in A is =>\n1\n2\n<= and in B is ",))


FENCED = ThreadProtocol(start="#START#", end="#END#", fence="```")


@pytest.mark.parametrize(
    ("text", "move", "code"),
    [
        ("Do it.\n```sh\ncd x\nls\n``` ", Act("cd x\nls", verbatim=True), "Do it."),
        ("```\nls\n```", Act("ls", verbatim=True), ""),
        ("x = 1\n```\nls\n```\n", Act("ls", repaired=True, verbatim=True), "x = 1"),
        ("```\na\n```\nThen:\n```\nb\n\nc\n``` ", Act("b\n\nc", verbatim=True), "```\na\n```\nThen:"),
        ("```\nsed a\n```sh\nls\n```\nE\n```", Act("sed a\n```sh\nls\n```\nE", verbatim=True), ""),
        ("```\nif a <= b:\n  ```\n``` ", Act("if a <= b:\n  ```", verbatim=True), ""),
        ("```\nls\n```\nNow, look ", Spawn(("Now, look ",)), "```\nls\n```"),
        ("x = 1\n> look ", Act("look"), "x = 1"),
        ("x = 1\nNow, look ", Spawn(("Now, look ",)), "x = 1"),
    ],
)
def test_an_action_between_fences_has_all_lines_in_between(text, move, code) -> None:
    y = "> look " + FENCED.answer("```\nno action\n```") + text
    assert FENCED.read(y, "listen") == move
    assert FENCED.body(text, "listen").rstrip("\n") == code


@pytest.mark.parametrize("comment", ["", "# ", "// "])
@pytest.mark.parametrize("seen", ["out", "one\ntwo", "```\nno action", "```\nno action\n```", "a\n```"])
def test_a_fence_that_opens_nothing_is_an_error_whatever_was_answered_before(comment, seen) -> None:
    fenced = ThreadProtocol(start="#START#", end="#END#", fence="```", comment=comment)
    for before in ("", "```\nls\n``` " + fenced.answer(seen), "Now, look " + fenced.join([Result(seen)])):
        with pytest.raises(MalformedOutput, match="no line before it opens an action"):
            fenced.read(before + "Do it.\n```", "listen")
    assert fenced.body("Do it.\n```", "listen") == "Do it."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n```sh\ny = 2\nfind . -name 'a ", "listens before its end: it cannot hold the token that listens"),
        ("x = 1\n```sh\nls\n```sh ", "listens before its end"),
        ("x = 1\n````\nls\n```` ", "listens before its end"),
        ("x = 1\n```sh ", "listens before its end"),
        ("x = 1\n```sh\nls\n```sh\nls\n``` ", "more lines open an action than close one"),
    ],
)
def test_an_action_that_listens_within_is_an_error_and_no_code_of_the_thread(text, message) -> None:
    with pytest.raises(MalformedOutput, match=message):
        FENCED.read(text, "listen")
    assert FENCED.body(text, "listen") == "x = 1"


def test_a_text_that_ends_is_whole_whatever_it_fences() -> None:
    assert FENCED.body("```\nls\n```", "end") == "```\nls\n```"
    assert FENCED.read("```\nls\n```", "end") == End()


@pytest.mark.parametrize("fence", [" ```", "```\\n", "=>", "<=", "a => b", "> "])
def test_a_fence_that_no_line_can_be_is_refused(tmp_path, fence) -> None:
    with pytest.raises(UserError, match=r"prompt .*: fence: Value error, .* cannot fence an action"):
        load(_file(tmp_path, f'+++\nfence = "{fence}"\n+++\nPrompt:\n'), "none")


LISTS = ThreadProtocol(start="#START#", end="#END#", several="- ", background="& ")


@pytest.mark.parametrize(
    ("text", "move", "code"),
    [
        ("x = 1\n- First, look.\n- Then, go. ", Spawn(("First, look.", "Then, go. ")), "x = 1"),
        ("- look ", Spawn(("look ",)), ""),
        ("- look\n- go\n", Spawn(("look", "go"), repaired=True), ""),
        ("All:\n\n- a\nx\n- b ", Spawn(("b ",)), "All:\n\n- a\nx"),
        ("- a\n& b\n& c ", Spawn(("b", "c "), waits=False), "- a"),
        ("-a\nNow, look ", Spawn(("Now, look ",)), "-a"),
        ("await 0 2 ", Await(("0", "2")), ""),
        ("x = 1\nawait 2, 10", Await(("2", "10")), "x = 1"),
        ("await any ", Await(which="any"), ""),
        ("await any 0 2 ", Await(("0", "2"), "any"), ""),
        ("await all\n", Await(repaired=True), ""),
        ("awaited by all, look ", Spawn(("awaited by all, look ",)), ""),
        ("> look ", Act("look"), ""),
    ],
)
def test_lines_with_a_mark_are_a_list_of_threads(text, move, code) -> None:
    for before in ("", "Now, x " + LISTS.join([Result("- one\n- two")]), "- a\n- b " + LISTS.join([Result("1")] * 2)):
        assert LISTS.read(before + text, "listen") == move
    assert LISTS.body(text, "listen").strip() == code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- look\n- > go ", "each line of a list starts a thread"),
        ("- look\n- ", "each line of a list starts a thread"),
        ("await them ", "await is followed by any, by all, or by the numbers of threads"),
        ("await ", "await is followed by any"),
    ],
)
def test_lines_with_a_mark_that_start_no_thread_are_malformed(text, message) -> None:
    with pytest.raises(MalformedOutput, match=message):
        LISTS.read(text, "listen")


def test_results_of_a_list_stand_under_its_mark_and_those_of_the_background_under_their_handles() -> None:
    assert LISTS.join([Result("1\n2"), Result("3")]) == "=>\n- 1\n  2\n- 3\n<=\n\n"
    assert LISTS.join([Result("1")]) == "=>1<=\n\n"
    assert LISTS.join([Result("1", handle="4")]) == "=>4: 1<=\n\n"
    assert LISTS.join([Result("1", handle="4"), Result("2", handle="10")]) == "=>\n4: 1\n10: 2\n<=\n\n"
    assert LISTS.spawned(["3", "4"]) == "=>3 4<=\n\n"
    assert PROTOCOL.join([Result("1"), Result("2")]) == "=>\n1\n2\n<=\n\n"


def test_without_the_rules_lines_with_a_mark_are_read_as_they_always_were() -> None:
    for line in ("- look ", "& look ", "await 0 "):
        assert PROTOCOL.read(f"- a\n{line}", "listen") == Spawn((line,))
        assert PROTOCOL.body(f"- a\n{line}", "listen") == "- a"


def test_a_list_goes_on_behind_feedback_in_the_dialect_without_empty_lines() -> None:
    data = ThreadProtocol(start="#START#", end="#END#", blank_line=False, several="- ")
    y = "- a\n- b " + data.join([Result("1"), Result("2")])
    assert data.read(y + "\n- c\n- d ", "listen") == Spawn(("c", "d "))
    assert data.read(y + " and ", "listen") == Spawn(("- b =>\n- 1\n- 2\n<= and ",))


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ('several = ">"', "several: Value error, '>' cannot begin the lines of a list"),
        ('several = " - "', "several"),
        ('background = "=>"', "background"),
        ('several = "- "\nbackground = "- & "', "rules: Value error, '- & ' begins with '- '"),
        ('background = "aw"', "rules: Value error, 'aw' begins the lines that await"),
    ],
)
def test_marks_that_no_line_can_begin_with_are_refused(tmp_path, front, says) -> None:
    with pytest.raises(UserError) as caught:
        load(_file(tmp_path, f"+++\n{front}\n+++\nq"), "none")
    assert says in caught.value.message
    assert "\n" not in caught.value.message
