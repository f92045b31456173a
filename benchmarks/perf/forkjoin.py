"""A fork of eight children on the local backend, beside the same children one after the other, and beside a server.

    python benchmarks/perf/forkjoin.py [--rounds N] [--model FILE.gguf] [--server PROGRAM]

A parent of 2,000 tokens is in the cache. It spawns eight children that inherit its text, and each writes 200 tokens,
sampled at temperature 0.8; the end of text is ignored. The engine plays this with all eight at once, then one after the
other, then at once on llama.cpp's own server with eight slots, driven as users drive it (`openai:`). Each round begins
with an empty cache. No drafts are made, since the time that they save depends on the text; the ratio with drafts, which
help a child that writes alone more than eight at once, is printed too.

Then the fork alone: the seconds from the fork to the eighth child's first token, beside one batch of the same new
tokens on the same cache, evaluated by the backend itself.

Three promises are judged, each by the middle round: at once at least 3 times as fast as one after the other, at least
twice as fast as the server, and the first tokens within 1.5 times the batch. The exit code is 1 where one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from array import array
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import llama_cpp
from local_contenders import ContenderDied, Machine, llama_server

from thread_cli.contracts.environment import Task
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion, Request
from thread_cli.contracts.protocol import Child, End, Spawn
from thread_cli.contracts.writer import Decided
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.llama import LlamaModel, LlamaOptions, embedded_model_path
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.model import physical_cores
from thread_cli.models.llama.vocabulary import Vocabulary
from thread_cli.models.written import Written
from thread_cli.protocols.prompt import Prompt, Rules

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece
    from thread_cli.contracts.protocol import Move, Result, StopReason
    from thread_cli.contracts.writer import Course, Turn

CHILDREN, PARENT, WRITTEN = 8, 2000, 200
CONTEXT = 8192
AT_ONCE, SERVER, FIRST = 3.0, 2.0, 1.5
"""How many times as fast as one after the other, and as the server; and the first tokens, in batches."""
TEMPERATURE = 0.8
DOCS, PAGES = Path(__file__).parents[2] / "docs", ("methods.md", "models.md")
"""The parent's text: prose that does not repeat itself, of which the model finds no draft."""


class Forks:
    """A wire format of children that continue their parent's text."""

    stop = ("\0",)

    def open(self, context: str) -> str:
        return context

    def read(self, y: str, stop: StopReason) -> Move:  # noqa: ARG002
        return End()

    def body(self, text: str, stop: StopReason) -> str:  # noqa: ARG002
        return ""

    def join(self, results: Sequence[Result]) -> str:  # noqa: ARG002
        return ""  # so that a child that is spawned later inherits the same text

    def answer(self, observation: str) -> str:
        return observation


class Parent:
    """A writer: the main thread spawns the children, `width` at a time; the model writes them."""

    def __init__(self, width: int) -> None:
        self._width = width

    def course(self, turn: Turn) -> Course | None:
        return self._spawning() if turn.depth == 0 else None

    def _spawning(self) -> Course:
        children = [Child(context="", inherits=True, opening=opening(number)) for number in range(CHILDREN)]
        for at in range(0, CHILDREN, self._width):
            yield Decided("", Spawn(tuple(children[at : at + self._width])))
        return "joined"


class Fixed:
    """A model whose calls all write the same number of tokens."""

    def __init__(self, model: Any) -> None:
        self._model = model

    async def complete(self, request: Request) -> Completion:
        async for part in self.stream(request):
            if isinstance(part, Completion):
                return part
        raise AssertionError

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        request.max_tokens, request.until_circles, request.stop = WRITTEN, False, ()
        async for part in self._model.stream(request):
            if not isinstance(part, Completion):
                yield part
                continue
            if part.usage.generated < WRITTEN:
                raise SystemExit(f"a child wrote {part.usage.generated} tokens, not {WRITTEN}")
            yield replace(part, stop="end")

    async def close(self) -> None: ...


class FirstPieces:
    """A watcher that notes when each child's first piece came."""

    def __init__(self) -> None:
        self.forked = 0.0
        self.first: dict[str, float] = {}

    def begin(self, episode: Any) -> None: ...

    def see(self, event: Event) -> None:
        if event.kind == "spawned":
            self.forked = time.perf_counter()

    def hear(self, thread: str, piece: Piece) -> None:  # noqa: ARG002
        self.first.setdefault(thread, time.perf_counter())


def opening(number: int) -> str:
    """The first words of a child."""
    return f"\n<Thread>\n{number + 1}: the part with number {number + 1} is"


def parent_text(vocabulary: Any) -> tuple[str, list[int]]:
    """Prose of 2,000 tokens, which read again are the same tokens, and these tokens."""
    words = "".join(page.read_text("utf-8") for page in sorted(DOCS.glob("*.md")) if page.name in PAGES)
    every: list[int] = vocabulary.tokenize(words.encode(), add_bos=False)
    for length in range(PARENT, PARENT + 100):
        text = vocabulary.detokenize(every[:length]).decode(errors="ignore")
        if vocabulary.tokenize(text.encode(), add_bos=False) == every[:length]:
            return text, every[:length]
    raise SystemExit("this model's vocabulary does not read the parent's text as it wrote it: try another model")


