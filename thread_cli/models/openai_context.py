"""The context length of a server's model, if the server lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import openai

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from thread_cli.contracts.model import Request

__all__ = ["Room", "free_slots", "listed_context"]

_PATIENCE: Final = 3.0
"""Seconds that a list of models may take; without the list a run goes on as before."""
_FIELDS: Final = (
    "max_model_len",  # vLLM, SGLang, thread serve
    "loaded_context_length",  # LM Studio
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "n_ctx",
)
_DENSE: Final = 8.0
"""Characters a token: no text of words or code has more, so a prompt that is longer certainly does not fit."""
_MARGIN: Final = 1.3


async def listed_context(client: openai.AsyncOpenAI, endpoint: str, name: str) -> int | None:
    """Tokens that a prompt and its answer may have together; None if the server does not list them."""
    try:
        listed = await client.models.with_raw_response.list(timeout=_PATIENCE)
        answer: Any = listed.http_response.json()
    except (openai.OpenAIError, ValueError):
        return None
    models = list(_entries(answer))
    ours = [model for model in models if name in (model.get("id"), model.get("name"), model.get("root"))] or models
    if len(ours) != 1:
        return None
    return _found(ours[0]) or (await _of_llama_cpp(client, endpoint) if "meta" in ours[0] else None)


class Room:
    """Whether prompts fit into a context of `tokens`, judged by the prompts that the server has counted."""

    def __init__(self, tokens: int | None = None) -> None:
        self.tokens = tokens
        self._density: float | None = None

    def learn(self, request: Request, prompt_tokens: int) -> None:
        """Note how many tokens a prompt had; 0 where that is not known."""
        if prompt_tokens > 0:
            self._density = len(request.prompt) / prompt_tokens

    def surely_too_small(self, request: Request) -> bool:
        """Whether the prompt alone certainly cannot fit."""
        if self.tokens is None:
            return False
        density = _DENSE if self._density is None else min(_DENSE, self._density * _MARGIN)
        return len(request.prompt) / density >= self.tokens

    def for_answer(self, request: Request, wanted: int) -> int:
        """At most `wanted` tokens for the answer, so that prompt and answer fit together, as far as the counts show."""
        if self.tokens is None or self._density is None:
            return wanted
        left = self.tokens - int(len(request.prompt) / self._density * 1.05) - 8
        return min(wanted, left) if left > 0 else wanted


def _entries(answer: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(answer, dict):
        fields = cast("dict[str, Any]", answer)
        answer = fields.get("data") or fields.get("models")
    if isinstance(answer, list):
        yield from (cast("dict[str, Any]", each) for each in cast("list[Any]", answer) if isinstance(each, dict))


def _found(fields: Mapping[str, Any]) -> int | None:
    for name in _FIELDS:
        tokens = fields.get(name)
        if isinstance(tokens, int) and tokens > 0:
            return tokens
    return None


async def _of_llama_cpp(client: openai.AsyncOpenAI, endpoint: str) -> int | None:
    """The context length from llama.cpp's own endpoint; its list of models has only the length of the training."""
    parts = urlsplit(endpoint)
    try:
        props: Any = await client.get(
            f"{parts.scheme}://{parts.netloc}/props", cast_to=object, options={"timeout": _PATIENCE}
        )
    except (openai.OpenAIError, ValueError):
        return None
    settings: Any = (
        cast("dict[str, Any]", props).get("default_generation_settings") if isinstance(props, dict) else None
    )
    return _found(cast("dict[str, Any]", settings)) if isinstance(settings, dict) else None


async def free_slots(client: openai.AsyncOpenAI, endpoint: str) -> int | None:
    """Calls that a llama.cpp server has slots for now, at least 1; None for a server that does not tell.

    `/slots` lists them, unless that endpoint is switched off; `/props` has their number, whether or not they are free.
    """
    parts = urlsplit(endpoint)
    for path in ("slots", "props"):
        url = f"{parts.scheme}://{parts.netloc}/{path}"
        try:
            answer: Any = await client.get(url, cast_to=object, options={"timeout": _PATIENCE, "max_retries": 0})
        except (openai.OpenAIError, ValueError):
            continue
        if path == "slots" and isinstance(answer, list) and answer:
            return max(1, sum(not slot.get("is_processing") for slot in _entries(answer)))
        total = cast("dict[str, Any]", answer).get("total_slots") if isinstance(answer, dict) else None
        if isinstance(total, int) and total > 0:
            return total
    return None
