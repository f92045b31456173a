"""API models: what counts as the end of an answer, and what breaks off."""

import pytest
from endpoints import REQUEST as REQUEST_OF_ONE
from endpoints import ask, failure
from servers import Answer, Server, completion, text_event, usage_event

from thread_cli.engine.errors import LimitReached, Withheld
from thread_cli.models.limiter import Limiter
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.openai_ends import End, end_of
from thread_cli.models.retry import Retrying, Transient

pytestmark = pytest.mark.usefixtures("no_keys")


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("stop", End.stop), ("STOP", End.stop), ("eos_token", End.stop), ("end_turn", End.stop),
        ("stop_sequence", End.stop), ("COMPLETE", End.stop), ("FINISH_REASON_STOP", End.stop),
        ("length", End.length), ("max_tokens", End.length), ("MAX_TOKENS", End.length),
        ("model_length", End.context), ("model_context_window_exceeded", End.context),
        ("content_filter", End.withheld), ("SAFETY", End.withheld), ("refusal", End.withheld), ("sensitive", End.withheld),
        ("network_error", End.broken), ("error", End.broken), ("abort", End.broken), ("load", End.broken),
        ("insufficient_system_resource", End.broken), ("tool_calls", End.broken), ("whatever comes next", End.broken),
    ],
)  # fmt: skip
def test_only_known_words_are_normal_ends(word, end):
    assert end_of(word) is end


@pytest.mark.parametrize("word", ["network_error", "error", "abort", "insufficient_system_resource", "never seen"])
async def test_an_answer_that_a_server_gave_up_is_asked_for_again_and_charged(word):
    answers = [completion("half", finish=word), completion("whole")]
    with Server(lambda _: answers.pop(0)) as server:
        model = Retrying(OpenAIModel("m", server.url), wait_initial=0.01, limiter=Limiter())
        done = await model.complete(REQUEST_OF_ONE)
        await model.close()
    assert (done.text, done.retries, done.usage.generated) == ("whole", 1, 2)


async def test_an_end_that_is_none_is_told_with_the_servers_word():
    raised = await failure(lambda _: completion("half", finish="network_error"))
    assert isinstance(raised, Transient)
    assert raised.kind == "abnormal_end"
    assert "finish_reason 'network_error', which is no normal end" in raised.message
    assert raised.usage.generated == 1


async def test_what_a_filter_keeps_back_is_told_and_not_asked_for_again():
    asked = []
    raised = await failure(lambda seen: asked.append(1) or completion("a", finish="content_filter"))
    assert isinstance(raised, Withheld)
    assert "withheld (finish_reason 'content_filter')" in raised.message
    assert len(asked) == 1


async def test_a_context_that_is_full_in_the_middle_of_an_answer_is_a_limit_of_the_thread():
    raised = await failure(lambda _: completion("a", finish="model_context_window_exceeded"))
    assert isinstance(raised, LimitReached)
    assert raised.limit == "context"


async def test_done_is_an_end_without_any_finish_reason():
    told = Answer(events=[text_event("a"), text_event("b"), usage_event(9, 2)])
    with Server(lambda _: told) as server:
        done = await ask(server)
    assert (done.text, done.stop) == ("ab", "stop")


async def test_a_stream_that_is_interrupted_for_another_call_is_no_whole_one_and_calls_at_once_become_fewer():
    answers = [Answer(events=[text_event("ha")], end="interrupted"), completion("whole")]
    limiter = Limiter(initial=8)
    with Server(lambda _: answers.pop(0)) as server:
        model = Retrying(OpenAIModel("m", server.url), wait_initial=0.01, limiter=limiter)
        done = await model.complete(REQUEST_OF_ONE)
        await model.close()
    assert (done.text, done.retries, limiter.limit) == ("whole", 1, 4)


@pytest.mark.parametrize(
    "frame",
    [
        b"retry: 3000\n\n", b"event: ping\n\n", b"id: 7\n\n", b": still here\n\n", b"data:\n\n", b"data: null\n\n",
        b'event: ping\ndata: {"type": "ping"}\n\n', b"event: ping\r\ndata: 3\r\n\r\n", b"unknown: field\n\n",
    ],
)  # fmt: skip
async def test_frames_without_data_are_valid_anywhere(frame):
    events = [frame, text_event("a"), frame, text_event("", "stop"), frame]
    with Server(lambda _: Answer(events=events)) as server:
        done = await ask(server)
    assert (done.text, done.stop, len(server.seen)) == ("a", "stop", 1)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"error": "the engine died"}, "server"),
        ({"object": "error", "message": "the engine died", "code": 503}, "server"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "the engine died"}}, "server"),
        ({"error": {"message": "the engine died", "code": "rate_limit_exceeded"}}, "rate_limit"),
    ],
)
async def test_an_error_within_a_stream_is_found_in_every_shape(told, kind):
    raised = await failure(lambda _: Answer(events=[text_event("a"), told]))
    assert isinstance(raised, Transient)
    assert (raised.kind, "the engine died" in raised.message) == (kind, True)


async def test_an_error_with_status_200_is_an_error():
    raised = await failure(lambda _: Answer(body='{"error": {"message": "no instance is free", "code": 503}}'))
    assert isinstance(raised, Transient)
    assert "no instance is free" in raised.message


async def test_an_answer_that_comes_whole_is_taken_whole():
    whole = '{"choices": [{"index": 0, "text": "a b", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    with Server(lambda _: Answer(body=whole)) as server:
        done = await ask(server)
    assert (done.text, done.stop, done.usage.prompt, done.usage.generated) == ("a b", "stop", 3, 2)