async def forked(model: Any, text: str, width: int) -> tuple[float, float, int]:
    """Seconds of the fork, seconds until all children of a fork of eight have begun to write, and tokens read twice."""
    await model.complete(Request(text, "", "", (), 1))
    watcher = FirstPieces()
    interpreter = VariableInterpreter()
    executor = Executor(
        model=Written(Parent(width), Fixed(model)),
        prompt=Prompt("forkjoin", text, Rules(psi="whole_sequence")),
        interpreter=interpreter,
        temperature=TEMPERATURE,
        seed=1,
        limits=Limits(repeats=CHILDREN, wall_time=None),
        protocol=Forks(),
        watchers=[watcher],
    )
    began = time.perf_counter()
    episode = await executor.run(Task("fork", ""))
    seconds = time.perf_counter() - began
    await interpreter.close()
    if episode.answer != "joined" or episode.totals.generated_tokens != CHILDREN * WRITTEN:
        raise SystemExit(f"the fork did not go as planned: {episode}")
    firsts = [at for thread, at in watcher.first.items() if thread != "0"]
    return seconds, max(firsts) - watcher.forked, episode.totals.repeated_tokens


@asynccontextmanager
async def local(machine: Machine, *, drafts: bool = False) -> AsyncGenerator[LlamaModel]:
    model = LlamaModel(LlamaOptions(machine.model, context=CONTEXT, threads=machine.threads, speculate=drafts))
    await model.open()
    try:
        yield model
    finally:
        await model.close()


def one_batch(machine: Machine, tokens: list[int], vocabulary: Any) -> float:
    """Seconds of one batch with the first words of all children, on a cache that holds their parent."""
    backend: Any = Backend(machine.model, context=CONTEXT, sequences=CHILDREN, batch=PARENT, threads=machine.threads)
    backend.evaluate([Slice(0, 0, array("i", tokens), 1)])
    for other in range(1, CHILDREN):
        backend.share(0, other, 0, len(tokens))
    news = [array("i", vocabulary.tokenize(opening(number).encode(), add_bos=False)) for number in range(CHILDREN)]
    began = time.perf_counter()
    backend.evaluate([Slice(number, len(tokens), new, 1) for number, new in enumerate(news)])
    seconds = time.perf_counter() - began
    backend.close()
    return seconds


async def measure(options: argparse.Namespace) -> int:
    machine = Machine(options.model or embedded_model_path(print, base=True), physical_cores(), 0)
    vocabulary: Any = llama_cpp.Llama(str(machine.model), vocab_only=True, verbose=False)
    text, tokens = parent_text(vocabulary)
    program = shlex.split(options.server) or installed_server()
    rows: list[dict[str, float]] = []
    for number in range(options.rounds):
        row: dict[str, float] = {"batch": one_batch(machine, tokens, vocabulary)}
        twice = 0
        for told, drafts in (("", False), (", drafts", True)):
            async with local(machine, drafts=drafts) as model:
                row[f"at once{told}"], first, again = await forked(model, text, CHILDREN)
            twice += again
            row.setdefault("first", first)
            async with local(machine, drafts=drafts) as model:
                row[f"one by one{told}"], _, _ = await forked(model, text, 1)
        if program:
            try:
                async with llama_server(program, machine, CHILDREN * 4096, extra={"ignore_eos": True}) as model:
                    row["server"], _, _ = await forked(model, text, CHILDREN)
            except ContenderDied as death:
                print(f"the server is left out: {death}")
        rows.append(row)
        print(f"round {number + 1}: " + ", ".join(f"{name} {value:.3f} s" for name, value in row.items()), flush=True)
        print(f"  {twice} tokens were read twice", flush=True)
    return judged(rows)


def judged(rows: list[dict[str, float]]) -> int:
    """Print each promise beside the middle round; 1 where one is missed."""
    wanted = {
        "one after the other / at once": ([row["one by one"] / row["at once"] for row in rows], AT_ONCE, True),
        "server / at once": ([row["server"] / row["at once"] for row in rows if "server" in row], SERVER, True),
        "first tokens / one batch": ([row["first"] / row["batch"] for row in rows], FIRST, False),
    }
    drafted = median(row["one by one, drafts"] / row["at once, drafts"] for row in rows)
    print(f"one after the other / at once, with drafts: {drafted:.2f}")
    missed = 0
    for name, (ratios, bound, least) in wanted.items():
        if not ratios:
            print(f"{name}: not measured, no server of llama.cpp is installed: see --help")
            continue
        ratio = median(ratios)
        kept = ratio >= bound if least else ratio <= bound
        missed += not kept
        said = "at least" if least else "at most"
        print(
            f"{name}: {ratio:.2f} (wanted {said} {bound:g}, rounds {', '.join(f'{r:.2f}' for r in ratios)}): "
            f"{'kept' if kept else 'MISSED'}"
        )
    return 1 if missed else 0


def installed_server() -> list[str]:
    """The command of llama.cpp's own server, as the package `xllamacpp` brings it; none where that is not installed."""
    if find_spec("xllamacpp") is None:
        return []
    return [sys.executable, str(Path(__file__).with_name("local_server.py"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (default: 3)")
    parser.add_argument("--model", type=Path, help="a GGUF file; by default SmolLM2-135M, as it is embedded")
    parser.add_argument("--server", default="", help="command of llama.cpp's own server")
    Vocabulary.is_end = lambda self, token: False  # noqa: ARG005 - the end of text is ignored, as the server is asked to
    return asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
