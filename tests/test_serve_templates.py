"""Chat templates of others, and who may call a server without a key."""

import asyncio

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from thread_cli.contracts.model import Completion, Request
from thread_cli.models.llama.call import Description
from thread_cli.serve.answers import ChatShape
from thread_cli.serve.chat import ChatTemplate
from thread_cli.serve.guards import guards
from thread_cli.serve.refusals import Refused

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
BEGUN = {"role": "assistant", "content": "Well, \n "}
GENERIC = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def rendered(source: str, *messages: dict[str, str]) -> str:
    return ChatTemplate(Description(source, "", "</s>", False, 100)).render(messages).text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "Hi"),
        ("{% for m in messages %}{{ m.content }}{% break %}{% endfor %}", "Hi"),
        ("{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}", "Hi"),
        ("{{ messages[0].content }}{{ {'b': 1, 'a': 'ä'} | tojson(indent=none, sort_keys=true) }}", 'Hi{"a": "ä", "b": 1}'),
        ("{{ messages[0].content }}{{ [1] | tojson(separators=(',', ':')) }}", "Hi[1]"),
        ("{%- if tools is none and documents is none %}{{ messages[0].content }}{% endif %}", "Hi"),
        ("{{ messages[0].content }}{{ strftime_now('%Y')[:1] }}", "Hi2"),
    ],
)  # fmt: skip
def test_templates_of_hugging_face_are_rendered(source, text):
    assert rendered(source, USER) == text


def test_a_begun_answer_is_continued_where_its_template_puts_it():
    assert rendered(GENERIC, USER, BEGUN) == "<user>Hi</><assistant>Well, \n "
    strips = GENERIC.replace("m.content }}", "m.content | trim }}")
    assert rendered(strips, USER, BEGUN) == "<user>Hi</><assistant>Well, \n "


THINKING = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)


def test_a_begun_answer_is_never_put_into_a_thought():
    assert rendered(THINKING, USER, BEGUN) == "<user>Hi</><assistant>Well, \n "
    stubborn = "{% for m in messages %}<{{ m.role }}>{% if loop.last %}<think>\n{% endif %}{{ m.content }}{% endfor %}"
    with pytest.raises(Refused, match="into a thought"):
        rendered(stubborn, USER, BEGUN)


def test_an_answer_that_begins_in_a_thought_is_told_apart_whole_and_streamed():
    prompt = ChatTemplate(Description(THINKING, "", "", False, 100)).render([USER])
    assert (prompt.text, prompt.thought) == ("<user>Hi</><assistant><think>\n", "</think>")
    request = Request("", "", prompt.text, (), 9)
    done = Completion("hm\n</think>\n\nHello", "end")
    message = ChatShape("m", request, thought=prompt.thought).full_answer(done)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello", "hm\n")
    shape = ChatShape("m", request, thought=prompt.thought)
    deltas = [shape.piece(piece) for piece in ("hm\n</thi", "nk>\n\nHel", "lo")] + [shape.last(done)]
    told = [chunk["choices"][0]["delta"] for chunk in deltas]
    assert "".join(delta.get("content", "") for delta in told) == "Hello"
    assert "".join(delta.get("reasoning_content", "") for delta in told) == "hm\n"


def test_roles_that_a_template_does_not_know_are_mapped():
    assert rendered(GENERIC, {**SYSTEM, "role": "developer"}, USER).startswith("<system>Be brief.</><user>Hi</>")
    assert rendered(GENERIC, USER, {"role": "tool", "content": "42"}).startswith("<user>Hi</><user>42</>")
    assert "<tool>42" in rendered(GENERIC + "{# 'tool' #}", USER, {"role": "tool", "content": "42"})
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + GENERIC
    assert rendered(refuses, SYSTEM, USER) == "<user>Be brief.\n\nHi</><assistant>"
    drops = "{% for m in messages %}{% if m.role == 'user' %}<user>{{ m.content }}</>{% endif %}{% endfor %}"
    assert rendered(drops, SYSTEM, USER) == "<user>Be brief.\n\nHi</>"
    alternates = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    )
    assert rendered(alternates, SYSTEM, USER, USER) == "<user>Be brief.\n\nHi\n\nHi</>"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "thread.localhost:8080"}, 200),
        ({"host": "rebound.example:8080"}, 400),
        ({"host": "127.0.0.1.example"}, 400),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://127.0.0.1"}, 200),
        ({"origin": "https://page.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost.example"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_key_only_names_and_pages_of_this_machine_are_answered(headers, status, method):
    asked = []
    app = Starlette(
        routes=[Route("/", lambda _: asked.append(1) or PlainTextResponse("here"), methods=["GET", "POST"])],
        middleware=guards("127.0.0.1"),
    )

    async def ask() -> int:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            return (await client.request(method, "/", headers=headers)).status_code

    assert asyncio.run(ask()) == status
    assert len(asked) == (status == 200)
