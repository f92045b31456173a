"""THREAD's wire format (arXiv 2405.17402, its published prompts).

A thread writes prose, code and lines that listen: `line =>`. A line that begins with `>` (or `# >`) acts, any other
spawns a child. The engine answers `=>feedback<=` on the same line; feedback of several lines stands on lines of its
own. Where the prompt has a fence, an action may have several lines: they stand between a line that begins with the
fence and a line of the fence alone, which listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self
from typing import Protocol as TypingProtocol

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.protocol import Act, End, Result, Spawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.model import StopReason

__all__ = ["CLOSE", "LISTEN", "Dialect", "ThreadProtocol"]

LISTEN: Final = "=>"
"""ω_listen: the stop string after which a thread waits for a child or an observation."""
CLOSE: Final = "<="
"""The token that ends the text that the engine appends after ω_listen."""
_SEPARATOR: Final = "\n\n\n\n\n\n"


class Dialect(TypingProtocol):
    """What a prompt's rules say about its wire format."""

    @property
    def start(self) -> str: ...
    @property
    def end(self) -> str: ...
    @property
    def opening(self) -> str: ...
    @property
    def blank_line(self) -> bool: ...
    @property
    def fence(self) -> str: ...
    @property
    def comment(self) -> str:
        """Prefix of each line of an observation of several lines."""
        ...


class _Fenced(NamedTuple):
    """The end of a text in which an action is fenced."""

    before: str
    """What stands before the action."""
    action: str | None
    """The action; None where it is none."""
    wrong: str = ""
    """Why it is none."""


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
    """

    def __init__(self, *, start: str, end: str, blank_line: bool = True, comment: str = "", fence: str = "") -> None:
        self.stop = (LISTEN, end, f"{_SEPARATOR}Prompt:")
        self._start = start
        self._close = CLOSE + ("\n\n" if blank_line else "")
        self._comment = comment
        self._fence = fence

    @classmethod
    def of(cls, dialect: Dialect, options: Mapping[str, str]) -> Self:  # noqa: ARG003 - it has none
        """The format in which a prompt with these rules is written."""
        return cls(
            start=dialect.start,
            end=dialect.end,
            blank_line=dialect.blank_line,
            comment=dialect.comment,
            fence=dialect.fence,
        )

    def open(self, context: str) -> str:
        return f"{_SEPARATOR}Prompt:\n{context}\n\n\nResponse:\n{self._start}\n"

    def read(self, y: str, stop: StopReason) -> Spawn | Act | End:
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
        return Spawn((line,), repaired)

    def body(self, text: str, stop: StopReason) -> str:
        head, _, line = text.rpartition("\n")
        if stop == "end" or (stop == "stop" and _ends(line)):
            return text
        fenced = self._fenced(text.rstrip()) if self._fence else None
        return head if fenced is None else fenced.before

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
        return self._feedback("\n".join(result.text for result in results), "")

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
