"""A wire format whose threads may have children in the background, for the tests of the executor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thread_cli.contracts.model import Completion, Request, StopReason
from thread_cli.contracts.protocol import Act, Await, Child, End, Move, Result, Spawn
from thread_cli.models.scripted import Role, ScriptedModel


class Later:
    """`start a|b =>` starts threads and goes on, `await 0 1 =>` waits for them, `any =>` for one of all that are left.

    `go 1 =>` acts; any other line spawns threads that are waited for.
    """

    stop = ("=>", "#END#")

    def open(self, context: str) -> str:
        return f"\n{context}\n"

    def read(self, y: str, stop: StopReason) -> Move:
        if stop == "end":
            return End()
        word, _, rest = y.rpartition("\n")[2].strip().partition(" ")
        match word:
            case "start":
                return Spawn(tuple(Child(context=line) for line in rest.split("|")), waits=False)
            case "await" | "any":
                return Await(tuple(rest.split()), which="any" if word == "any" else "all")
            case "go" | "break" | "hang":
                return Act(f"{word} {rest}".strip())
            case _:
                return Spawn((f"{word} {rest}",))

    def body(self, text: str, stop: StopReason) -> str:
        return text if stop == "end" else text.rpartition("\n")[0]

    def spawned(self, handles: Sequence[str]) -> str:
        return f"=> {' '.join(handles)}\n"

    def join(self, results: Sequence[Result]) -> str:
        return "=> " + " & ".join(f"{result.handle}:{result.text}" for result in results) + "\n"

    def answer(self, observation: str) -> str:
        return f"=> {observation}\n"


class Paced:
    """A scripted model whose calls take time: seconds by thread, or as a function of the thread says."""

    def __init__(self, roles: list[Role], pace: Mapping[str, float] | Callable[[str], float]) -> None:
        self._model = ScriptedModel(roles)
        self._seconds = pace if callable(pace) else lambda thread: pace.get(thread, 0.0)

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(self._seconds(request.thread))
        return await self._model.complete(request)

    async def close(self) -> None:
        pass


SLOW = {"0.0": 0.2, "0.1": 0.02, "0.2": 0.1}
"""Seconds that calls of these threads take."""


def three(main: str, **below: str) -> list[Role]:
    """A main thread that starts three threads, and then does this; what some of them write, and `N` for all others."""
    roles = [Role(path="0", text=f"start a|b|c =>\n{main}")]
    roles += [Role(path=path.replace("_", "."), text=text) for path, text in below.items()]
    return [*roles, *(Role(path=f"0.{n}", text=f"print('{n}')") for n in range(3))]


def joins(played: Any, thread: str = "0") -> list[tuple[str, ...]]:
    return [event.children for event in played.of("joined", thread)]


async def episode(play: Any, roles: Any, **options: Any) -> Any:
    pace = options.pop("pace", None)
    model = Paced(roles, pace) if pace else roles
    return await asyncio.wait_for(play(model, protocol=options.pop("protocol", Later()), **options), 20)
