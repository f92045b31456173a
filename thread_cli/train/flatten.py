"""Turns an episode of many threads into one thread that thinks and acts by turns (ReAct), to compare training on
either.

Recursion becomes a line of thought: where a thread began, the one thread states the next subtask. Actions and
observations are the recorded ones, in their order.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from thread_cli.bench.methods import method
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Acted, Observed, ThreadEnded, ThreadStarted
from thread_cli.protocols.prompt import installed, load
from thread_cli.protocols.thread import LISTEN
from thread_cli.train.trajectories import Segment, Trajectory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.events import Event
    from thread_cli.protocols.prompt import Prompt
    from thread_cli.train.recordings import Recording

__all__ = ["flattened"]

_METHOD = "react"


def flattened(recording: Recording, events: Iterable[Event], *, examples: bool) -> list[Trajectory | str]:
    """The flattened episode, in the format of our method `react`; or the reason for which it is left out.

    With `examples`, it begins with that method's few-shot prompt.

    Raises:
        UserError: the environment has no such prompt, or another one's observations cannot stand under it.
    """
    prompt = _prompt(recording.environment)
    if prompt.rules.observation != recording.prompt.rules.observation:
        raise UserError(f"{recording.episode} cannot be flattened: {recording.prompt.name} has other observations")
    protocol = method(_METHOD).protocol(prompt) or prompt.protocol()
    segments = [Segment(prompt.q, learned=False)] if examples and prompt.q else []
    thoughts, result = "", None
    actions: dict[str, str] = {}
    for event in events:
        match event:
            case ThreadStarted(depth=0):
                segments.append(Segment(protocol.open(event.context), learned=False))
            case ThreadStarted():
                thoughts += f"{_thought(event.context)}\n"
            case Acted():
                actions[event.thread] = event.action
            case Observed():
                segments.append(Segment(f"{thoughts}> {actions[event.thread]} {LISTEN}", learned=True))
                segments.append(Segment(event.text.removeprefix(LISTEN), learned=False))
                thoughts = ""
            case ThreadEnded(thread="0"):
                result = event.result
            case _:
                pass
    if result is not None:
        segments.append(Segment(f"{thoughts}print({result!r})\n{protocol.stop[1]}", learned=True))
    while segments and not segments[-1].learned:
        segments.pop()
    if any(LISTEN in action for action in actions.values()):
        return ["an action holds =>"]
    if any("\n" in action for action in actions.values()):
        return ["an action has several lines"]
    return [Trajectory.of(recording, "0", tuple(segments)) if segments else "nothing to learn"]


@cache
def _prompt(environment: str) -> Prompt:
    where = f"{environment}/methods"
    if _METHOD not in dict(installed(where)):
        raise UserError(f"episodes of {environment} cannot be flattened: it has no prompt for the method {_METHOD}")
    prompt = load(_METHOD, where)
    if prompt.rules.actions == "code":
        raise UserError(f"episodes of {environment} cannot be flattened: what their code computes is needed by actions")
    return prompt


def _thought(context: str) -> str:
    """A thread's subtask, as a line that the engine does not carry out."""
    line = context.rpartition("\n")[2].strip().removesuffix(LISTEN)
    return line.replace(LISTEN, "->").lstrip("#> ").rstrip()
