"""THREAD's wire format (arXiv 2405.17402, its published prompts).

A thread writes prose, code and lines that listen: `line =>`. A line that begins with `>` (or `# >`) acts, any other
spawns a child. The engine answers `=>feedback<=` on the same line; feedback of several lines stands on lines of its
own. Where the prompt has a fence, an action may have several lines: they stand between a line that begins with the
fence and a line of the fence alone, which listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.protocol import Act, End, Result, Spawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.model import StopReason

__all__ = ["CLOSE", "LISTEN", "ThreadProtocol"]

LISTEN: Final = "=>"
"""ω_listen: the stop string after which a thread waits for a child or an observation."""
CLOSE: Final = "<="
"""The token that ends the text that the engine appends after ω_listen."""
_SEPARATOR: Final = "\n\n\n\n\n\n"


class ThreadProtocol:
    """The format, with parameters for its dialects.

    Args:
        start: token before a thread's Y, such as `#START#`.
        end: ω_end, the token after it.
        blank_line: whether an empty line follows each feedback; without it, one line may listen several times.
        comment: prefix of each line of an action's feedback of several lines, such as `# `.
        fence: how the line before an action of several lines begins, and all of the line after it; empty: no fences.
    """

    def __init__(self, *, start: str, end: str, blank_line: bool = True, comment: str = "", fence: str = "") -> None:
        self.stop = (LISTEN, end, f"{_SEPARATOR}Prompt:")
        self._start = start
        self._close = CLOSE + ("\n\n" if blank_line else "")
        self._comment = comment
        self._fence = fence

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
        if self._closes(line):
            _, fenced = self._fenced(y.rstrip())
            if fenced is None:
                raise MalformedOutput(f"a line of {self._fence} listens, and no line before it opens an action")
            return Act(fenced, repaired, verbatim=True)
        if line.lstrip("# ").startswith(">"):
            return Act(line.lstrip("# ").lstrip("> ").strip(), repaired)
        return Spawn((line,), repaired)

    def body(self, text: str, stop: StopReason) -> str:
        head, _, line = text.rpartition("\n")
        if stop == "end" or (stop == "stop" and _ends(line)):
            return text
        return self._fenced(text.rstrip())[0] if self._closes(text.rstrip().rpartition("\n")[2]) else head

    def _closes(self, line: str) -> bool:
        return bool(self._fence) and line.strip() == self._fence

    def _fenced(self, text: str) -> tuple[str, str | None]:
        """What stands before the fenced action that a text ends with, and the action; None where none begins."""
        lines = text.split("\n")[:-1]
        for opening in range(len(lines) - 1, -1, -1):
            if lines[opening].startswith(self._fence):
                return "\n".join(lines[:opening]), "\n".join(lines[opening + 1 :])
        return "\n".join(lines), None

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
