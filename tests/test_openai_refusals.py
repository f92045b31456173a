"""API models: which refusal means what, which shape of a call comes next, and what is known before."""

import json
from dataclasses import replace

import pytest
from endpoints import REQUEST, ask, failure
from servers import Answer, Server, chat_event, completion, error, usage_event

from thread_cli.contracts.errors import LimitReached, ModelError, UserError, Withheld
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.openai_lengths import too_long
from thread_cli.models.openai_shapes import Shape
from thread_cli.models.retry import Transient

pytestmark = pytest.mark.usefixtures("no_keys")
ENDED = Answer(events=[chat_event("x", "stop")])


def by_chat(seen) -> bool:
    return seen.path.endswith("/chat/completions")


# The next shape


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "completions api is only available when using beta api"),
        (400, "Das Modell versteht diesen Aufruf nicht"),
        (403, "this route is disabled"),
        (404, "The model `m` does not exist"),
        (404, ""),
        (405, "Method Not Allowed"),
        (410, "Gone"),
        (415, "unsupported"),
        (422, "loc: body, messages: field required"),
        (501, "not implemented"),
    ],
)
async def test_any_other_refusal_of_a_raw_completion_leads_to_chat(status, words):
    with Server(lambda seen: ENDED if by_chat(seen) else error(status, words)) as server:
        model = OpenAIModel("m", server.url)
        assert [(await model.complete(REQUEST)).text for _ in range(2)] == ["x", "x"]
        await model.close()
    assert server.paths.count("/v1/completions") == 1
    assert model.learnt.shape is Shape.continued


@pytest.mark.parametrize(
    ("refuses", "words", "shape"),
    [
        (lambda body: body["messages"][-1].get("prefix"), "messages.2.prefix: Extra inputs", Shape.begun),
        (lambda body: "continue_final_message" in body, "nope", Shape.begun),
        (lambda body: body["messages"][-1]["role"] == "assistant", "does not support assistant message prefill", Shape.within),
        (lambda body: body["messages"][0]["role"] == "system", "no such role", Shape.plain),
        (lambda body: len(body["messages"]) > 1, "one message, please", Shape.plain),
    ],
)  # fmt: skip
async def test_the_shapes_are_tried_in_order_and_what_works_is_kept(refuses, words, shape):
    def plan(seen):
        return ENDED if by_chat(seen) and not refuses(seen.body) else error(400, words)

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        await model.complete(REQUEST)
        tried = len(server.seen)
        await model.complete(REQUEST)
        await model.close()
    assert model.learnt.shape is shape
    assert len(server.seen) == tried + 1
    assert "begun " in "".join(message["content"] for message in server.seen[-1].body["messages"])


async def test_what_an_empty_answer_has_taught_is_no_proof_for_a_begun_one():
    def plan(seen):
        if not by_chat(seen):
            return error(404, "Not Found")
        begun = seen.body["messages"][-1]["role"] == "assistant"
        return error(400, "the last message is to be the user's") if begun else ENDED

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        await model.complete(replace(REQUEST, y=""))
        assert (await model.complete(REQUEST)).text == "x"
        await model.close()
    assert model.learnt.shape is Shape.within


async def test_mistral_takes_the_mark_prefix_and_no_unknown_field():
    def plan(seen):
        if not by_chat(seen):
            return Answer(404, body='{"message": "no Route matched with those values"}')
        unknown = next(
            (name for name in ("continue_final_message", "add_generation_prompt") if name in seen.body), None
        )
        if unknown:
            detail = [{"type": "extra_forbidden", "loc": ["body", unknown], "msg": "Extra inputs are not permitted"}]
            return Answer(422, body=json.dumps({"detail": detail}))
        return ENDED if seen.body["messages"][-1].get("prefix") else error(400, "Expected last role User")

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        assert [(await model.complete(REQUEST)).text for _ in range(2)] == ["x", "x"]
        await model.close()
    assert server.seen[-1].body["messages"][-1] == {"role": "assistant", "content": "begun ", "prefix": True}


async def test_a_gateway_that_answers_500_for_good_is_asked_by_chat_at_the_second_try():
    with Server(lambda seen: ENDED if by_chat(seen) else error(500, "internal error")) as server:
        model = OpenAIModel("m", server.url)
        with pytest.raises(Transient):
            await model.complete(REQUEST)
        assert (await model.complete(REQUEST)).text == "x"
        await model.close()


async def test_a_raw_endpoint_that_has_worked_is_not_given_up():
    answers = [completion("a"), error(400, "odd"), completion("b")]
    with Server(lambda _: answers.pop(0)) as server:
        model = OpenAIModel("m", server.url)
        await model.complete(REQUEST)
        with pytest.raises(ModelError, match="HTTP 400: odd"):
            await model.complete(REQUEST)
        assert (await model.complete(REQUEST)).text == "b"
        await model.close()
    assert set(server.paths) == {"/v1/completions"}


async def test_a_refusal_of_a_parameter_in_any_words_is_got_round_at_last():
    def plan(seen):
        return error(400, "Ungültig") if "seed" in seen.body else completion("a")

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        assert [(await model.complete(REQUEST)).text for _ in range(2)] == ["a", "a"]
        await model.close()
    assert "seed" in model.learnt.rejected


# Refusals that no shape helps against


