"""API models that reason before they answer: what they think is recorded and limited, and never the thread's text."""

import json
from dataclasses import replace
from functools import partial

import pytest
from endpoints import REQUEST, ask, chat_only
from processes import thread
from servers import Answer, Server, chat_event, completion, error, text_event, thought_event, usage_event

from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.models.limiter import Limiter
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.reasoning import Thoughts
from thread_cli.models.retry import Retrying

pytestmark = pytest.mark.usefixtures("no_keys")
ROOMY = replace(REQUEST, max_reasoning=100)
FRESH = replace(ROOMY, y="")
"""Without a begun answer, of which it would be asked once whether a server continues it."""


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("written", "reasoning", "text"),
    [
        ("<think>\nhm => so\n</think>\n\nThe answer", "\nhm => so\n", "The answer"),
        ("\n<think>a</think>b", "a", "\nb"),
        ("a</think>\n\nb", "a", "b"),
        ("[THINK]a[/THINK]b < c", "a", "b < c"),
        ("<thinking>a</thinking>b", "a", "b"),
        ("İİ<Think>A</THINK>B", "A", "İİB"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "a<|end|><|start|>assistant", "b"),
        ("<think>never closed", "never closed", ""),
        ("◁think▷a◁/think▷b", "a", "b"),
        ("<|channel>thought\na<channel|>b", "a", "b"),
        ("<|START_THINKING|>a<|END_THINKING|>b", "a", "b"),
        ("a <b> <thin", "", "a <b> <thin"),
        ("x<think>y</think>z", "y", "xz"),
    ],
)  # fmt: skip
def test_thoughts_are_told_apart_however_the_text_is_cut(written, reasoning, text, size):
    thoughts = Thoughts()
    for at in range(0, len(written), size):
        thoughts.add(written[at : at + size])
    thoughts.finish()
    assert (thoughts.reasoning, thoughts.text) == (reasoning, text)


def test_a_text_that_begins_within_a_thought_shows_it_where_it_is_closed():
    thoughts = Thoughts(inside="</think>")
    thoughts.add("a => b</thi")
    assert thoughts.text == ""
    thoughts.add("nk>\nc")
    assert (thoughts.reasoning, thoughts.text) == ("a => b", "c")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
async def test_reasoning_in_a_field_of_its_own_is_no_text(name):
    events = [thought_event("let me => see", name), chat_event("go"), chat_event("", "stop")]
    with Server(chat_only(Answer(events=events))) as server:
        done = await ask(server, FRESH)
    assert (done.text, done.reasoning, done.usage.reasoning) == ("go", "let me => see", 1)


async def test_reasoning_in_a_list_of_parts_is_no_text():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events = [chat_event([thought]), chat_event([{"type": "text", "text": "go"}]), chat_event("", "stop")]
    with Server(chat_only(Answer(events=events))) as server:
        done = await ask(server, ROOMY)
    assert (done.text, done.reasoning) == ("go", "hm")


async def test_a_stop_string_in_a_thought_of_a_raw_completion_ends_nothing():
    pieces = ["<think>", "a => b", "</think>", "\n\nFirst, x =", "> and more"]
    with Server(lambda _: Answer(events=[text_event(piece) for piece in pieces], end="hang")) as server:
        done = await ask(server, ROOMY)
    assert (done.text, done.stop, done.reasoning) == ("First, x ", "listen", "a => b")


@pytest.mark.parametrize("hint", [{}, {"stop_reason": "=>"}, {"matched_stop": "=>"}])
@pytest.mark.parametrize("raw", [True, False])
async def test_a_server_that_stops_within_a_thought_is_asked_without_stop_strings(raw, hint):
    def plan(seen):
        if not raw and not seen.path.endswith("/chat/completions"):
            return error(404, "Not Found")
        event = text_event if raw else chat_event
        thought = text_event("<think>the line ends with ") if raw else thought_event("the line ends with ")
        if "stop" in seen.body:
            return Answer(events=[thought, event("", "stop", **hint)])
        closed = [text_event("=></think>\n")] if raw else []
        return Answer(events=[thought, *closed, event("First, x "), event("=> y"), event("", "stop")])

    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        first, second = [await model.complete(ROOMY) for _ in range(2)]
        await model.close()
    assert (first.text, first.stop) == (second.text, second.stop) == ("First, x ", "listen")
    assert first.usage.generated > second.usage.generated
    assert ["stop" in seen.body for seen in server.seen][-2:] == [False, False]


async def test_a_model_that_reasons_gets_room_for_it_beside_the_text():
    def plan(seen):
        if seen.body["max_tokens"] < 100:
            return completion("<think>" + "so " * 20, finish="length", usage=usage_event(9, 20))
        return completion("<think>so</think>text", usage=usage_event(9, 30))

    with Server(plan) as server:
        done = await ask(server, ROOMY)
    assert (done.text, done.stop) == ("text", "stop")
    assert (done.usage.generated, done.usage.prompt) == (50, 18)
    assert [seen.body["max_tokens"] for seen in server.seen] == [20, 20 + 100 - 20]


async def test_reasoning_beyond_its_budget_is_cut_off():
    def plan(seen):
        events = [thought_event("hm ") for _ in range(500)]
        first = [thought_event("hm "), chat_event("", "length")]
        return Answer(events=first) if seen.body["max_tokens"] == 20 else Answer(events=events, end="hang")

    with Server(chat_only_plan(plan)) as server:
        done = await ask(server, FRESH)
    assert (done.text, done.stop) == ("", "length")
    assert 100 <= done.usage.reasoning <= 103


