"""Episodes for `local.py`: what real threads read and how much they write, with all words left to the model.

An environment's teacher plays a task with the few-shot prompt that a model would get. Of each call its prompt is kept,
and how many tokens the teacher wrote. Played back, a model writes as many tokens of its own there. So every contender
reads and writes as much, in the same threads and order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llama_cpp

from thread_cli import Config
from thread_cli.assembly.playing import environment_for, executor_for, interpreter_for, prompt_for
from thread_cli.contracts.model import Completion, Request

if TYPE_CHECKING:
    from pathlib import Path

    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.model import Model

__all__ = ["Call", "Recorder", "play", "played", "recorded"]


@dataclass(frozen=True)
class Call:
    """One call of the model: `appended` follows what its thread wrote last, `tokens` are to be written."""

    thread: str
    q: str
    c: str
    appended: str
    tokens: int


class Recorder:
    """A model that notes what another is asked and answers."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.calls: list[tuple[Request, str]] = []

    async def complete(self, request: Request) -> Completion:
        done = await self._model.complete(request)
        self.calls.append((request, done.text))
        return done

    async def close(self) -> None:
        await self._model.close()


async def recorded(environment: str, count: int, vocabulary: Path) -> list[list[Call]]:
    """Every eighth task's episode, `count` of them; tokens are counted by the model file `vocabulary`."""
    counter: Any = llama_cpp.Llama(str(vocabulary), vocab_only=True, verbose=False)
    config = Config.of(environment=environment, model="teacher")
    stage: Any = environment_for(config)
    episodes: list[list[Call]] = []
    for task in list(stage.tasks("generated" if environment == "alfworld" else "test"))[: 8 * count : 8]:
        model = Recorder(stage.teacher(task))
        await played(config, stage, task, model)
        episodes.append(_calls(model.calls, counter))
    await stage.close()
    return episodes


async def played(config: Config, stage: Environment, task: Task, model: Model) -> None:
    """Let a model play a task."""
    interpreter = interpreter_for(config, stage, task)
    prompt = prompt_for(config, stage, task)
    executor = executor_for(config, model=model, prompt=prompt, interpreter=interpreter, environment=stage, sinks=())
    await executor.run(task, config.environment)
    await interpreter.close()


def _calls(recorded_calls: list[tuple[Request, str]], counter: Any) -> list[Call]:
    before: dict[str, str] = {}
    calls: list[Call] = []
    for request, text in recorded_calls:
        appended = request.y[len(before.get(request.thread, "")) :]
        before[request.thread] = request.y + text
        tokens = len(counter.tokenize(text.encode(), add_bos=False)) + 1
        calls.append(Call(request.thread, request.q, request.c, appended, tokens))
    return calls


async def play(model: Model, episode: list[Call], done: list[Completion]) -> None:
    """Let a model write an episode's threads, and put its answers into `done`."""
    ys: dict[str, str] = {}
    for call in episode:
        y = ys.get(call.thread, "") + call.appended
        request = Request(call.q, call.c, y, (), call.tokens, thread=call.thread)
        answer = await model.complete(request)
        done.append(answer)
        ys[call.thread] = y + answer.text
