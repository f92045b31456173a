"""API models: what is sent, where an answer ends, and what it cost."""

import asyncio
from dataclasses import replace

import pytest
from endpoints import REQUEST, ask, chat_only, failure
from servers import Answer, Server, chat_event, completion, error, text_event, usage_event

from thread_cli.contracts.errors import LimitReached, ModelError
from thread_cli.models.openai import OpenAIModel, Price

# What is sent

pytestmark = pytest.mark.usefixtures("no_keys")


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
    assert server.paths[:2] == ["/v1/completions", "/v1/chat/completions"]
    assert "/v1/completions" not in server.paths[1:]
    system, user, assistant = server.seen[1].body["messages"]
    assert system["role"] == "system"
    assert user == {"role": "user", "content": "examples\ncontext\n"}
    assert assistant == {"role": "assistant", "content": "begun ", "prefix": True}
    assert server.seen[1].body["continue_final_message"] is True
    assert "continue_final_message" not in server.seen[-1].body
    assert [message["role"] for message in server.seen[-1].body["messages"]] == ["system", "user"]


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


async def test_a_missing_model_is_looked_for_once_at_each_endpoint():
    asked = []
    raised = await failure(lambda seen: asked.append(seen.path) or error(404, "The model `m` does not exist"))
    assert "HTTP 404: The model `m` does not exist;" in str(raised)
    assert "/v1/models lists" in str(raised)
    assert asked == ["/v1/completions", "/v1/chat/completions"]


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
        assert (await ask(server, replace(REQUEST, y=""))).stop == "length"
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
    words = {"=>", "#END#"} & {value for value in extra.values() if isinstance(value, str)}
    assert done.stop_string == next(iter(words), None)


async def test_a_llama_cpp_hint_is_found_in_its_verbose_field():
    event = text_event("x", "stop") | {"__verbose": {"stop_type": "word", "stopping_word": "=>"}}
    with Server(lambda _: Answer(events=[event])) as server:
        done = await ask(server)
    assert (done.stop, done.stop_string) == ("listen", "=>")


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
    assert (done.usage.estimated, done.usage.cached_known) == (True, False)


@pytest.mark.parametrize(("cached", "known"), [(None, False), (0, True), (800, True)])
async def test_what_a_server_does_not_tell_of_its_cache_is_not_known(cached, known):
    with Server(lambda _: completion("a", usage=usage_event(1000, 50, cached=cached))) as server:
        done = await ask(server)
    assert (done.usage.estimated, done.usage.cached_known) == (False, known)
