"""Conversations as prompts, by the chat template that a model brings along."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from thread_cli.engine.errors import UserError
from thread_cli.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.models.llama.call import Description

__all__ = ["ChatTemplate"]

_CHATML: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class ChatTemplate:
    """A model's chat template, or ChatML where its file has none. It runs in a sandbox: files come from anywhere.

    Raises:
        UserError: the template is not Jinja.
    """

    def __init__(self, description: Description) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _json
        environment.globals.update(raise_exception=_raise, strftime_now=_now)  # pyright: ignore[reportArgumentType]
        try:
            self._template = environment.from_string(description.template or _CHATML)
        except TemplateError as error:
            raise UserError(f"the model's chat template cannot be read: {error}") from None
        self._description = description

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The prompt of a conversation. An answer of the assistant at its end is left open, to be continued.

        Raises:
            Refused: the template does not take these messages.
        """
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else None
        told = self._description
        try:
            prompt = self._template.render(
                messages=list(messages if begun is None else messages[:-1]),
                add_generation_prompt=True,
                bos_token=told.begin,
                eos_token=told.end,
            )
        except Exception as error:  # noqa: BLE001 -- a template may do anything with what it is given
            raise Refused(
                400, f"the chat template does not take these messages: {error}", parameter="messages"
            ) from None
        if told.begins and told.begin:
            # The tokenizer begins every prompt with it.
            prompt = prompt.removeprefix(told.begin)
        return prompt + (begun or "")


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
