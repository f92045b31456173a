"""API models by chat: whether a begun answer is really continued, sent back, or closed; and what follows a text's end."""

import asyncio
import json
from dataclasses import replace

import pytest
from endpoints import REQUEST, ask
from servers import Answer, Server, chat_event, error, text_event, usage_event

from thread_cli.models.openai import OpenAIModel
from thread_cli.models.openai_shapes import Shape

pytestmark = pytest.mark.usefixtures("no_keys")


def templated(seen, *, continues, counts=True):
    """A chat server with a template of seven tokens a message, that goes on with a begun answer or closes it."""
    if not seen.path.endswith("/chat/completions"):
        return error(404, "Not Found")
    *_, last = messages = seen.body["messages"]
    begun = last["role"] == "assistant"
    tokens = sum(7 + len(message["content"].split()) for message in messages) + (-4 if begun and continues else 3)
    half = begun and last["content"].endswith("Wednes")
    anew = "Monday, Tuesday, Wednesday" if half else "Hello! How can I help?"
    text = ("day, Thursday" if half else "on") if continues or not begun else anew
    told = usage_event(tokens, 3) if counts else None
    if not seen.body["stream"]:
        message = {"message": {"role": "assistant", "content": text}, "index": 0, "finish_reason": "stop"}
        return Answer(body=json.dumps({**(told or {}), "choices": [message]}))
    return Answer(events=[chat_event(text), chat_event("", "stop"), *([told] if told else [])])


async def learnt(plan):
    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        done = [await model.complete(REQUEST) for _ in range(2)]
        await model.close()
    return model.learnt, done, server


async def test_a_server_that_closes_a_begun_answer_is_given_it_within_the_users_message():
    found, (first, second), server = await learnt(lambda seen: templated(seen, continues=False))
    assert (found.shape, found.proven) == (Shape.within, True)
    assert first.text == second.text == "on"
    system, user = server.seen[-1].body["messages"]
    assert (system["role"], user["content"]) == ("system", "examples\ncontext\nbegun ")
    # The answer that was no continuation, and the questions, were paid for.
    assert first.usage.generated == 5 * second.usage.generated
    assert first.usage.prompt > 3 * second.usage.prompt
    assert [seen.body["max_tokens"] for seen in server.seen[-2:]] == [20, 20]


async def test_a_server_that_continues_is_asked_once_and_keeps_the_begun_answer():
    found, done, server = await learnt(lambda seen: templated(seen, continues=True))
    assert found.shape is Shape.continued
    assert [each.text for each in done] == ["on", "on"]
    assert len(server.seen) == 1 + 1 + 1 + 1  # raw, the call, the question, the second call


@pytest.mark.parametrize("counts", [None, 50])
async def test_without_a_count_that_shows_it_a_begun_answer_is_not_taken_to_be_closed(counts):
    def plan(seen):
        answer = templated(seen, continues=False, counts=False)
        if counts and seen.path.endswith("/chat/completions") and answer.events is None:
            whole = {**json.loads(answer.body), **usage_event(counts, 3), "choices": json.loads(answer.body)["choices"]}
            return Answer(body=json.dumps(whole))
        return answer

    found, _, _ = await learnt(plan)
    assert found.shape is Shape.continued


async def test_a_question_that_fails_once_is_put_again():
    failed = set()

    def plan(seen):
        asked = json.dumps([seen.body["stream"], seen.body.get("messages")])
        if seen.body["max_tokens"] < 20 and asked not in failed:
            failed.add(asked)
            return error(503, "busy")
        return templated(seen, continues=False)

    found, _, _ = await learnt(plan)
    assert found.shape is Shape.within


async def test_calls_at_once_ask_once_whether_begun_answers_are_closed():
    with Server(lambda seen: templated(seen, continues=False)) as server:
        model = OpenAIModel("m", server.url)
        done = await asyncio.gather(*(model.complete(replace(REQUEST, thread=f"0.{n}")) for n in range(6)))
        await model.close()
    assert {each.text for each in done} == {"on"}
    halves = [
        seen
        for seen in server.seen
        if "Wednes" in json.dumps(seen.body["messages"][-1:] if "messages" in seen.body else "")
    ]
    assert len(halves) == 1


@pytest.mark.parametrize("size", [1, 4, 100])
async def test_a_begun_answer_that_is_sent_back_is_no_part_of_the_text(size):
    request = replace(REQUEST, y="> look =>a shelf<=\n")

    def plan(seen):
        if not seen.path.endswith("/chat/completions"):
            return error(404, "Not Found")
        last = seen.body["messages"][-1]
        text = last["content"] + ("day" if last["content"].endswith("Wednes") else "> go on => more")
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        return Answer(events=[*map(chat_event, pieces), chat_event("", "stop")])

    with Server(plan) as server:
        done = await ask(server, request)
    assert (done.text, done.stop) == ("> go on ", "listen")


@pytest.mark.parametrize("written", ["> lo", "> look =>a shelf"])
async def test_a_text_that_only_begins_like_the_begun_answer_is_kept(written):
    def plan(seen):
        return Answer(events=[chat_event(written), chat_event("", "stop")]) if "chat" in seen.path else error(404, "")

    with Server(plan) as server:
        done = await ask(server, replace(REQUEST, y="> look =>a shelf<=\n", stop=("#END#",)))
    assert done.text == written


# What follows the end of a text


async def test_the_usage_behind_a_stop_string_in_the_text_is_taken():
    last = text_event("", "stop") | {"usage": usage_event(9, 4)["usage"]}
    with Server(lambda _: Answer(events=[text_event("one "), text_event("=>"), last], end="silent")) as server:
        done = await ask(server)
    assert (done.text, done.stop, done.usage.prompt, done.usage.generated) == ("one ", "listen", 9, 4)


@pytest.mark.parametrize("more", [[], [text_event(" two")], ["{"], [{"error": "gone"}]])
async def test_a_server_that_goes_on_behind_a_stop_string_or_says_no_more_is_not_waited_for(more):
    with Server(lambda _: Answer(events=[text_event("one =>"), *more], end="hang")) as server:
        done = await ask(server)
        assert await asyncio.to_thread(server.gave_up, 1)
    assert (done.text, done.stop) == ("one ", "listen")


async def test_an_answer_that_has_ended_is_whole_though_the_connection_breaks_off_behind_it():
    with Server(lambda _: Answer(events=[text_event("a"), text_event("", "stop")], end="drop")) as server:
        done = await ask(server)
    assert (done.text, done.stop, len(server.seen)) == ("a", "stop", 1)
