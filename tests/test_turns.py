"""A thread as a conversation: which messages it is told in, and what a server that knows chat alone is sent."""

from dataclasses import replace

import pytest
from servers import Answer, Server, chat_event, error
from test_openai_begun import templated

from thread_cli.assembly.environments import installed as environments
from thread_cli.contracts.model import Request
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.openai_shapes import Shape
from thread_cli.protocols.prompt import installed, load
from thread_cli.protocols.turns import conversation

Q = """Threads count.






Prompt:
one =>


Response:
#START#
> add =>Added 1.<=

> show =>
1
and more
<=

print('one')
#END#






Prompt:
none =>


Response:
#START#
print('none')
#END#"""
C = "\n\n\n\n\n\nPrompt:\ntwo =>\n\n\nResponse:\n#START#\n"
WHOLE = (
    ("system", "Threads count."),
    ("user", "one =>"),
    ("assistant", "> add =>Added 1.<=\n\n> show =>\n1\nand more\n<=\n\nprint('one')\n#END#"),
    ("user", "none =>"),
    ("assistant", "print('none')\n#END#"),
)
TURNS = (
    ("system", "Threads count."),
    ("user", "one =>"),
    ("assistant", "> add =>"),
    ("user", "Added 1."),
    ("assistant", "> show =>"),
    ("user", "1\nand more"),
    ("assistant", "print('one')\n#END#"),
    ("user", "none =>"),
    ("assistant", "print('none')\n#END#"),
)
Y = "> add =>Added 1.<=\n\n"
TOLD = conversation(Q, C, Y)
REQUEST = Request(Q, C, Y, ("=>", "#END#"), 50, conversation=TOLD)
ENDED = Answer(events=[chat_event("> add ", "stop")])


def test_examples_are_messages_and_in_turns_their_feedback_too() -> None:
    told = conversation(Q, C, "")
    assert told.examples == (*WHOLE, ("user", "two =>"))
    assert told.turns == (*TURNS, ("user", "two =>"))


def test_the_thread_itself_is_told_in_turns_alone() -> None:
    told = conversation(Q, C, "Once.\n> add =>Added 1.<=\n\n> add =><=\n\n")
    own = [("assistant", "Once.\n> add =>"), ("user", "Added 1."), ("assistant", "> add =>"), ("user", "<=")]
    assert told.examples == (*WHOLE, ("user", "two =>"))
    assert told.turns == (*TURNS, ("user", "two =>"), *own)


@pytest.mark.parametrize(
    "q", ["", "Count.", "Prompt:\none =>\n\nResponse:\n[START]\nx\n[END]", Q.replace("#START#", "GO")]
)
def test_a_prompt_without_such_examples_is_no_conversation(q) -> None:
    assert conversation(q, C, "") is None


def test_every_prompt_that_is_told_in_turns_can_be() -> None:
    told = [
        (found.name, name) for found in environments() for name, rules in installed(found.name) if rules.chat == "turns"
    ]
    assert ("textcraft", "general") in told
    for environment, name in told:
        prompt = load(name, environment)
        conversed = conversation(prompt.q, prompt.protocol().open("the context"), "")
        for messages in (conversed.examples, conversed.turns):
            assert messages[-1] == ("user", "the context")
            roles = [role for role, _ in messages if role != "system"]
            assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
            assert all(text.strip() and "Response:" not in text for _, text in messages)


async def _sent(server, *requests) -> OpenAIModel:
    model = OpenAIModel("m", server.url)
    for request in requests:
        await model.complete(request)
    await model.close()
    return model


def chat_alone(*refused):
    """A server without raw completions, which refuses the bodies that any of these is true of."""

    def plan(seen):
        if "chat" not in seen.path:
            return error(404, "Not Found")
        return error(400, "not like that") if any(refuses(seen.body) for refuses in refused) else ENDED

    return plan


def begun(body) -> bool:
    return body["messages"][-1]["role"] == "assistant"


def ruled(body) -> bool:
    return body["messages"][0]["role"] == "system"


def sent(server) -> dict:
    """The last body that was sent for a thread; a server is asked other things, too."""
    return [seen.body for seen in server.seen if "two =>" in str(seen.body)][-1]


def told(server) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in sent(server)["messages"]]


@pytest.mark.usefixtures("no_keys")
async def test_by_chat_examples_are_messages_and_the_begun_answer_is_continued() -> None:
    with Server(chat_alone()) as server:
        model = await _sent(server, replace(REQUEST, y="", conversation=conversation(Q, C, "")), REQUEST)
    assert model.learnt.shape is Shape.examples
    assert server.paths.count("/v1/completions") == 1
    assert told(server) == [*WHOLE, ("user", "two =>"), ("assistant", Y)]
    body = sent(server)
    assert body["messages"][-1]["prefix"]
    assert body["continue_final_message"]
    assert not body["add_generation_prompt"]


@pytest.mark.usefixtures("no_keys")
async def test_where_no_answer_can_be_begun_each_feedback_is_a_message() -> None:
    with Server(chat_alone(begun)) as server:
        model = await _sent(server, replace(REQUEST, y="", conversation=conversation(Q, C, "")), REQUEST, REQUEST)
    assert model.learnt.shape is Shape.turns
    assert told(server) == list(TOLD.turns)
    assert not {"continue_final_message", "add_generation_prompt"} & sent(server).keys()


@pytest.mark.usefixtures("no_keys")
async def test_where_a_begun_answer_is_closed_each_feedback_is_a_message() -> None:
    with Server(lambda seen: templated(seen, continues=False)) as server:
        model = await _sent(server, REQUEST, REQUEST)
    assert (model.learnt.shape, model.learnt.proven) == (Shape.turns, True)
    assert told(server) == list(TOLD.turns)


@pytest.mark.usefixtures("no_keys")
async def test_without_a_system_role_its_text_begins_the_first_message() -> None:
    with Server(chat_alone(begun, ruled)) as server:
        model = await _sent(server, REQUEST, REQUEST)
    assert model.learnt.shape is Shape.turns_plain
    assert told(server) == [("user", "Threads count.\n\none =>"), *TOLD.turns[2:]]


@pytest.mark.usefixtures("no_keys")
async def test_a_server_that_takes_one_message_alone_is_sent_the_text() -> None:
    with Server(chat_alone(lambda body: len(body["messages"]) > 1)) as server:
        model = await _sent(server, REQUEST, REQUEST)
    assert model.learnt.shape is Shape.plain


@pytest.mark.usefixtures("no_keys")
async def test_a_request_that_is_no_conversation_is_sent_as_a_text_where_conversations_have_worked() -> None:
    with Server(chat_alone()) as server:
        model = await _sent(server, REQUEST, replace(REQUEST, conversation=None))
    assert model.learnt.shape is Shape.examples
    assert told(server)[1:] == [("user", Q + C), ("assistant", Y)]
