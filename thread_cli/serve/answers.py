"""Answers in the shapes of OpenAI's interface, complete or streamed."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from thread_cli.models.reasoning import Thoughts

if TYPE_CHECKING:
    from thread_cli.contracts.model import Completion, Request

__all__ = ["ChatShape", "CompletionShape", "Shape", "usage_of"]


class Shape(Protocol):
    """How one kind of answer is written as JSON."""

    def full_answer(self, completion: Completion) -> dict[str, Any]:
        """The answer to a request that is not streamed."""
        ...

    def first(self) -> dict[str, Any] | None:
        """The first chunk of a stream, if it has a special one."""
        ...

    def piece(self, text: str) -> dict[str, Any]:
        """A piece of the text of a stream."""
        ...

    def last(self, completion: Completion) -> dict[str, Any]:
        """The chunk after a stream's text: why the text ended, and all its log-probabilities."""
        ...

    def usage(self, completion: Completion) -> dict[str, Any]:
        """The last chunk of a stream, if the client has asked for the usage."""
        ...


@dataclass
class _Answer:
    model: str
    request: Request
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def _object(self, kind: str, prefix: str, **rest: Any) -> dict[str, Any]:
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model, **rest}

    def _end(self, completion: Completion) -> dict[str, Any]:
        # As vLLM does: which stop string it was, null where the model itself ended its text.
        stop = self.request.stop[0] if completion.stop == "listen" else None
        return {"finish_reason": "length" if completion.stop == "length" else "stop", "stop_reason": stop}


class CompletionShape(_Answer):
    """Answers of `/v1/completions`."""

    def full_answer(self, completion: Completion) -> dict[str, Any]:
        choice = {"index": 0, "text": completion.text, "logprobs": _by_column(completion), **self._end(completion)}
        return self._chunk(choice, usage=usage_of(completion))

    def first(self) -> None:
        return None

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"index": 0, "text": text, "logprobs": None, "finish_reason": None})

    def last(self, completion: Completion) -> dict[str, Any]:
        return self._chunk({"index": 0, "text": "", "logprobs": _by_column(completion), **self._end(completion)})

    def usage(self, completion: Completion) -> dict[str, Any]:
        return self._chunk(usage=usage_of(completion))

    def _chunk(self, *choices: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return self._object("text_completion", "cmpl", choices=list(choices), **rest)


@dataclass
class ChatShape(_Answer):
    """Answers of `/v1/chat/completions`. Reasoning between tags goes into `reasoning_content`. `thought` is the tag
    that closes the reasoning in which the answer begins; empty if it begins outside of any.
    """

    thought: str = ""

    def __post_init__(self) -> None:
        self._thoughts = Thoughts(inside=self.thought)
        self._sent = (0, 0)

    def full_answer(self, completion: Completion) -> dict[str, Any]:
        self._thoughts.add(completion.text)
        self._thoughts.finish()
        message = {"role": "assistant", "content": self._thoughts.text, "refusal": None}
        if self._thoughts.reasoning:
            message["reasoning_content"] = self._thoughts.reasoning
        choice = {"index": 0, "message": message, "logprobs": _by_token(completion), **self._end(completion)}
        return self._object("chat.completion", "chatcmpl", choices=[choice], usage=usage_of(completion))

    def first(self) -> dict[str, Any]:
        return self._chunk(self._delta({"role": "assistant", "content": ""}))

    def piece(self, text: str) -> dict[str, Any]:
        self._thoughts.add(text)
        return self._chunk(self._delta(self._news()))

    def last(self, completion: Completion) -> dict[str, Any]:
        self._thoughts.finish()
        return self._chunk({**self._delta(self._news()), "logprobs": _by_token(completion), **self._end(completion)})

    def usage(self, completion: Completion) -> dict[str, Any]:
        return self._chunk(usage=usage_of(completion))

    def _news(self) -> dict[str, str]:
        """The text and reasoning that have become certain since the last piece."""
        text, reasoning = self._thoughts.text, self._thoughts.reasoning
        new = {"content": text[self._sent[0] :], "reasoning_content": reasoning[self._sent[1] :]}
        self._sent = len(text), len(reasoning)
        return {name: part for name, part in new.items() if part}

    def _chunk(self, *choices: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return self._object("chat.completion.chunk", "chatcmpl", choices=list(choices), **rest)

    @staticmethod
    def _delta(delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}


def usage_of(completion: Completion) -> dict[str, Any]:
    """The usage; `repeated_tokens`, of our own, counts prompt tokens that were evaluated again after the cache had to
    drop them.
    """
    usage = completion.usage
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.generated,
        "total_tokens": usage.prompt + usage.generated,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "repeated_tokens": usage.repeated},
    }


def _by_column(completion: Completion) -> dict[str, Any] | None:
    if completion.logprobs is None or completion.pieces is None:
        return None
    pieces = list(completion.pieces)
    return {
        "tokens": pieces,
        "token_logprobs": list(completion.logprobs),
        "top_logprobs": None,
        "text_offset": list(accumulate(map(len, pieces), initial=0))[: len(pieces)],
    }


def _by_token(completion: Completion) -> dict[str, Any] | None:
    if completion.logprobs is None or completion.pieces is None:
        return None
    content = [
        {"token": piece, "logprob": logprob, "bytes": list(piece.encode("utf-8")), "top_logprobs": []}
        for piece, logprob in zip(completion.pieces, completion.logprobs, strict=True)
    ]
    return {"content": content, "refusal": None}
