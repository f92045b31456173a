"""The shapes in which a thread is sent: as a text to be continued, or as a conversation that asks for the same.

The shapes are tried in the order of `Shape`, from the one that a model continues best to the one that every server
takes. With an empty Y several of them are the same, and none of them has shown that it takes a begun answer.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from thread_cli.contracts.model import Message, Request

__all__ = ["CONTINUED", "Shape", "checked_extra", "payload", "well_formed"]

_INSTRUCTION: Final = (
    "The user gives a text. Your answer is the text that comes next: continue it in exactly the same format, starting "
    "at the character where it stops. Do not repeat what is already there, do not explain, and add no greeting, "
    "heading or code fence. If your answer has been begun already, go on from its last character."
)

CONTINUED: Final = {"continue_final_message": True, "add_generation_prompt": False}
"""Parameters with which vLLM and SGLang continue a begun answer; Mistral and DeepSeek want `prefix` in the message."""

_OUR_OWN: Final = frozenset(
    [
        "model",
        "prompt",
        "messages",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "seed",
        "n",
        "best_of",
        "echo",
        "suffix",
        "logprobs",
        "top_logprobs",
    ]
) | frozenset(CONTINUED)


class Shape(Enum):
    """The form in which q, c and Y are sent."""

    raw = "raw completion"
    examples = "chat, examples as messages, the begun answer marked to be continued"
    turns = "chat, a message for each turn"
    turns_plain = "chat, a message for each turn, without a system message"
    continued = "chat, the begun answer marked to be continued"
    begun = "chat, with a begun answer"
    within = "chat, the begun answer within the user's message"
    plain = "chat, without a system message"

    def later(self, request: Request) -> list[Shape]:
        """The shapes that are tried after this one, of those that the request has."""
        shapes = list(Shape)
        return [shape for shape in shapes[shapes.index(self) + 1 :] if shape.suits(request)]

    @property
    def unbegun(self) -> Shape:
        """The shape to take instead where a server closes begun answers."""
        return Shape.turns if self is Shape.examples else Shape.within

    def suits(self, request: Request) -> bool:
        """Whether the request can take this shape; some have no conversation."""
        return request.conversation is not None or self not in (Shape.examples, Shape.turns, Shape.turns_plain)


def payload(shape: Shape, request: Request, rejected: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a call's body that hold the prompt; `rejected` are names that the server does not know."""
    if shape is Shape.raw:
        return {"prompt": well_formed(request.prompt)}
    conversation, begun = request.conversation, well_formed(request.y)
    marks = {name: value for name, value in CONTINUED.items() if name not in rejected}
    if conversation is not None and shape is Shape.examples:
        messages = _messages(conversation.examples)
        if not begun:
            return {"messages": messages}
        return {"messages": [*messages, {"role": "assistant", "content": begun, "prefix": True}], **marks}
    if conversation is not None and shape in (Shape.turns, Shape.turns_plain):
        messages = _messages(conversation.turns)
        if shape is Shape.turns_plain and messages[0]["role"] == "system":
            first, second, *rest = messages
            messages = [{**second, "content": f"{first['content']}\n\n{second['content']}"}, *rest]
        return {"messages": messages}
    question = well_formed(request.q + request.c)
    if shape in (Shape.within, Shape.plain):
        question, begun = question + begun, ""
    messages = _messages([("user", question)])
    if shape is Shape.plain:
        messages[0]["content"] = f"{_INSTRUCTION}\n\n{question}"
    else:
        messages.insert(0, {"role": "system", "content": _INSTRUCTION})
    if not begun:
        return {"messages": messages}
    answer: dict[str, Any] = {"role": "assistant", "content": begun}
    if shape is Shape.begun:
        return {"messages": [*messages, answer]}
    return {"messages": [*messages, {**answer, "prefix": True}], **marks}


def _messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [{"role": role, "content": well_formed(text)} for role, text in messages]


def checked_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Further fields for the server, checked.

    Raises:
        UserError: one of them would override a setting of the run.
    """
    if ours := sorted(_OUR_OWN & extra.keys()):
        raise UserError(
            f"model.extra: {', '.join(ours)} {'is' if len(ours) == 1 else 'are'} decided by the run itself "
            "(--temperature, --seed, --max-tokens, the prompt): leave it out"
        )
    return dict(extra)


def well_formed(text: str) -> str:
    """`text` with surrogates paired, and lone ones (half of a character that a model wrote) replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
