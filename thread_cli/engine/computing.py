"""The Python of an episode: a prompt's setup, the code in the text of threads, and actions that are code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.environment import Step
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import CodeRan
from thread_cli.contracts.interpreter import Outcome, SessionDead
from thread_cli.engine.episode import plain
from thread_cli.engine.limits import before
from thread_cli.protocols.code import Code, find_code, parse

if TYPE_CHECKING:
    from thread_cli.contracts.interpreter import Interpreter
    from thread_cli.contracts.model import Completion
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.thread import Thread
    from thread_cli.protocols.prompt import Prompt

__all__ = ["Computing"]

_TOO_LONG: Final = Outcome(error="TimeoutError: not run, the code before it took too long")


@dataclass(slots=True)
class Computing:
    """Runs the code of one episode's threads, each over the names of its thread."""

    interpreter: Interpreter
    prompt: Prompt
    recorder: Recorder

    async def set_up(self, root: Thread) -> None:
        """Run the Python that the prompt brings along; raises UserError where it fails."""
        code = self.prompt.rules.setup
        outcome = await self._outcome(root, Code(code, tuple(parse(code))))
        if outcome.error is not None:
            raise UserError(f"prompt {self.prompt.name}: setup: {outcome.error}")
        root.names.bind(outcome.names, outcome.gone)

    async def run(self, thread: Thread, written: Completion) -> None:
        """Run the code in a completion. The thread gets its names, its last print and its error."""
        thread.error = None
        text, thread.held = thread.held + written.text, ""
        show = self.prompt.rules.code_errors == "show"
        spent = 0.0
        for code in find_code(thread.protocol.body(text, written.stop), apart=not show):
            outcome = await self._outcome(thread, code) if spent <= self.interpreter.patience else _TOO_LONG
            thread.budget.charge("working_time", outcome.seconds)
            thread.names.bind(outcome.names, outcome.gone)
            printed = None if outcome.printed is None else plain(outcome.printed)
            error = None if outcome.error is None else plain(outcome.error)
            if printed is not None or (error is not None and "print(" in code.source):
                # A final print that fails shows nothing, whatever an earlier one showed.
                thread.printed = None if error is not None else printed
            thread.error = thread.error or error
            bound = tuple(outcome.names)
            self.recorder.emit(CodeRan, thread, code=code.source, bound=bound, printed=printed, error=error)
            spent += outcome.seconds
            if (error is not None and show) or outcome is _TOO_LONG:
                return

    async def answer(self, thread: Thread, line: str) -> tuple[Step, float]:
        """Carry out an action that is Python: its print, or its error, is the observation. Returns the seconds, too."""
        try:
            outcome = await self._outcome(thread, Code(line, tuple(parse(line))))
        except SyntaxError as error:
            return Step(f"SyntaxError: {error.msg}"), 0.0
        thread.names.bind(outcome.names, outcome.gone)
        return Step(plain(outcome.error or (outcome.printed or "").rstrip("\n"))), outcome.seconds

    async def _outcome(self, thread: Thread, code: Code) -> Outcome:
        try:
            with before(thread.deadline):
                outcome = await self.interpreter.run(code.source, thread.names.values, thread=thread.path)
        except SessionDead as death:
            outcome = Outcome(error=str(death))
        if (following := self.recorder.following) is not None:
            await following.turn(thread)
        return outcome
