"""The executor: THREAD as a machine.

A thread generates text until it listens or ends. A line that listens either acts on the environment or spawns
children; the thread then waits for the answer, reads it, and goes on generating. A thread that ends returns only the
text that its parent needs. `Executor._thread` says just this; the rest of the module carries out each of these steps.
Threads are born and end in `family.py`, and their code is run in `computing.py`. Three kinds of children need more than
that: children that are awaited later (`background.py`), children whose results are variables (`promises.py`), and
children beside a text that goes on (`aside.py`). A thread that has none of them meets none of that code. Nor does one
of an ordinary episode meet `following.py`: it leads the threads of an episode that repeats a recorded one.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Literal

from thread_cli.contracts.errors import (
    Ending,
    LimitReached,
    MalformedOutput,
    ModelError,
    ReturnedNothing,
    ThreadFailure,
)
from thread_cli.contracts.events import (
    Acted,
    Corrected,
    EpisodeStarted,
    Generating,
    Observed,
    Recorded,
    Repaired,
)
from thread_cli.contracts.interpreter import Ends
from thread_cli.contracts.limits import ChildLimits, Limits
from thread_cli.contracts.model import Request
from thread_cli.contracts.protocol import Act, Aside, End, Joining, Result, Returns, Spawn
from thread_cli.contracts.writer import Feedback
from thread_cli.engine.aside import look_aside
from thread_cli.engine.background import Background
from thread_cli.engine.boundary import blaming, go_on
from thread_cli.engine.computing import Computing
from thread_cli.engine.episode import Episode, Recorder, judge, plain
from thread_cli.engine.family import Family
from thread_cli.engine.joining import join, joined, lines_of, refuse_failed, said
from thread_cli.engine.limits import before, refuse_late, time_is_up
from thread_cli.engine.promises import needed_by_code, needed_by_move, settle
from thread_cli.engine.stage import EpisodeOver, Stage, WorldOver, as_read
from thread_cli.engine.thread import is_first_of_its_format
from thread_cli.engine.unfinished import refuse_cut_off, refuse_reasoning
from thread_cli.engine.watching import Watching
from thread_cli.engine.width import Permits
from thread_cli.protocols.context import Ended, Spawning, phi, psi
from thread_cli.protocols.streams import completed
from thread_cli.protocols.text import estimated_tokens
from thread_cli.protocols.turns import conversation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.events import Event, Sink
    from thread_cli.contracts.interpreter import Interpreter
    from thread_cli.contracts.limits import Budgets
    from thread_cli.contracts.model import Completion, Model
    from thread_cli.contracts.protocol import Await, Child, Protocol
    from thread_cli.contracts.watcher import Watcher
    from thread_cli.engine.following import Following
    from thread_cli.engine.pending import Pending
    from thread_cli.engine.thread import Thread
    from thread_cli.protocols.prompt import Prompt

__all__ = ["Executor"]


class Executor:
    """Plays one episode.

    Args:
        model: writes the threads.
        prompt: the few-shot prompt q and its rules.
        interpreter: runs the code that threads write.
        environment: what threads act on; None for tasks without one.
        limits: of the whole task.
        child_limits: what each spawned thread with all below it may spend, where that is to be less.
        on_failure: what becomes of a failed child: `report` gives its parent an account of the failure, `retry` first
            tries once more, with the environment rewound, where it can be; `abort` ends the episode.
        temperature, seed: of sampling.
        sinks: consumers of the event stream.
        protocol: the wire format, where it is not the one that the prompt declares.
        watchers: see events and generated text, and may end threads or the episode.
        logprobs: whether the model is asked for the tokens that it writes and their log-probabilities, to be recorded.
        policy: the version of the model, to be recorded.
        max_parallel: how many threads may be in a call of the model at once; None for any number, as in replays: a
            recorded model knows what came when.
    """

    def __init__(
        self,
        *,
        model: Model,
        prompt: Prompt,
        interpreter: Interpreter,
        environment: Environment | None = None,
        limits: Limits | None = None,
        child_limits: Budgets | None = None,
        on_failure: Literal["report", "retry", "abort"] = "report",
        temperature: float = 0.0,
        seed: int | None = None,
        sinks: Sequence[Sink] = (),
        protocol: Protocol | None = None,
        watchers: Sequence[Watcher] = (),
        logprobs: bool = False,
        policy: str = "",
        max_parallel: int | None = None,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._interpreter = interpreter
        self._ends = interpreter if isinstance(interpreter, Ends) else None
        self._environment = environment
        self._limits = limits or Limits()
        self._child_limits = child_limits and ChildLimits(**dict(child_limits))
        self._on_failure = on_failure
        self._temperature = temperature
        self._seed = seed
        self._logprobs = logprobs
        recorded = model if isinstance(model, Recorded) else None
        self._policy = policy if recorded is None else recorded.policy
        self._recording = None if recorded is None else recorded.recording
        self._max_parallel = max_parallel if recorded is None else None
        self._watching = Watching(watchers) if watchers else None
        self._sinks = [*sinks, self._watching] if self._watching else sinks
        self._protocol = protocol

    async def run(self, task: Task, environment_name: str = "none") -> Episode:
        """Play `task` to its end. Afterwards all that was started has stopped, also where this call is cancelled.

        Raises:
            asyncio.CancelledError: the call was cancelled; the episode is recorded as that.
            UserError: a plug-in cannot be used as it is, or the log cannot be written.
            Exception: a fault of the engine; recorded first, then raised again.
        """
        self._phi_of = phi(self._prompt.rules.phi)
        self._psi_of = psi(self._prompt.rules.psi)
        following = None if self._recording is None else _following(self._recording)
        self._recorder, self._following = Recorder(task.id, self._sinks, following), following
        self._stage = Stage(self._environment)
        protocol = self._protocol or self._prompt.protocol()
        self._by_psi = None if isinstance(protocol, Returns) else protocol
        self._family = Family(
            self._recorder,
            self._course,
            phi=self._phi,
            so_far=self._so_far,
            protocol=protocol,
            limits=self._limits,
            child_limits=self._child_limits,
            stage=self._stage,
            orphans=self._prompt.rules.orphans,
        )
        self._computing = Computing(self._interpreter, self._prompt, self._recorder)
        self._background: Background | None = None
        self._passed = ""
        """The limit that code went on beyond, in words."""
        self._permits = None if self._max_parallel is None else Permits(self._max_parallel)
        if self._watching:
            self._watching.begin(self._family)
        root = self._family.root()
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        about = {"environment": environment_name, "task": task.id, "category": task.category, "policy": self._policy}
        self._recorder.emit(EpisodeStarted, root, at=now, protocol=self._prompt.rules.protocol, **about)
        answer, error = None, None
        try:
            if following is not None:
                following.opening()
            root.context = root.task = await self._stage.open(task, root.deadline)
            root.names.tell("task", root.context)
            root.names.tell("observation", root.context)
            if self._prompt.rules.setup.strip():
                await self._computing.set_up(root)
            self._family.start(root)
            answer = await self._family.over
        except BaseException as caught:  # noqa: BLE001 - recorded, then raised again
            error = caught
        episode, error = await self._judged(task, root, answer, await self._family.close(error))
        try:
            self._recorder.end(root, episode, self._family.stopped_because, self._family.stopped_with)
        except Exception as untold:  # noqa: BLE001 - the first error is the one that is raised
            raise (untold if error is None or isinstance(error, ThreadFailure) else error) from None
        finally:
            # These refer to each other by way of this object; without it, all that the episode held is freed at once.
            del self._family, self._background
        if error is not None and not isinstance(error, ThreadFailure):
            raise error
        return episode

    async def _judged(
        self, task: Task, root: Thread, answer: Result | None, error: BaseException | None
    ) -> tuple[Episode, BaseException | None]:
        """The verdict over an episode that has ended, and the error that ended it; marks may bring an error, too."""
        text, totals = answer and answer.text, self._recorder.totals()
        marks: Mapping[str, float] = {}
        if error is None and self._following is not None and self._following.judged_late:
            error = time_is_up(None)
        elif error is None:
            marks, error = await self._stage.marks(task, text, root.deadline)
        reward = self._stage.reward
        episode = judge(self._environment, text, reward=reward, marks=marks, error=error, totals=totals)
        if self._family.stopped_because:
            episode = replace(episode, message=f"a watcher ended the episode: {self._family.stopped_because}")
        elif self._passed and error is None:
            episode = replace(episode, message=f"{episode.message}; {self._passed}")
        return episode, error

    # --- THREAD

    async def _course(self, thread: Thread) -> Result:
        """A thread from its start to its end; what its code needed is free for others then."""
        try:
            return await self._thread(thread)
        except WorldOver as over:
            return Result(self._so_far(thread) or plain(str(over)))
        finally:
            if self._ends is not None:
                self._ends.ended(thread.path)

    async def _thread(self, thread: Thread) -> Result:
        """A thread: it generates, its code is run, and its move carried out, until it ends."""
        while True:
            written = await self._generate(thread)
            if isinstance(written.move, Aside):
                await look_aside(self._recorder, self._family, thread, written.text, written.move.children)
                continue
            if thread.background is not None:
                await self._settle(thread, thread.background, needed_by_code(thread.background, thread, written))
            await self._computing.run(thread, written)
            try:
                move = written.move or thread.protocol.read(thread.y, written.stop)
                if thread.background is not None:
                    await self._settle(thread, thread.background, needed_by_move(thread.background, thread, move))
                if isinstance(move, End):
                    return self._returned(thread, closed=move.closed)
                if move.repaired:
                    self._recorder.emit(Repaired, thread)
                if self._code_failed(thread, written.text, move):
                    continue
                if await self._carry_out(thread, written.text, move):
                    return self._returned(thread, closed=False)
            except MalformedOutput as failure:
                self._correct(thread, written.text, failure.message)

    async def _settle(self, thread: Thread, pending: Pending[Thread], needed: list[str]) -> None:
        """Wait for children in the background whose results are variables that the thread needs now."""
        if needed:
            await settle(self._recorder, self._family, thread, pending, needed)

    def _carry_out(self, thread: Thread, written: str, move: Spawn | Await | Act) -> Awaitable[bool | None]:
        """Act, spawn children and wait for them, or spawn and await children in the background.

        Returns whether the thread ends with that.
        """
        if isinstance(move, Act):
            return self._act(thread, written, move)
        if isinstance(move, Spawn) and move.waits:
            return self._spawn(thread, written, move)
        if self._background is None:
            abort = self._on_failure == "abort"
            self._background = Background(self._recorder, self._family, self._stage, self._limits, abort=abort)
        return self._background.carry_out(thread, written, move)

    async def _generate(self, thread: Thread) -> Completion:
        """One call of the model, or of code that writes the thread beside it, appended to the thread's Y."""
        following = self._following
        if following is not None:
            await following.due(thread)
        try:
            thread.budget.demand_call()
        except LimitReached as limit:
            if not thread.concludes:
                raise
            self._passed = limit.message
        request = self._request(thread)
        self._recorder.emit(Generating, thread)
        thread.budget.charge("calls", 1)
        started = time.monotonic()
        try:
            if following is None:
                written = await self._asked(thread, request)
            else:
                written = await following.answer(thread, partial(self._asked, thread, request))
        except ThreadFailure as failure:
            if failure.usage is not None:
                thread.budget.charge_call(failure.usage, failure.usage.prompt)
            raise
        seconds = time.monotonic() - started if following is None else following.seconds(thread)
        if (text := plain(written.text)) != written.text:
            written = replace(written, text=text)
        usage = written.usage
        thread.write(text)
        thread.tokens, thread.by_code = written.tokens, bool(written.writer)
        unknown = bool(usage.generated) and not usage.prompt
        prompt_tokens = estimated_tokens(request.prompt) if unknown else usage.prompt
        thread.counted = (len(request.q) + len(request.c) + len(request.y), prompt_tokens)
        thread.budget.charge_call(usage, prompt_tokens)
        thread.budget.charge("working_time", max(0.0, seconds - written.waited))
        self._recorder.generated(thread, written, prompt_tokens, seconds)
        go_on()  # unless this thread was cancelled: what it had written until then is recorded all the same
        if following is not None:
            await following.due(thread)
        refuse_late(written, thread.deadline)
        if usage.cost is None and thread.budget.left("cost") < inf:
            raise thread.budget.reached("cost", "what a call costs is not known, so a limit of cost cannot be kept")
        if (written.reasoning.strip() or usage.reasoning) and not text.strip():
            refuse_reasoning(request, written)
        if written.stop == "length" and written.move is None:
            refuse_cut_off(thread.held + text, request.max_tokens, self._limits.max_tokens)
        return written

    async def _asked(self, thread: Thread, request: Request) -> Completion:
        """The answer of the model, within the thread's time."""
        with before(thread.deadline), blaming(ModelError):
            hear = self._watching and self._watching.hearing(thread.path)
            if self._permits is None:
                return await completed(self._model, request, hear)
            return await self._permits.held_for(thread.path, partial(completed, self._model, request, hear))

    def _request(self, thread: Thread) -> Request:
        """The request to go on with the thread's Y."""
        c, y = thread.prompt()
        prompt = thread.prompt_tokens(len(self._prompt.q) + len(c) + len(y))
        left = min(thread.budget.left("generated_tokens"), thread.budget.left("total_tokens") - prompt)
        if thread.concludes:
            left = max(1, left)
        elif left <= 0:
            thread.budget.demand("total_tokens", prompt + 1)
        max_tokens = int(max(1, min(self._limits.max_tokens, left)))
        return Request(
            q=self._prompt.q,
            c=c,
            y=y,
            stop=thread.stops,
            max_tokens=max_tokens,
            max_reasoning=int(max(0, min(self._limits.max_reasoning_tokens, left))),
            max_together=int(left) if left < max_tokens + self._limits.max_reasoning_tokens else None,
            conversation=conversation(self._prompt.q, c, y) if self._prompt.rules.chat == "turns" else None,
            until_circles=True,
            temperature=self._temperature,
            seed=self._seed,
            thread=thread.path,
            turn=thread.turn(),
            logprobs=self._logprobs,
        )

    async def _spawn(self, thread: Thread, written: str, move: Spawn) -> bool:
        """Start children, wait for all, and append what they return; returns whether the thread ends with that."""
        lines = move.lines
        step = thread.step(written, *map(thread.names.substitute, map(said, lines)), repeats=self._limits.repeats)
        self._repaired(thread, move.repairs)
        born, results = await self._fork(thread, lines)
        paths = [None if isinstance(child, Result) else child.path for child in born]
        parts, ends, kept = (move.join or thread.protocol.join)(results), False, None
        if isinstance(parts, Joining):
            self._repaired(thread, parts.repairs)
            parts, ends, kept = parts.parts, parts.ends, parts.kept
        read = join(self._recorder, thread, written, born, results, paths=paths, parts=parts, kept=kept)
        thread.stepped(step, read)
        return ends

    def _repaired(self, thread: Thread, repairs: Sequence[str]) -> None:
        for repair in repairs:
            self._recorder.emit(Repaired, thread, repair=repair)

    async def _act(self, thread: Thread, written: str, move: Act) -> None:
        """Carry out an action, and append the observation."""
        action = plain(move.line if move.verbatim else thread.names.substitute(move.line))
        step = thread.step(written, action, repeats=self._limits.repeats)
        self._recorder.emit(Acted, thread, action=action)
        if self._prompt.rules.actions == "code":
            answer, seconds = await self._computing.answer(thread, move.line)
        else:
            answer, seconds = await self._stage.act(action, thread.deadline, thread.path)
        if self._following is not None:
            await self._following.turn(thread)
        thread.budget.charge("working_time", seconds)
        seen = as_read(answer.observation, self._prompt.rules.observation, thread.names)
        text = thread.protocol.answer(seen)
        thread.read(written, text, Feedback("observed", seen))
        thread.names.tell("observation", answer.observation)
        rare = {"view": plain(answer.view)} if answer.view else {}
        self._recorder.emit(
            Observed,
            thread,
            observation=answer.observation,
            text=text,
            reward=answer.reward,
            done=answer.done,
            seconds=round(seconds, 6),
            **rare,
        )
        if self._stage.over:
            raise EpisodeOver
        if answer.done:
            raise WorldOver(f"the environment has ended what this thread acts on, by the action {action}")
        thread.stepped(step, text)

    def _phi(self, thread: Thread, line: str) -> str:
        """ϕ: the context of the child that a thread spawns with a line."""
        return plain(self._phi_of(Spawning(line, thread.y, thread.task, thread.names, thread.stops[0], thread.context)))

    def _so_far(self, thread: Thread) -> str:
        """ψ: what a thread returns, or would have returned so far."""
        protocol = thread.protocol
        if protocol is not self._by_psi and isinstance(protocol, Returns):
            return plain(protocol.returns(thread.y))
        return plain(self._psi_of(Ended(thread.y, thread.printed)))

    def _returned(self, thread: Thread, *, closed: bool = True) -> Result:
        """What a thread that ended returns. One that inherits is read by its text: it need not return anything."""
        text = self._so_far(thread)
        if not text and is_first_of_its_format(thread):
            # Published prompts for questions end with the answer in prose, not with a print.
            text = thread.y.rstrip().rpartition("\n")[2]
        if not text and thread.inherited is None and thread.parent is not None:
            reason = f" ({thread.error})" if thread.error else ""
            raise ReturnedNothing(f"the thread ended without returning anything{reason}")
        return Result(text, closed=closed)

    # --- steps of a thread, in more detail

    def _code_failed(self, thread: Thread, written: str, move: Spawn | Await | Act) -> bool:
        """Answer a move with an error, where code before it failed that it may have needed."""
        if self._prompt.rules.code_errors == "hide":
            return False
        literal = isinstance(move, Act) and (move.verbatim or self._prompt.rules.actions == "code")
        unbound = [] if literal else [name for line in lines_of(move) for name in thread.names.unbound(line)]
        if thread.error is None and not unbound:
            return False
        self._correct(thread, written, thread.error or f"NameError: name {unbound[0]!r} is not defined")
        return True

    def _correct(self, thread: Thread, written: str, error: str) -> None:
        """Let the thread read an error in place of what it listens for."""
        step = thread.step(written, error, repeats=self._limits.repeats)
        result = Result(plain(f"error: {error}"))
        text, _ = joined(thread.protocol.join([result]), [None])
        thread.read(written, text, Feedback("corrected", result.text))
        self._recorder.emit(Corrected, thread, text=text)
        thread.stepped(step, text)

    async def _fork(self, thread: Thread, lines: Sequence[str | Child]) -> tuple[list[Thread | Result], list[Result]]:
        """Children, run to their ends; with `retry`, a failed only child gets a second try."""
        retry = self._on_failure == "retry" and len(lines) == 1
        rewind = await self._stage.checkpoint(thread.deadline, thread.path) if retry else None
        if rewind and self._following is not None:
            await self._following.turn(thread)
        children, results = await self._family.fork(thread, lines)
        if rewind and not isinstance(children[0], Result) and results[0].how is Ending.failed:
            await rewind()
            if self._following is not None:
                await self._following.turn(thread)
            children, results = await self._family.fork(thread, lines)
        if self._on_failure == "abort":
            refuse_failed(results)
        if self._stage.several:
            results = await self._stage.join(thread, children, results, self._recorder)
        return children, results


def _following(recording: Sequence[Event]) -> Following:
    from thread_cli.engine.following import Following  # loaded for replays alone

    return Following(recording)