@pytest.mark.parametrize(
    ("status", "fields", "kind", "words"),
    [
        (401, {"message": "no"}, ModelError, "check the key in THREAD_API_KEY"),
        (400, {"message": "API key not valid. Please pass a valid API key."}, ModelError, "check the key"),
        (400, {"message": "Incorrect API key provided: xa***"}, ModelError, "check the key"),
        (402, {"message": "Insufficient Balance"}, ModelError, "HTTP 402"),
        (400, {"message": "Your credit balance is too low to access the API"}, ModelError, "credit balance"),
        (429, {"message": "x", "code": "insufficient_quota"}, ModelError, "HTTP 429"),
        (429, {"message": "would exceed the rate limit of 40,000 input tokens per minute"}, Transient, "HTTP 429"),
        (400, {"message": "filtered", "code": "content_filter"}, Withheld, "HTTP 400: filtered"),
    ],
)
async def test_key_quota_and_rate_are_told_apart_first(status, fields, kind, words):
    asked = []
    raised = await failure(lambda seen: asked.append(1) or error(status, **fields))
    assert isinstance(raised, kind)
    assert words in str(raised)
    assert len(asked) == 1


TOO_LONG = [
    (400, "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."),
    (400, "prompt is too long: 209353 tokens > 199999 maximum"),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3474 `inputs` tokens"),
    (400, "max_tokens must be at least 1, got -736. (parameter=max_tokens, value=-736)"),
    (400, "Input is too long for requested model."),
    (400, "The total length of all messages is too long."),
    (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"),
    (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
    (400, "Input length (5000 tokens) exceeds the maximum allowed length (4095 tokens)."),
    (400, "This model's maximum prompt length is 131072 but the request contains 200000 tokens."),
    (400, "Please reduce the length of the messages or completion."),
    (400, "Current length is 9000 while limit is 8192"),
    (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4500"),
    (400, "Invalid request: Your request exceeded model token limit: 8192"),
    (400, "Range of input length should be [1, 30720]"),
    (400, "Prompt exceeds max length"),
    (400, "the request exceeds the available context size. try increasing the context size"),
    (400, "Requested tokens (600) exceed context window of 512"),
    (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."),
    (400, "the number of input tokens 9000 cannot exceed the total tokens limit 8192 for this model"),
    (400, "Trying to keep the first 5000 tokens when context the overflows. The model is loaded with context length of only 4096 tokens"),
    (400, "'max_tokens' is too large: 500. This model's maximum context length is 4096 tokens and your request has 4000 input tokens"),
    (400, "the requested prompt of 9001 tokens surpasses what this deployment accepts (8192)"),
    (400, "Prompt 超长"),
    (400, "输入长度超过模型的最大限制"),
    (413, "Request Entity Too Large"),
    (413, "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000"),
    (500, "input length exceeds maximum context length"),
    (500, "litellm.ContextWindowExceededError: the prompt is too long"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words"), TOO_LONG)
async def test_a_prompt_that_is_too_long_is_a_limit_of_the_thread_in_any_words(status, words):
    raised = await failure(lambda _: error(status, words))
    assert isinstance(raised, LimitReached)
    assert raised.limit == "context"
    assert "no longer fits into the context of m" in raised.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "Rate limit reached: 40,000 input tokens per minute"),
        (500, "request exceeded the time limit"),
        (503, "too many requests are in the queue"),
        (400, "Invalid 'stop': array too long. Expected at most 4"),
        (400, "stop: too many stop sequences, at most 4"),
        (400, "max_tokens is too large: 5000. This model supports at most 4096 completion tokens"),
        (400, "temperature must be less than 2"),
        (401, "the input token has expired; it exceeds its lifetime"),
        (400, "unknown role in the messages"),
    ],
)
def test_other_refusals_are_not_about_the_length(status, words):
    assert not too_long(words, status)


# What is known before


@pytest.mark.parametrize(
    "model",
    [
        {"id": "m", "max_model_len": 100}, {"id": "m", "context_length": 100}, {"id": "m", "context_window": 100},
        {"id": "m", "max_context_length": 4000, "loaded_context_length": 100},
    ],
)  # fmt: skip
async def test_a_listed_context_is_known_before_the_first_call(model):
    with Server(lambda _: completion("a"), {"/v1/models": {"data": [{"id": "other"}, model]}}) as server:
        assert (await ask(server)).text == "a"
        with pytest.raises(LimitReached, match=r"no longer fits into the context of m, 100 tokens"):
            await ask(server, replace(REQUEST, q="word " * 500))
    assert len(server.seen) == 1


async def test_llama_cpps_server_tells_its_context_beside_the_interface():
    listed = {
        "/v1/models": {"data": [{"id": "a.gguf", "meta": {"n_ctx_train": 32768}}]},
        "/props": {"default_generation_settings": {"n_ctx": 256}},
    }
    with Server(lambda _: completion("a"), listed) as server:
        model = OpenAIModel("m", server.url)
        await model.complete(REQUEST)
        await model.close()
    assert model.learnt.room.tokens == 256


async def test_the_answer_is_asked_to_fit_beside_the_prompt():
    with Server(lambda _: completion("a", usage=usage_event(50, 1)), {"/v1/models": {"data": [{"id": "m", "max_model_len": 70}]}}) as server:  # fmt: skip
        model = OpenAIModel("m", server.url)
        for _ in range(2):
            await model.complete(REQUEST)
        await model.close()
    first, second = (seen.body["max_tokens"] for seen in server.seen)
    assert first == 20
    assert 50 + second < 70


# What else a server takes


async def test_extra_fields_are_sent_along_and_override_nothing(monkeypatch):
    extra = {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}, "top_k": 20}
    with Server(lambda _: completion("a")) as server:
        await ask(server, extra=extra)
        assert {name: server.seen[0].body[name] for name in extra} == extra
        for ours in ("max_tokens", "stop", "temperature", "model", "n", "stream"):
            with pytest.raises(UserError, match=rf"model\.extra: {ours} is decided by the run itself"):
                OpenAIModel("m", server.url, extra={ours: 1})
