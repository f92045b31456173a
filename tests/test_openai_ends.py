"""API models: what counts as the end of an answer, and what breaks off."""

import json

import pytest
from endpoints import REQUEST as REQUEST_OF_ONE
from endpoints import ask, chat_only, failure
from servers import Answer, Server, chat_event, completion, text_event, usage_event

from thread_cli.contracts.errors import LimitReached, ModelError, Withheld
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
        ({"error": [{"message": "the engine died", "code": 503}]}, "server"),
        (b'event: error\ndata: {"code": "InternalError", "message": "the engine died"}\n\n', "server"),
        (b'data: {"error": "the engine died: "x" is\nnot known"}\n\n', "server"),
    ],
)
async def test_an_error_within_a_stream_is_found_in_every_shape(told, kind):
    raised = await failure(lambda _: Answer(events=[text_event("a"), told]))
    assert isinstance(raised, Transient)
    assert (raised.kind, "the engine died" in raised.message) == (kind, True)


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "no instance is free", "code": 503}}',
        '[{"error": {"code": 503, "message": "no instance is free", "status": "UNAVAILABLE"}}]',
        '{"success": false, "errors": [{"code": 3040, "message": "no instance is free"}], "result": null}',
        '{"code": 50, "msg": "no instance is free"}',
    ],
)
async def test_an_error_with_status_200_is_an_error(body):
    raised = await failure(lambda _: Answer(body=body))
    assert isinstance(raised, Transient)
    assert "no instance is free" in raised.message


async def test_a_spent_account_is_told_at_once_whatever_the_status():
    raised = await failure(lambda _: Answer(body='{"code": 1113, "msg": "Insufficient balance", "success": false}'))
    assert isinstance(raised, ModelError)
    assert "Insufficient balance" in raised.message


async def test_a_stream_that_is_called_json_is_read_as_a_stream():
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in (text_event("a"), text_event("b", "stop")))
    with Server(lambda _: Answer(body=f"{body}data: [DONE]\n\n")) as server:
        done = await ask(server)
    assert (done.text, done.stop) == ("ab", "stop")


@pytest.mark.parametrize("word", ["", "null", "None"])
async def test_no_end_in_words_is_no_end(word):
    with Server(
        lambda _: Answer(events=[text_event("a", word), text_event("b", word), text_event("", "stop")])
    ) as server:
        done = await ask(server)
    assert (done.text, done.stop) == ("ab", "stop")
    raised = await failure(lambda _: Answer(events=[text_event("a", word)], end="silent"))
    assert raised.kind == "cut_stream"


async def test_a_stream_may_be_cut_anywhere_within_its_characters_and_line_ends():
    text = "naïve 漢字 😀 ="
    frames = [f"data: {json.dumps(text_event(part), ensure_ascii=False)}\r\n\r\n" for part in (text, "> more")]
    data = "".join(frames).encode()
    with Server(lambda _: Answer(events=[data[at : at + 1] for at in range(len(data))])) as server:
        done = await ask(server)
    assert (done.text, done.stop) == ("naïve 漢字 😀 ", "listen")


async def test_a_refusal_in_a_field_of_its_own_is_withheld():
    events = [chat_event(None, refusal=None), chat_event(None), chat_event("", "stop")]
    events[0]["choices"][0]["delta"] = {"content": None, "refusal": "I cannot"}
    events[1]["choices"][0]["delta"] = {"content": None, "refusal": " do that."}
    raised = await failure(chat_only(Answer(events=events)))
    assert isinstance(raised, Withheld)
    assert "the model refuses: I cannot do that." in raised.message


async def test_a_message_that_is_told_whole_at_the_end_of_a_stream_is_taken_once():
    last = chat_event("", "stop", message={"role": "assistant", "content": "go on"})
    last["choices"][0]["delta"] = {}
    with Server(chat_only(Answer(events=[chat_event("go"), chat_event(" on"), last]))) as server:
        assert (await ask(server)).text == "go on"


async def test_an_answer_that_comes_whole_is_taken_whole():
    whole = '{"choices": [{"index": 0, "text": "a b", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    with Server(lambda _: Answer(body=whole)) as server:
        done = await ask(server)
    assert (done.text, done.stop, done.usage.prompt, done.usage.generated) == ("a b", "stop", 3, 2)
