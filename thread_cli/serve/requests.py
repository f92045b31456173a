"""Turns JSON bodies of clients into checked requests to the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from thread_cli.contracts.model import Request
from thread_cli.serve.grammars import JSON
from thread_cli.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from thread_cli.serve.chat import RenderedPrompt

__all__ = ["Asked", "ChatBody", "CompletionBody", "Message", "read"]

_Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]

_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repeat_penalty": (1,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "top_k": (0, -1),
    "min_p": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "top_logprobs": (0,),
    "modalities": (["text"],),
}
"""Fields that would change the answer and are not supported, with the values that request nothing."""


class _StreamOptions(BaseModel):
    include_usage: bool = False


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: _Whole | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    grammar: str | None = None

    def request(self, prompt: str, *, max_tokens: int, logprobs: bool, grammar: str | None = None) -> Request:
        """The request to the model, for a prompt that is one string."""
        return Request(
            q="",
            c="",
            y=prompt,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            seed=self.seed,
            top_p=self.top_p,
            grammar=self.grammar or grammar,
            logprobs=logprobs,
        )

    def asked(self, request: Request, thought: str = "") -> Asked:
        usage = self.stream_options is not None and self.stream_options.include_usage
        return Asked(request, stream=bool(self.stream), usage=usage, thought=thought)


class CompletionBody(_Body):
    """The body of `/v1/completions`."""

    prompt: str | list[Any]
    logprobs: Annotated[int, Field(ge=0, le=1)] | bool | None = None

    def text(self) -> str:
        """The prompt.

        Raises:
            Refused: it is not a single text.
        """
        if isinstance(self.prompt, str):
            return self.prompt
        if len(self.prompt) == 1 and isinstance(self.prompt[0], str):
            return self.prompt[0]
        raise Refused(
            400, "the prompt must be one string: send lists one by one, and tokens as text", parameter="prompt"
        )

    def read(self) -> Asked:
        """The request; 16 tokens unless the body has a number, as with OpenAI."""
        wanted = 16 if self.max_tokens is None else self.max_tokens
        # 0 asks for the chosen tokens' log-probabilities; false and null ask for none.
        logprobs = self.logprobs is not None and self.logprobs is not False
        return self.asked(self.request(self.text(), max_tokens=wanted, logprobs=logprobs))


class _Part(BaseModel):
    type: str
    text: str | None = None


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: str
    content: str | list[_Part] | None = None

    def plain(self) -> dict[str, str]:
        """Role and content, as a chat template wants them.

        Raises:
            Refused: there is more in it than text.
        """
        parts = self.content if isinstance(self.content, list) else [_Part(type="text", text=self.content or "")]
        other = next((part.type for part in parts if part.type != "text"), None)
        if other is not None:
            raise Refused(400, f"this model reads text alone, and no {other}", parameter="messages")
        return {"role": self.role, "content": "".join(part.text or "" for part in parts)}


class _Format(BaseModel):
    type: str


class ChatBody(_Body):
    """The body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: bool | None = None
    response_format: _Format | None = None

    def read(self, render: Callable[[Sequence[dict[str, str]]], RenderedPrompt], longest: int) -> Asked:
        """The request. `render` makes a prompt of messages; `longest` is the default number of tokens."""
        kind = "text" if self.response_format is None else self.response_format.type
        if kind not in {"text", "json_object"}:
            raise Refused(
                400, f"response_format {kind!r} is not supported; send a grammar", parameter="response_format"
            )
        limits = [limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None]
        prompt = render([message.plain() for message in self.messages])
        request = self.request(
            prompt.text,
            max_tokens=min(limits, default=longest),
            logprobs=bool(self.logprobs),
            grammar=JSON if kind == "json_object" else None,
        )
        return self.asked(request, prompt.thought)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, whether the answer is to be streamed, and whether the stream ends with the usage.

    `thought` is the tag that closes the reasoning in which the answer begins; empty if in none.
    """

    request: Request
    stream: bool
    usage: bool
    thought: str = ""


_B = TypeVar("_B", bound=_Body)


def read(kind: type[_B], raw: bytes) -> _B:
    """The body of a request.

    Raises:
        Refused: it is no JSON object, or a field does not fit or is not supported.
    """
    try:
        fields: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise Refused(400, "the body is not a JSON object")
    try:
        body = kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(400, f"{where}: {first['msg']}", parameter=str(first["loc"][0])) from None
    for name, value in (body.model_extra or {}).items():
        if name in _NEUTRAL and value is not None and value not in _NEUTRAL[name]:
            raise Refused(400, f"{name}={value!r:.40} is not supported", code="unsupported_parameter", parameter=name)
    return body
