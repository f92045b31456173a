"""API models when servers fail, refuse, hang up or say nonsense."""

import asyncio
import gc
import itertools
import socket
import threading
import time
from dataclasses import replace

import pytest
from endpoints import REQUEST, failure
from servers import Answer, Server, completion, error, text_event, usage_event

from thread_cli.contracts.errors import LimitReached, ModelError
from thread_cli.models.limiter import Limiter
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.retry import Retrying, Transient
from thread_cli.protocols.text import estimated_tokens

# Failures

pytestmark = pytest.mark.usefixtures("no_keys")


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


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
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


@pytest.mark.parametrize("end", ["drop", "silent"])
async def test_a_stream_without_any_end_is_cut(end):
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
    # The two answers that broke off have taken a token each, as far as anybody knows.
    assert (done.text, done.retries, done.usage.generated) == ("answer", 4, 1 + 2)
    assert done.usage.prompt == 5 + 2 * estimated_tokens(REQUEST.prompt)
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
            call = asyncio.ensure_future(model.complete(replace(REQUEST, c="hang")))
            assert await asyncio.to_thread(server.asked, 1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert (await model.complete(REQUEST)).text == "text"
        assert await asyncio.to_thread(server.gave_up, 3)
        await model.close()
    gc.collect()
