"""A model that answers from a script: for tests, demonstrations and trying out prompts.

A plain-text script is a list of answers, divided by lines `---`, given in the order in which the model is called. A
TOML script answers by thread: each `[[thread]]` table has a `text`, all that such a thread writes, in which every stop
string, such as `=>`, ends an answer; it selects threads by `path` (a pattern such as `0.*`) or `context` (a regular
expression searched in the thread's context) or neither. The first table that fits answers for the thread. With `pace`,
each word takes so many seconds.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thread_cli.contracts.errors import ModelError, UserError
from thread_cli.contracts.model import Completion, Piece, Usage
from thread_cli.protocols.text import estimated_tokens, meaning, stopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from thread_cli.contracts.model import Request

__all__ = ["Role", "ScriptedModel", "load_script"]


_WORD: Final = re.compile(r"\s*\S+|\s+$")


class Role(BaseModel):
    """The text of one kind of thread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    context: re.Pattern[str] | None = None
    text: str

    def fits(self, request: Request) -> bool:
        return (self.path is None or fnmatch.fnmatchcase(request.thread, self.path)) and (
            self.context is None or self.context.search(request.c) is not None
        )


class _Script(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pace: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    thread: list[Role] = Field(min_length=1)


class ScriptedModel:
    """Answers from a script; an answer is cut at the first stop string, as a model would stop there.

    Args:
        script: answers in the order of the calls, or roles, or a function from request to answer.
        pace: seconds that each word takes where an answer is streamed.
    """

    def __init__(self, script: Sequence[str] | Sequence[Role] | Callable[[Request], str], *, pace: float = 0.0) -> None:
        self._pace = pace
        if callable(script):
            self._answer = script
        elif all(isinstance(part, Role) for part in script):
            self._answer = _Cast([part for part in script if isinstance(part, Role)])
        else:
            self._answer = _InOrder([str(part) for part in script])

    async def complete(self, request: Request) -> Completion:
        answer = self._answer(request)
        text, string = stopped(answer, request.stop) or (answer, None)
        stop = "end" if string is None else meaning(string, request.stop)
        usage = Usage(
            prompt=estimated_tokens(request.prompt),
            generated=estimated_tokens(text),
            estimated=True,
            cached_known=False,
        )
        return Completion(text, stop, usage, stop_string=string)

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """The answer that `complete` gives, word by word; all at once where words take no time."""
        completion = await self.complete(request)
        text = ""
        try:
            for word in _WORD.findall(completion.text) if self._pace else [completion.text]:
                if self._pace:
                    await asyncio.sleep(self._pace)
                yield Piece(word, tokens=estimated_tokens(text + word) - estimated_tokens(text))
                text += word
        except asyncio.CancelledError:
            usage = replace(completion.usage, generated=estimated_tokens(text))
            completion = replace(completion, text=text, stop="cut", usage=usage, stop_string=None)
        yield completion

    async def close(self) -> None:
        pass


class _InOrder:
    """The answers one after the other."""

    def __init__(self, answers: list[str]) -> None:
        self._answers = answers
        self._calls = 0

    def __call__(self, request: Request) -> str:
        if self._calls >= len(self._answers):
            raise ModelError(f"the script ends after {self._calls} answers, and thread {request.thread} asks for more")
        self._calls += 1
        return self._answers[self._calls - 1]


class _Cast:
    """Each thread's role, line by line. A thread that asks the same again is answered the same."""

    def __init__(self, roles: list[Role]) -> None:
        self._roles = roles
        self._heard: dict[str, list[int]] = {}
        """For each thread, the lengths of Y with which it has asked."""

    def __call__(self, request: Request) -> str:
        if not request.y:
            self._heard[request.thread] = []
        heard = self._heard.setdefault(request.thread, [])
        if len(request.y) not in heard[-1:]:
            heard.append(len(request.y))
        for role in self._roles:
            if role.fits(request):
                ends = [stop.end() for stop in re.finditer("|".join(map(re.escape, request.stop)), role.text)]
                begin, end = ([0, *ends, None] + [None] * len(heard))[len(heard) - 1 : len(heard) + 1]
                return "" if begin is None else role.text[begin:end]
        raise ModelError(f"the script has no role for thread {request.thread}: {request.c.strip()[-60:]!r}")


def load_script(path: Path) -> ScriptedModel:
    """The model of a script file.

    Raises:
        UserError: the file cannot be read or is not a script.
    """
    try:
        text = path.read_text("utf-8")
        if path.suffix != ".toml":
            return ScriptedModel(re.split(r"^---\n", text, flags=re.MULTILINE))
        script = _Script.model_validate(tomllib.loads(text))
        return ScriptedModel(script.thread, pace=script.pace)
    except OSError as error:
        raise UserError(f"script {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"script {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise UserError(f"script {path}: {error}") from None
