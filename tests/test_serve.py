"""`thread serve` as other programs see it: the real server in a process, the official client, our own runs."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from processes import thread

from thread_cli.assembly.config import ModelConfig
from thread_cli.assembly.models import open_model
from thread_cli.conformance.model_streams import STREAMS
from thread_cli.conformance.models import check
from thread_cli.contracts.errors import LimitReached
from thread_cli.contracts.model import Request
from thread_cli.models.llama.call import Description
from thread_cli.models.openai import OpenAIModel
from thread_cli.record import read_events
from thread_cli.serve.chat import ChatTemplate
from thread_cli.serve.refusals import Refused

KEY = "a key for tests"
COUNTS = [f"From {i}: {i}, {i + 1}, {i + 2}, {i + 3}, {i + 4}, {i + 5}," for i in range(21, 37)]


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "thread_cli", "serve", "embedded", "--port", "0", "--cpu-threads", "1", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "THREAD_SERVE_KEY": KEY}
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        found = re.fullmatch(r"serving embedded at (http://127.0.0.1:\d+/v1); Ctrl-C ends it\n", line)
        assert found, process.communicate()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("--context", "4096") as (_, url):
        yield url


@pytest.fixture
async def client(url: str):
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        yield client


def greedy(prompt: str, max_tokens: int = 12, **rest):
    return {"model": "embedded", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **rest}


async def test_a_completion_has_text_reason_and_usage(client: openai.AsyncOpenAI) -> None:
    done = await client.completions.create(**greedy("1, 2, 3, 4,", logprobs=0))
    choice = done.choices[0]
    assert (choice.text, choice.finish_reason) == (" 5, 6, 7, 8,", "length")
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (11, 12, 23)
    assert "".join(choice.logprobs.tokens) == choice.text
    assert len(choice.logprobs.token_logprobs) == 12
    for at, token in zip(choice.logprobs.text_offset, choice.logprobs.tokens, strict=True):
        assert choice.text[at:].startswith(token)
    stopped = await client.completions.create(**greedy("1, 2, 3, 4,", stop=[" 7", "x"]))
    assert (stopped.choices[0].text, stopped.choices[0].finish_reason) == (" 5, 6,", "stop")
    assert stopped.choices[0].model_extra == {"stop_reason": " 7"}


async def test_a_stream_joins_to_the_same_text_and_ends_with_the_usage(client: openai.AsyncOpenAI) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}, "stop": "10", "logprobs": 1}
    chunks = [c async for c in await client.completions.create(**greedy("1, 2, 3, 4,", 30, **options))]
    *pieces, last, usage = chunks
    assert "".join(chunk.choices[0].text for chunk in pieces) == " 5, 6, 7, 8, 9, "
    assert len(pieces) > 5
    assert last.choices[0].finish_reason == "stop"
    assert "".join(last.choices[0].logprobs.tokens) == " 5, 6, 7, 8, 9, "
    assert (usage.choices, usage.usage.prompt_tokens) == ([], 11)


async def test_a_conversation_is_told_by_the_models_template_and_a_begun_answer_is_continued(
    client: openai.AsyncOpenAI,
) -> None:
    messages = [{"role": "system", "content": "You count."}, {"role": "user", "content": "Count to ten."}]
    raw = "<|im_start|>system\nYou count.<|im_end|>\n<|im_start|>user\nCount to ten.<|im_end|>\n<|im_start|>assistant\n"
    options = {"model": "embedded", "temperature": 0, "max_tokens": 12}
    for begun in ("", "1, 2, 3, 4,"):
        answer = [{"role": "assistant", "content": begun}] if begun else []
        whole = await client.chat.completions.create(messages=messages + answer, **options, logprobs=True)
        stream = await client.chat.completions.create(messages=messages + answer, stream=True, **options)
        plain = await client.completions.create(**greedy(raw + begun))
        text = whole.choices[0].message.content
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert text == "".join(pieces) == plain.choices[0].text
        assert whole.usage.prompt_tokens == plain.usage.prompt_tokens
        assert "".join(one.token for one in whole.choices[0].logprobs.content) == text
    assert text == " 5, 6, 7, 8,"


async def test_a_resumed_prompt_evaluates_nothing_twice(client: openai.AsyncOpenAI) -> None:
    prompt, seen = "Animals of the wood:\n", 0
    for appended in (" => a deer\n", " => an owl\n", ""):
        done = await client.completions.create(**greedy(prompt, 10, stop="=>"))
        assert done.usage.prompt_tokens_details.cached_tokens >= seen
        assert done.usage.prompt_tokens_details.model_extra == {"repeated_tokens": 0}
        seen = done.usage.prompt_tokens + done.usage.completion_tokens - 1
        prompt += done.choices[0].text + appended


async def test_a_grammar_and_the_format_json_bind_the_text(client: openai.AsyncOpenAI) -> None:
    done = await client.completions.create(**greedy("A year: ", extra_body={"grammar": "root ::= [12] [0-9]{3}"}))
    assert re.fullmatch("[12][0-9]{3}", done.choices[0].text)
    chat = await client.chat.completions.create(
        model="embedded",
        messages=[{"role": "user", "content": "Hello"}],
        response_format={"type": "json_object"},
        max_tokens=8,
    )
    assert chat.choices[0].message.content.startswith("{")


CHAT = {"messages": [{"role": "user", "content": "x"}]}
BAD = [
    ("completions", b"{", 400, "not JSON"),
    ("completions", b"[" * 100_000, 400, "not JSON"),
    ("completions", b"[]", 400, "not a JSON object"),
    ("completions", {}, 400, "prompt: Field required"),
    ("completions", {"prompt": ""}, 400, "prompt is empty"),
    ("completions", {"prompt": ["a", "b"]}, 400, "must be one string"),
    ("completions", {"prompt": [1, 2]}, 400, "must be one string"),
    ("completions", {"prompt": "x", "n": 2}, 400, "n=2 is not supported"),
    ("completions", {"prompt": "x", "echo": True}, 400, "echo=True is not supported"),
    ("completions", {"prompt": "x", "logprobs": 5}, 400, "logprobs"),
    ("completions", {"prompt": "x", "temperature": -1}, 400, "temperature: "),
    ("completions", {"prompt": "x", "temperature": "hot"}, 400, "temperature: "),
    ("completions", {"prompt": "x", "top_p": 2}, 400, "top_p: "),
    ("completions", {"prompt": "x", "max_tokens": -1}, 400, "max_tokens: "),
    ("completions", {"prompt": "x", "stop": ["a", ""]}, 400, "stop"),
    ("completions", {"prompt": "x", "seed": 2**70}, 400, "seed: "),
    ("completions", {"prompt": "x", "grammar": "root"}, 400, "not GBNF"),
    ("completions", {"prompt": "x", "grammar": "root", "stream": True}, 400, "not GBNF"),
    ("completions", {"prompt": "word " * 5000}, 400, "do not fit the model's context of 4096"),
    ("completions", {"prompt": "x", "model": "gpt"}, 404, "there is no model 'gpt' here: ask for 'embedded'"),
    ("completions", {"prompt": "x" * 2**24}, 413, "larger than 16 MiB"),
    ("chat/completions", {"messages": []}, 400, "messages: "),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "no image_url"),
    ("chat/completions", {**CHAT, "tools": [{}]}, 400, "tools"),
    ("chat/completions", {**CHAT, "response_format": {"type": "json_schema"}}, 400, "json_schema"),
    ("nowhere", {}, 404, "Not Found"),
    ("models", {}, 405, "Method Not Allowed"),
]


def test_what_cannot_be_answered_is_told_in_the_shape_and_with_the_status_of_the_interface(url: str) -> None:
    with httpx.Client(headers={"authorization": f"Bearer {KEY}"}) as http:
        for path, body, status, words in BAD:
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            answer = http.post(f"{url}/{path}", **sent)
            error = answer.json()["error"]
            assert (answer.status_code, words in error["message"]) == (status, True), (path, error)
            assert set(error) == {"message", "type", "param", "code"}
            assert "\n" not in error["message"]


def test_without_the_key_nothing_but_the_health_is_told(url: str) -> None:
    with pytest.raises(openai.AuthenticationError, match="API key"), openai.OpenAI(base_url=url, api_key="-") as client:
        client.models.list()
    assert httpx.post(f"{url}/completions", json={"prompt": "x"}).status_code == 401
    assert httpx.get(url.replace("/v1", "/health")).json() == {"status": "ok", "under_way": 0}


async def test_the_model_is_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id for model in (await client.models.list()).data] == ["embedded"]
    assert (await client.models.retrieve("embedded")).model_extra == {"max_model_len": 4096}
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt")


async def test_sixteen_clients_at_once_get_what_each_gets_alone(url: str) -> None:
    async def ask(prompt: str) -> tuple[str, int]:
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            done = await client.completions.create(**greedy(prompt))
            return done.choices[0].text, done.usage.prompt_tokens_details.model_extra["repeated_tokens"]

    together = await asyncio.gather(*map(ask, COUNTS))
    assert sum(repeated for _, repeated in together) == 0
    for prompt, (text, _) in list(zip(COUNTS, together, strict=True))[:3]:
        assert (await ask(prompt))[0] == text


async def test_a_client_that_goes_away_ends_its_call(client: openai.AsyncOpenAI, url: str) -> None:
    async def under_way(wanted: int) -> None:
        while (await other.get(url.replace("/v1", "/health"))).json()["under_way"] != wanted:  # noqa: ASYNC110 -- asked
            await asyncio.sleep(0.05)

    other = httpx.AsyncClient()
    stream = await client.completions.create(**greedy("1, 2, 3,", 4000, stream=True))
    async for _ in stream:
        break
    waiting = asyncio.create_task(client.completions.create(**greedy("A, B, C,", 4000)))
    await under_way(2)
    await stream.close()
    waiting.cancel()
    await under_way(0)
    await other.aclose()


async def test_our_own_backend_knows_what_stopped_the_text_and_when_the_context_is_full(url: str, monkeypatch) -> None:
    monkeypatch.setenv("THREAD_API_KEY", KEY)
    model = OpenAIModel("embedded", url)
    for stop, reason in ((("7", "x"), "listen"), (("x", "7"), "end")):
        done = await model.complete(Request("1, 2, 3,", " 4,", "", stop, 20))
        assert (done.text, done.stop) == (" 5, 6, ", reason)
    with pytest.raises(LimitReached):
        await model.complete(Request("word " * 5000, "", "", (), 1))
    await model.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_the_server_at_once_and_tells_those_who_wait(number: signal.Signals, code: int) -> None:
    with serving("--context", "4096") as (process, url):
        client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
        with client.completions.create(**greedy("1, 2, 3,", 4000, stream=True)) as stream:
            next(iter(stream))
            process.send_signal(number)
            with pytest.raises(openai.APIError, match="the server is closing"):
                list(stream)
        assert (process.wait(20), process.stderr.read() if process.stderr else "") == (code, "")


def test_an_address_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (("embedded", "--port", port), "choose another --port"),
            (("embedded", "--host", "0.0.0.0"), "give --api-key"),
            (("embedded", "--host", "no.such.host.invalid"), "no address of this machine"),
            (("none.gguf", "--port", "0"), "'none.gguf' does not exist"),
        ):
            done = thread("serve", *arguments, cwd=tmp_path, THREAD_SERVE_KEY="")
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert words in done.stderr


def test_a_template_runs_in_a_sandbox_and_what_it_refuses_is_the_clients_fault() -> None:
    def template(text: str | None, **rest) -> ChatTemplate:
        return ChatTemplate(Description(text, rest.get("begin", ""), "</s>", bool(rest), 100))

    user = [{"role": "user", "content": "hi"}]
    assert (
        template("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", begin="<s>").render(user).text == "hi</s>"
    )
    assert template(None).render(user).text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    for text in ("{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}", "{{ messages[7].content.x }}"):
        with pytest.raises(Refused, match="does not take these messages"):
            template(text).render(user)
    broken = template("{% if %}")
    assert "cannot be read" in broken.trouble
    with pytest.raises(Refused, match=r"cannot be read.*; /v1/completions works"):
        broken.render(user)


@pytest.mark.slow
def test_a_run_through_the_server_is_the_run_in_this_process(tmp_path: Path) -> None:
    with serving() as (_, url):
        for name, model in (("here", "embedded"), ("there", f"openai:embedded@{url}")):
            play = (
                "run",
                "textcraft",
                "--task",
                "40",
                "--prompt",
                "small",
                "--display",
                "none",
                "-o",
                "model.cpu_threads=1",
            )
            done = thread(*play, "--model", model, "--log", name, cwd=tmp_path, THREAD_API_KEY=KEY)
            assert done.returncode in {0, 1}, done.stderr
    texts, evaluated = zip(*(played(tmp_path / name / "40.jsonl") for name in ("here", "there")), strict=True)
    assert texts[0] == texts[1]
    assert evaluated[0] == evaluated[1]


def played(log: Path) -> tuple[list[str], int]:
    """What a run's model wrote, and how many prompt tokens were evaluated for it."""
    written = [event for event in read_events(log) if event.kind == "generated"]
    return [event.text for event in written], sum(event.prompt_tokens - event.cached_tokens for event in written)


async def test_our_own_client_holds_the_rules_of_streams_before_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREAD_API_KEY", KEY)
    model = f"openai:embedded@{url}"
    checked = check(lambda: open_model(ModelConfig(spec=model), None, None), only=STREAMS)
    verdicts = {each.check: each.outcome async for each in checked}
    assert verdicts.pop("tells reasoning in pieces") == "does not apply"
    assert set(verdicts.values()) == {"passed"}