def chat_only_plan(plan):
    return lambda seen: plan(seen) if seen.path.endswith("/chat/completions") else error(404, "Not Found")


async def test_hidden_reasoning_counts_as_reasoning():
    usage = usage_event(9, 20)
    usage["usage"]["completion_tokens_details"] = {"reasoning_tokens": 20}
    with Server(chat_only(Answer(events=[chat_event("", "length"), usage]))) as server:
        done = await ask(server, replace(REQUEST, y=""))
    assert (done.text, done.stop, done.usage.reasoning) == ("", "length", 20)


async def test_an_episode_records_reasoning_apart_and_its_budgets_hold(play):
    def plan(seen):
        told = usage_event(10, 12)
        told["usage"]["completion_tokens_details"] = {"reasoning_tokens": 7}
        return Answer(events=[thought_event("why => so"), chat_event("print('done')\n", "stop"), told])

    with Server(chat_only_plan(plan)) as server:
        model = Retrying(OpenAIModel("m", server.url), limiter=Limiter())
        done = await play(model, limits=Limits(total_tokens=5000))
        await model.close()
    (written,) = done.of("generated")
    assert (written.reasoning, written.reasoning_tokens, written.generated_tokens) == ("why => so", 7, 12)
    assert "why" not in done.y("0")
    assert done.episode.answer == "done"
    assert done.episode.totals.reasoning_tokens == 7
    assert all(seen.body["max_tokens"] <= 5000 for seen in server.seen)


async def test_an_answer_of_reasoning_alone_is_told_with_what_to_set(play):
    for finish, status, words in (
        ("length", Status.limited, "limits.max_reasoning_tokens"),
        ("stop", Status.failed, "model.extra"),
    ):
        answer = Answer(events=[thought_event("hm " * 9), chat_event("", finish)])
        with Server(chat_only(answer)) as server:
            model = Retrying(OpenAIModel("m", server.url), limiter=Limiter())
            done = await play(model)
            await model.close()
        assert done.episode.status is status
        assert "reasoning and no text" in done.episode.message
        assert words in done.episode.message
        assert done.of("generated")[0].reasoning.startswith("hm")


def switched(seen, *, whole):
    """A server whose reasoning a field of the call switches, whole or streamed, and that keeps the limit of tokens."""
    if not seen.path.endswith("/chat/completions"):
        return error(404, "Not Found")
    allowed = seen.body["max_tokens"]
    thinks = min(allowed, 30 * seen.body["chat_template_kwargs"]["enable_thinking"])
    writes = min(allowed - thinks, 10)
    asked = seen.body["messages"][1]["content"]
    text = (
        "print('well')\n#END#" if "look" in asked else f"Look at place {len(seen.body['messages'][-1]['content'])} =>"
    )
    told = usage_event(20, thinks + writes)
    told["usage"]["completion_tokens_details"] = {"reasoning_tokens": thinks}
    finish = "stop" if writes == 10 else "length"
    thought, text = "hm " * thinks, text if finish == "stop" else text[:writes]
    if whole:
        message = {"role": "assistant", "content": text, **({"reasoning_content": thought} if thinks else {})}
        return Answer(body=json.dumps({**told, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}))
    thoughts = [thought_event("hm ") for _ in range(thinks)]
    return Answer(events=[*thoughts, chat_event(text), chat_event("", finish), told])


@pytest.mark.parametrize("whole", [True, False])
def test_reasoning_is_switched_by_an_extra_field_counted_apart_and_part_of_the_total(tmp_path, whole):
    totals = {}
    with Server(partial(switched, whole=whole)) as server:
        for thinks in ("true", "false"):
            extra = f'model.extra={{"chat_template_kwargs": {{"enable_thinking": {thinks}}}}}'
            flags = ["--model", f"openai:m@{server.url}", "--total-tokens", "400", "--display", "json", "-o", extra]
            done = thread(
                "run",
                "none",
                "Walk around.",
                "--phi",
                "last_line",
                "--log",
                str(tmp_path / thinks),
                *flags,
                cwd=tmp_path,
            )
            last = json.loads(done.stdout.splitlines()[-1])
            assert (done.returncode, last["status"]) == (1, "limited"), done.stderr
            assert last["message"] == "the limit of 400 tokens is reached"
            totals[thinks] = last["totals"]
    with_it, without = totals["true"], totals["false"]
    for each in (with_it, without):
        # A thread's first prompt is known only once it was read.
        assert 400 - 60 < each["prompt_tokens"] + each["generated_tokens"] <= 400 + 20
    assert without["reasoning_tokens"] == 0
    assert without["generated_tokens"] > 9 * (without["calls"] - 1)
    assert with_it["reasoning_tokens"] >= 30 * (with_it["calls"] - 1)
    assert with_it["generated_tokens"] - with_it["reasoning_tokens"] <= 10 * with_it["calls"]
    assert with_it["calls"] < without["calls"]


@pytest.mark.parametrize(
    ("opened", "text", "reasoning"), [("", "so 6", "I think"), ("<think>\n", "I think</think>\n\nso 6", "")]
)
def test_a_tag_that_the_prompt_itself_opens_is_closed_in_the_text(opened, text, reasoning):
    thoughts = Thoughts(f"Prompt:\nadd\n\n\nResponse:\n{opened}")
    for piece in ("I th", "ink</thi", "nk>\n\nso", " 6"):
        thoughts.add(piece)
    thoughts.finish()
    assert (thoughts.text, thoughts.reasoning) == (text, reasoning)
