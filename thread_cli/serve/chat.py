"""Conversations as prompts, by the chat template that a model brings along."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from thread_cli.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template, nodes
    from jinja2.parser import Parser

    from thread_cli.models.llama.call import Description

__all__ = ["ChatTemplate", "RenderedPrompt"]

_MARK: Final = "\N{OBJECT REPLACEMENT CHARACTER}\N{INTERLINEAR ANNOTATION ANCHOR}"
"""Stands where a begun answer ends; no text has both characters in a row."""

_CHATML: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}`: marks text to be learnt in training; here, only its content counts."""

    tags = {"generation"}  # noqa: RUF012 -- as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A model's chat template, or ChatML where its file has none. It runs in a sandbox: files come from anywhere.

    `trouble` says why the template cannot be read, and is empty if it can; without a template there are no
    conversations.
    """

    def __init__(self, description: Description) -> None:
        # As transformers renders them: the same white space, tags, filters and functions.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _json
        environment.globals.update(raise_exception=_raise, strftime_now=_now)  # pyright: ignore[reportArgumentType]
        self._description = description
        self._source = description.template or _CHATML
        self._template: Template | None = None
        self.trouble = ""
        try:
            self._template = environment.from_string(self._source)
        except Exception as error:  # noqa: BLE001 -- a file may hold anything, and raw completions need none of it
            self.trouble = f"the model's chat template cannot be read: {' '.join(str(error).split())}"

    def render(self, messages: Sequence[dict[str, str]]) -> RenderedPrompt:
        """The prompt of a conversation. An answer of the assistant at its end is left open, to be continued.

        Roles that the template does not know are mapped: `developer` to `system`, a system message that it refuses or
        passes over to the beginning of the user's, others to `user`.

        Raises:
            Refused: the template cannot be read, or does not take these messages.
        """
        if self._template is None:
            raise Refused(400, f"{self.trouble}; /v1/completions works", parameter="messages")
        known = [{**message, "role": self._known(message["role"])} for message in messages]
        first: Exception | None = None
        lossy: list[RenderedPrompt] = []
        for shape in (known, _merged(known), _merged(_without_system(known))):
            try:
                prompt = self._rendered(self._template, shape)
            except Refused:
                raise
            except Exception as error:  # noqa: BLE001 -- a template may do anything with what it is given
                first = first or error
                continue
            if all(message["content"].strip() in prompt.text for message in shape if message["role"] != "assistant"):
                return prompt
            lossy.append(prompt)
        if lossy:
            return lossy[0]
        reason = " ".join(str(first).split())
        raise Refused(400, f"the chat template does not take these messages: {reason}", parameter="messages") from None

    def _known(self, role: str) -> str:
        if role in ("system", "user", "assistant") or re.search(rf"""['"]{re.escape(role)}['"]""", self._source):
            return role
        return "system" if role == "developer" else "user"

    def _rendered(self, template: Template, messages: Sequence[dict[str, str]]) -> RenderedPrompt:
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else None
        # The text that closes an answer follows the mark, so it is cut off with the mark.
        conversation = (
            [*messages[:-1], {"role": "assistant", "content": f"{begun}{_MARK}"}] if begun is not None else messages
        )
        text = template.render(
            messages=list(conversation),
            add_generation_prompt=begun is None,
            bos_token=self._description.begin,
            eos_token=self._description.end,
            tools=None,
            documents=None,
        )
        if begun is not None:
            text, mark, _ = text.rpartition(_MARK)
            if not mark:
                raise TemplateError("it leaves the begun answer out")
        if self._description.begins and self._description.begin:
            # The tokenizer begins every prompt with it.
            text = text.removeprefix(self._description.begin)
        closing = _open_thought(text.removesuffix(begun or ""))
        if begun is not None and closing:
            raise Refused(
                400, "the chat template puts a begun answer into a thought: leave it to the user's message",
                parameter="messages",
            )  # fmt: skip
        return RenderedPrompt(text, closing)


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A rendered conversation. `thought` is the tag that closes the reasoning in which it ends; empty if in none."""

    text: str
    thought: str = ""


def _open_thought(text: str) -> str:
    """The closing tag of reasoning that the end of a prompt has opened."""
    opened = re.search(r"<(think|thinking|thought)>\s*\Z|\[THINK\]\s*\Z", text)
    if opened is None:
        return ""
    return f"</{opened[1]}>" if opened[1] else "[/THINK]"


def _merged(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Messages of the same role in a row as one, for templates that want roles to alternate."""
    merged: list[dict[str, str]] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1] = {**message, "content": f"{merged[-1]['content']}\n\n{message['content']}"}
        else:
            merged.append(message)
    return merged


def _without_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [{**message, "role": "user"} if message["role"] == "system" else message for message in messages]


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
