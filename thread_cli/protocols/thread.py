"""THREAD's wire format (arXiv 2405.17402, its published prompts).

A thread writes prose, code and lines that listen: `line =>`. A line that begins with `>` (or `# >`) acts, any other
spawns a child. The engine answers `=>feedback<=` on the same line; feedback of several lines stands on lines of its
own. Where the prompt has a fence, an action may have several lines: they stand between a line that begins with the
fence and a line of the fence alone, which listens.

Where the prompt has a mark for it, the lines above the listen token that begin with the mark are a list, and each of
them spawns a child: `several` for children that are waited for, `background` for children that are awaited later.
Where the prompt says that threads are `independent`, a line `name = line` spawns a child whose result is a variable:
the thread goes on, and waits for it where it needs the variable.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.protocol import Act, Await, Child, End, Result, Spawn
from thread_cli.protocols.formats import Format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.model import StopReason
    from thread_cli.contracts.protocol import Move
    from thread_cli.protocols.formats import Dialect

__all__ = ["CLOSE", "FORMAT", "LISTEN", "ThreadProtocol"]

LISTEN: Final = "=>"
"""ω_listen: the stop string after which a thread waits for a child or an observation."""
CLOSE: Final = "<="
"""The token that ends the text that the engine appends after ω_listen."""
_SEPARATOR: Final = "\n\n\n\n\n\n"
_NAMED: Final = re.compile(r"([^\W\d]\w*) = (?=\S)")
_AWAIT: Final = re.compile(r"await\b\s*+(any|all)?[\s:]*+((?:\d[\d\s,]*)?)")


class _Fenced(NamedTuple):
    """The end of a text in which an action is fenced."""

    before: str
    """What stands before the action."""
    action: str | None
    """The action; None where it is none."""
    wrong: str = ""
    """Why it is none."""


class _Listed(NamedTuple):
    """The end of a text in which a list spawns children."""

    before: str
    """What stands before the list."""
    lines: tuple[str, ...]
    """Its lines, without the mark."""
    mark: str
    """How each of them begins."""


class ThreadProtocol:
    """The format, with parameters for its dialects.

    Args:
        start: token before a thread's Y, such as `#START#`.
        end: ω_end, the token after it.
        blank_line: whether an empty line follows each feedback; without it, one line may listen several times.
        comment: prefix of each line of an action's feedback of several lines, such as `# `.
        fence: how the line before an action of several lines begins, and all of the line after it; empty: no fences.
            Pairs of such lines in between belong to the action, where more than the fence stands on the first line of
            each pair.
        several: how each line of a list begins whose lines spawn children that the thread waits for; empty: no lists.
        background: the same for children that run in the background. `await` with their handles, or `await any` or
            `await all`, waits for them. Empty: there are none.
        independent: whether a line `name = line` spawns a child in the background, whose result the variable gets.
    """

    def __init__(
        self,
        *,
        start: str,
        end: str,
        blank_line: bool = True,
        comment: str = "",
        fence: str = "",
        several: str = "",
        background: str = "",
        independent: bool = False,
    ) -> None:
        self.stop = (LISTEN, end, f"{_SEPARATOR}Prompt:")
        self._start = start
        self._close = CLOSE + ("\n\n" if blank_line else "")
        self._comment = comment
        self._fence = fence
        self._several = several
        self._background = background
        self._independent = independent

    @classmethod
    def of(cls, dialect: Dialect, options: Mapping[str, str]) -> Self:  # noqa: ARG003 - it has none
        """The format in which a prompt with these rules is written."""
        return cls(
            start=dialect.start,
            end=dialect.end,
            blank_line=dialect.blank_line,
            comment=dialect.comment,
            fence=dialect.fence,
            several=dialect.several,
            background=dialect.background,
            independent=dialect.independent,
        )

    def open(self, context: str) -> str:
        return f"{_SEPARATOR}Prompt:\n{context}\n\n\nResponse:\n{self._start}\n"

    def read(self, y: str, stop: StopReason) -> Move:
        line = _last_line(y)
        if stop == "end" or (stop == "stop" and _ends(line)):
            return End()
        repaired = not line.strip()
        if repaired:
            # The listen token stands on a line of its own: the line before it is the one to carry out.
            line = y.rstrip().rpartition("\n")[2]
        if not line.strip() or line.rstrip().endswith(CLOSE):
            raise MalformedOutput("a line listens without saying for what")
        fenced = self._fenced(y.rstrip()) if self._fence else None
        if fenced is not None and fenced.action is not None:
            return Act(fenced.action, repaired, verbatim=True)
        if fenced is not None and fenced.wrong:
            raise MalformedOutput(fenced.wrong)
        if line.lstrip("# ").startswith(">"):
            return Act(line.lstrip("# ").lstrip("> ").strip(), repaired)
        if (self._several or self._background or self._independent) and LISTEN not in line:
            return self._threads(y.rstrip() if repaired else y, line, repaired)
        return Spawn((line,), repaired)

    def body(self, text: str, stop: StopReason) -> str:
        head, _, line = text.rpartition("\n")
        if stop == "end" or (stop == "stop" and _ends(line)):
            return text
        fenced = self._fenced(text.rstrip()) if self._fence else None
        if fenced is not None:
            return fenced.before
        if self._background and not line.strip():
            text = text.rstrip()
            head = text.rpartition("\n")[0]  # else a line that awaits would be taken for code
        listed = self._listed(text if line.strip() else text.rstrip())
        return head if listed is None else listed.before

    def _threads(self, y: str, line: str, repaired: bool) -> Spawn | Await:
        """The move of a line that does not act, where threads may be spawned by lists."""
        listed = self._listed(y)
        if listed is not None:
            for said in listed.lines:
                if not said.strip() or said.lstrip("# ").startswith(">"):
                    raise MalformedOutput("each line of a list starts a thread: it cannot be empty, and cannot act")
            return Spawn(listed.lines, repaired, waits=listed.mark != self._background)
        if self._independent and (named := _NAMED.match(line)) and not iskeyword(named[1]):
            return Spawn((Child(line[named.end() :], name=named[1]),), repaired, waits=False)
        if not self._background or not re.match(r"\s*await\b", line):
            return Spawn((line,), repaired)
        asked = _AWAIT.fullmatch(line.strip())
        if asked is None or not (asked[1] or asked[2]):
            raise MalformedOutput("await is followed by any, by all, or by the numbers of threads")
        return Await(tuple(re.findall(r"\d+", asked[2])), "any" if asked[1] == "any" else "all", repaired)

    def _listed(self, text: str) -> _Listed | None:
        """The list that a text ends in; None where its last line has no mark."""
        last = text[text.rfind("\n") + 1 :]
        mark = next((mark for mark in (self._several, self._background) if mark and last.startswith(mark)), None)
        if mark is None:
            return None
        lines: list[str] = []
        at = len(text)
        while at >= 0:
            begin = text.rfind("\n", 0, at) + 1
            line = text[begin:at]
            # A line that has listened is no part of the list, and neither is a line of what the engine answered.
            if not line.startswith(mark) or LISTEN in line:
                break
            lines.append(line[len(mark) :])
            at = begin - 1
        return _Listed(text[: max(at, 0)], tuple(reversed(lines)), mark)

    def _fenced(self, text: str) -> _Fenced | None:
        """The fenced action that a text ends in; None where its last line stands in none, and is no line of a fence."""
        *lines, last = text.split("\n")
        # What the engine answered ends what can be fenced: a model's own lines hold no listen token.
        since = next((at + 1 for at in range(len(lines) - 1, -1, -1) if self._answered(lines[at])), 0)
        opened: list[int] = []
        for at in range(since, len(lines)):
            if opened and lines[at].rstrip() == self._fence:
                opened.pop()
            elif lines[at].startswith(self._fence):
                opened.append(at)
        before, fence = "\n".join(lines[: opened[0]] if opened else lines), self._fence
        if last.strip() != fence:
            if not opened and not last.startswith(fence):
                return None
            why = f"it cannot hold the token that listens, and a line of {fence} alone has to close it"
            return _Fenced(before, None, f"an action that begins with a line of {fence} listens before its end: {why}")
        if not opened:
            return _Fenced(before, None, f"a line of {fence} listens, and no line before it opens an action")
        if len(opened) > 1:
            return _Fenced(before, None, f"a line of {fence} listens, and more lines open an action than close one")
        return _Fenced(before, "\n".join(lines[opened[0] + 1 :]))

    def _answered(self, line: str) -> bool:
        """Whether the engine has answered on that line."""
        return LISTEN in line or line.removeprefix(self._comment).startswith(CLOSE)

    def join(self, results: Sequence[Result]) -> str:
        return self._feedback("\n".join(self._result(result, alone=len(results) == 1) for result in results), "")

    def spawned(self, handles: Sequence[str]) -> str:
        return self._feedback(" ".join(handles), "")

    def _result(self, result: Result, *, alone: bool) -> str:
        """The text of a result, behind the child's handle, or the mark of the line that spawned it among others."""
        lead = f"{result.handle}: " if result.handle else "" if alone else self._several
        return lead + result.text.replace("\n", "\n" + " " * len(lead))

    def answer(self, observation: str) -> str:
        return self._feedback(observation, self._comment)

    def _feedback(self, text: str, prefix: str) -> str:
        if "\n" in text:
            text = "\n" + "".join(f"{prefix}{line}\n" for line in text.split("\n")) + prefix
        return LISTEN + text + self._close


def _last_line(y: str) -> str:
    """The line that Y ends with; feedback of several lines on it is part of it."""
    line = y.rpartition("\n")[2]
    while line.lstrip("# ").startswith(CLOSE) and (opened := y.rfind(f"{LISTEN}\n", 0, len(y) - len(line))) >= 0:
        line = y[y.rfind("\n", 0, opened) + 1 :]
    return line


def _ends(line: str) -> bool:
    """Whether a text that ends with `line` ends the thread, by the paper's rule, for backends that cannot tell."""
    return not line.strip() or line.lstrip().startswith("print(")


FORMAT: Final = Format("THREAD: a line that ends in => acts, or spawns a thread and waits for it", ThreadProtocol.of)
"""THREAD's format, as prompts name it."""
