"""Wire formats are found by name, with the options that they take."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from thread_cli.assembly.config import Config
from thread_cli.bench.plan import prompt_hash
from thread_cli.contracts.errors import MalformedOutput, UserError
from thread_cli.contracts.protocol import Act
from thread_cli.protocols.context import Ended, psi
from thread_cli.protocols.formats import FORMATS
from thread_cli.protocols.prompt import Prompt, Rules, load, named


@pytest.fixture
def plain(tmp_path: Path) -> str:
    file = tmp_path / "plain.txt"
    file.write_text("Prompt:\nSay it.\n\n\nResponse:\n#START#\nprint('it')\n#END#", "utf-8")
    return str(file)


def test_a_prompt_that_names_no_protocol_is_written_in_threads(plain: str) -> None:
    prompt = load(plain, "none")
    assert prompt.rules.protocol == "thread"
    assert prompt.protocol().read("> look ", "listen") == Act("look")


def test_a_protocol_that_there_is_not_is_refused_in_one_line(plain: str) -> None:
    with pytest.raises(UserError, match=r"^no protocol is called 'weave'; there are thread.*$"):
        load(plain, "none", override={"protocol": "weave"})


def test_an_option_that_a_protocol_does_not_take_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^the protocol 'thread' takes no option 'paper'; it takes none$"):
        named("thread:paper")


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("weaver:paper=1", "the option 'paper' of the protocol 'weaver' takes no value: write paper alone"),
        ("npr:paper=", "the option 'paper' of the protocol 'npr' takes no value: write paper alone"),
        ("apr:examples=no", "the option 'examples' of the protocol 'apr' takes no value: write examples alone"),
        ("apr:calls=1,calls=2", "the option 'calls' of the protocol 'apr' is named more than once"),
        ("weaver:conclusions,conclusions", "the option 'conclusions' of the protocol 'weaver' is named more than once"),
    ],
)
def test_options_that_contradict_what_was_meant_are_refused_in_one_line(spec: str, complaint: str) -> None:
    with pytest.raises(UserError) as refused:
        named(spec)
    assert refused.value.message == complaint


def test_a_protocol_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "wrong.jinja"
    file.write_text("+++\nprotocol = 3\n+++\nPrompt:", "utf-8")
    with pytest.raises(UserError, match="protocol: Input should be a valid string"):
        load(str(file), "none")


def test_the_configuration_may_name_the_protocol() -> None:
    assert Config.of(protocol="thread").protocol == "thread"


def test_prompts_in_threads_format_keep_their_identity(plain: str) -> None:
    prompt = load(plain, "none", plain_rules={"psi": "printed"})
    assert prompt_hash(prompt, 3) == "928f02e5fee01aeb"


def test_each_format_says_what_it_is_and_what_its_options_do() -> None:
    for found in [point.load() for point in FORMATS.values()]:
        assert found.description
        assert all(found.options.values())


def test_a_conversation_is_of_threads_format_alone(plain: str) -> None:
    with pytest.raises(UserError, match=r"conversations .* are of the protocol 'thread' alone"):
        load(plain, "none", override={"protocol": "weaver", "chat": "turns"})


def test_a_prompt_may_open_the_main_thread_with_a_models_own_template(tmp_path: Path) -> None:
    template = "<|im_start|>user\\n{context}<|im_end|>\\n<|im_start|>assistant\\n<think>\\n"
    file = tmp_path / "trained.jinja"
    file.write_text(f'+++\nprotocol = "weaver"\nopening = "{template}"\n+++\n', "utf-8")
    prompt = load(str(file), "none")
    opened = prompt.protocol().open("What is {1}?")
    assert (prompt.q, opened) == ("", "<|im_start|>user\nWhat is {1}?<|im_end|>\n<|im_start|>assistant\n<think>\n")


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ({"protocol": "weaver", "opening": "no place"}, "it has to hold {context} once"),
        ({"opening": "{context}"}, "an opening is of fork-join protocols"),
    ],
)
def test_an_opening_that_is_of_no_use_is_refused(plain: str, rules: dict[str, str], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        load(plain, "none", override=rules)


LONG = [
    ("await ", "1", "x"),
    ("await ", " ", "x"),
    ("x", "<a>", "x"),
    ("x", "=>", ""),
    ("- ", "- ", ""),
    ("", "{x}", ""),
]
LONG += [("<Parallel>\n<Outlines>", "<Thread>", "y"), ("<guideline>", "<plan>1:", ""), ("", "</step>", "y")]
LONG += [("<Calling Sub Searches>\n", "Start Sub Search ", ""), ("Start Sub Search 1 Node #", "1,", "x")]
"""What very long lines begin with, repeat and end with."""


@pytest.mark.parametrize("name", FORMATS)
def test_a_very_long_line_is_read_in_a_time_that_grows_with_its_length(name: str) -> None:
    found, marks = FORMATS[name].load(), {"several": "- ", "background": "& ", "independent": True}
    rules = Rules(**{**found.rules, "protocol": name, **(marks if name == "thread" else {})})
    protocol, result = Prompt("test", "Q", rules).protocol(), psi(rules.psi)
    for before, unit, after in LONG:
        text, started = before + unit * (40_000 // len(unit)) + after, time.monotonic()
        with suppress(MalformedOutput):
            protocol.read(text, "listen")
        assert isinstance(result(Ended(text, None)), str)
        assert found.problems is None or isinstance(found.problems(text), tuple)
        assert time.monotonic() - started < 2, (before, unit, after)
