"""What the contracts can say, in examples that `docs/contracts.md` shows as they stand here."""

from __future__ import annotations

import inspect
import re
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import ClassVar, cast

from pytest import approx
from rooms import Fork, ForkThatActs, Walls

from thread_cli.contracts.environment import Action, Concurrency, Step, Task
from thread_cli.contracts.events import Event
from thread_cli.contracts.limits import Budgets, ChildLimits, Limits
from thread_cli.contracts.model import Completion, Piece, Request, StopReason
from thread_cli.contracts.protocol import Await, Child, End, Move, Result, Segment, Spawn
from thread_cli.contracts.watcher import Watched
from thread_cli.contracts.writer import Course, Decided, Turn
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.models.written import Written
from thread_cli.record.lines import parse_event
from thread_cli.record.tree import tree_of

PAGE = Path(__file__).parents[1] / "docs" / "contracts.md"


def test_the_page_shows_what_is_tested_here() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    tested = inspect.getsource(sys.modules[__name__])
    assert len(shown) == tested.count("\n# shown: ")
    assert [block for block in shown if block not in tested] == []


# shown: limits and ends
async def test_a_limit_says_what_was_used_and_whose_it_was(play) -> None:
    roles = [
        Role(path="0", text="First, count the chairs =>\nprint('gave up')"),
        Role(path="0.0", text="> look =>\n> look under the table =>\n> look behind the door =>\n"),
    ]
    played = await play(roles, limits=Limits(calls=9), child_limits=ChildLimits(share=0.25))

    (failed,) = [event for event in played.events if event.kind == "failed"]
    assert (failed.limit, failed.used, failed.cap, failed.owner) == ("calls", 2, 2, "0.0")

    ends = {event.thread: event.how for event in played.events if event.kind == "thread_ended"}
    assert ends == {"0.0": "failed", "0": "returned"}


# shown: a call that is cut
async def test_a_call_cut_by_a_deadline_is_paid_for(play) -> None:
    roles = [
        Role(path="0", text="First, tell a story =>\nprint('gave up')"),
        Role(path="0.0", text=" ".join(f"word{n}" for n in range(500))),
    ]
    model = ScriptedModel(roles, pace=0.01)

    request = Request(q="", c="", y="", stop=("=>",), max_tokens=100, thread="0.0")
    parts = [part async for part in model.stream(request)]
    assert "".join(part.text for part in parts if isinstance(part, Piece)) == parts[-1].text
    assert isinstance(parts[-1], Completion)

    played = await play(model, child_limits=Budgets(wall_time=0.2))
    cut = next(event for event in played.events if event.kind == "generated" and event.thread == "0.0")
    assert cut.stop == "cut"
    assert cut.text.startswith("word0 word1")
    assert 0 < cut.generated_tokens < 300
    assert played.episode.answer == "gave up"
    assert played.episode.totals.generated_tokens > cut.generated_tokens


# shown: a watcher
class PrunesTheLongest:
    """A watcher: the thread that has written most is ended once it has written more than 60 tokens."""

    def begin(self, episode: Watched) -> None:
        self.episode, self.tokens = episode, Counter[str]()

    def see(self, event: Event) -> None:
        pass

    def hear(self, thread: str, piece: Piece) -> None:
        self.tokens[thread] += piece.tokens
        longest, tokens = self.tokens.most_common(1)[0]
        if tokens > 60:
            self.episode.prune(longest, f"{tokens} tokens are too many")


async def test_the_longest_of_three_children_is_pruned_while_it_writes(play) -> None:
    story = " ".join(f"word{n}" for n in range(300))
    script = {"0.0": "print('short')", "0.1": story, "0.2": "print('short too')"}
    model = ScriptedModel(
        lambda request: script.get(request.thread, "print('ok')" if request.y else "a|b|c=>"), pace=0.01
    )
    played = await play(model, protocol=Fork(), watchers=[PrunesTheLongest()])

    assert {event.thread: event.how for event in played.of("thread_ended")}["0.1"] == "pruned"
    assert "=>short & error: pruned: 6" in played.y("0")
    (cut,) = played.of("generated", "0.1")
    assert (cut.stop, cut.text) == ("cut", story[: len(cut.text)])


# shown: several children
class Weave:
    """A wire format: `<Parallel>`, an outline a line, `</Parallel>`; each is worked out by a child that reads all so far."""

    stop = ("</Parallel>", "</Thread>")

    def open(self, context: str) -> str:
        return f"{context}\n"

    def read(self, y: str, stop: StopReason) -> Move:
        _, begun, outlines = y.rpartition("<Parallel>\n")
        if stop == "end" or not begun:
            return End()
        return Spawn(
            tuple(
                Child(context=f"</Parallel>\n<Thread> {o}:", inherits=True, stop=self.stop[1:])
                for o in outlines.splitlines()
            )
        )

    def body(self, text: str, stop: StopReason) -> str:
        return ""

    def join(self, results: Sequence[Result]) -> list[Segment]:
        written = [Segment(f"<Thread>{result.y}</Thread>", place) for place, result in enumerate(results)]
        return [Segment("</Parallel>\n"), *written, Segment("\n")]

    def answer(self, observation: str) -> str:
        return observation


async def test_three_children_go_on_from_their_parents_text(play) -> None:
    asked: dict[str, Request] = {}

    def script(request: Request) -> str:
        asked[request.thread] = request
        if request.thread != "0":
            return f" {request.y.count('<Thread>')} thought</Thread>"
        return "so 6" if "<Thread>" in request.y else "2 * 3\n<Parallel>\nadd\ncount\nlook up\n</Parallel>"

    played = await play(script, protocol=Weave(), rules={"psi": "whole_sequence"})
    assert asked["0.1"].prompt == "QDo it.\n2 * 3\n<Parallel>\nadd\ncount\nlook up\n</Parallel>\n<Thread> count:\n"
    assert asked["0.1"].stop == ("</Thread>",)
    (joined,) = played.of("joined")
    assert joined.text == "</Parallel>\n" + "<Thread> 1 thought</Thread>" * 3 + "\n"
    assert joined.segments == (("", 12), ("0.0", 27), ("0.1", 27), ("0.2", 27), ("", 1))
    assert played.episode.answer.endswith("so 6")


# shown: a writer
class Votes:
    """A writer: three threads of the model answer the question, and the main thread returns the answer of most."""

    def course(self, turn: Turn) -> Course | None:
        return self._main(turn.context) if turn.depth == 0 else None

    def _main(self, question: str) -> Course:
        heard = yield Decided("Three threads vote ", Spawn((Child(context=question),) * 3))
        votes = Counter(result.text for result in heard.results if not result.failed)
        return f"print({votes.most_common(1)[0][0]!r})\n"


async def test_a_writer_asks_three_threads_and_returns_the_answer_of_most(play) -> None:
    answers = {"0.0": "print('6')", "0.1": "x = 7", "0.2": "print('6')"}
    model = ScriptedModel(lambda request: answers[request.thread])
    played = await play(Written(Votes(), model), "How many chairs?")

    assert played.episode.answer == "6"
    assert played.y("0").startswith("Three threads vote =>\n6\nerror: returned nothing")
    assert [event.context for event in played.of("thread_started")] == ["How many chairs?"] * 4
    assert [event.writer for event in played.of("generated")] == ["Votes", "", "", "", "Votes"]
    assert {event.generated_tokens for event in played.of("generated", "0")} == {0}


# shown: a thread that is awaited later
class Later:
    """A wire format: `start a|b =>` starts threads and goes on, `await 1 =>` joins one, `await =>` all that are left."""

    stop = ("=>", "#END#")

    def open(self, context: str) -> str:
        return f"{context}\n"

    def read(self, y: str, stop: StopReason) -> Move:
        word, _, rest = y.rpartition("\n")[2].strip().partition(" ")
        if stop == "end":
            return End()
        return Await(tuple(rest.split())) if word == "await" else Spawn(tuple(rest.split("|")), waits=False)

    def body(self, text: str, stop: StopReason) -> str:
        return text if stop == "end" else text.rpartition("\n")[0]

    def spawned(self, handles: Sequence[str]) -> str:
        return f"=> {' '.join(handles)}\n"

    def join(self, results: Sequence[Result]) -> str:
        return "=> " + ", ".join(f"{result.handle}: {result.text}" for result in results) + "\n"

    def answer(self, observation: str) -> str:
        return observation


async def test_a_thread_is_awaited_later(play) -> None:
    roles = [
        Role(
            path="0", text="start count chairs|tell a story|look up =>\nmine = 'x'\nawait 2 =>\nawait =>\nprint(both)"
        ),
        Role(path="0.1", text="both = mine = 'bound in 0.1'\nprint('a story')"),
        Role(path="0.*", text="both = 'bound below'\nprint('done')"),
    ]
    played = await play(roles, protocol=Later())
    assert played.y("0").splitlines()[:2] == ["start count chairs|tell a story|look up => 0 1 2", ""]
    assert [event.text for event in played.of("joined")] == ["=> 2: done\n", "=> 0: done, 1: a story\n"]
    assert [(event.children, event.which) for event in played.of("awaiting")] == [
        (("0.2",), "all"),
        (("0.0", "0.1"), "all"),
    ]
    assert played.episode.answer == "bound in 0.1"


# shown: an action of five lines
class Shell:
    """An environment that runs scripts in one folder; its mark is what the folder holds at the end."""

    splits, requires, extra, graded, rules = {"all": "one task"}, (), None, True, {}

    def tasks(self, split: str) -> list[Task]:
        return [Task("0")]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def reset(self, task: Task) -> str:
        return "Count to three."

    async def act(self, action: Action) -> Step:
        run = await create_subprocess_exec(
            "timeout", f"{action.seconds}", "sh", "-c", action.text, cwd=self.folder, stdout=PIPE
        )
        return Step((await run.communicate())[0].decode())

    async def marks(self, task: Task, answer: str) -> dict[str, float]:
        check = await create_subprocess_exec("sh", "-c", "test -f 1 -a -f 2 -a -f 3", cwd=self.folder)
        return {"counted": float(await check.wait() == 0)}

    async def close(self) -> None:
        pass


async def test_an_action_has_five_lines_where_the_prompt_fences_it(play, tmp_path) -> None:
    script = "for n in 1 2 3\ndo\n  touch ${n}\n  seq 1000\ndone"
    roles = [Role(path="0", text=f"Count them.\n```sh\n{script}\n``` =>\nprint('done')")]
    rules = {"fence": "```", "observation": {"longest": 40}}
    played = await play(roles, environment=Shell(tmp_path), rules=rules, limits=Limits(wall_time=60))

    (acted,), (observed,) = played.of("acted"), played.of("observed")
    assert acted.action == script
    assert len(observed.observation) > 10_000
    assert re.search(r"``` =>\n1\n2\n.*\[… \d+ characters are left out …\].*1000\n<=", played.y("0"), re.DOTALL)
    assert (played.episode.reward, played.episode.marks) == (1, {"counted": 1})


# shown: children that act at the same time
class Shelf(Shell):
    """A forkable environment: one shelf with three books."""

    concurrency: ClassVar[Concurrency] = "forkable"

    def __init__(self) -> None:
        self.books = ["atlas", "novel", "poems"]

    async def act(self, action: Action) -> Step:
        if action.text not in self.books:
            return Step(f"There is no {action.text} on the shelf.")
        self.books.remove(action.text)
        return Step(f"You take the {action.text}.")

    async def snapshot(self) -> object:
        return list(self.books)

    async def restore(self, snapshot: object) -> None:
        self.books = list(cast("list[str]", snapshot))

    async def marks(self, task: Task, answer: str) -> dict[str, float]:
        return {"left": len(self.books) / 3}


async def test_two_children_take_the_same_book_and_the_parent_reads_of_the_conflict(play) -> None:
    actions = {"0.0": "> atlas =>", "0.1": "> novel =>", "0.2": "> atlas =>"}
    script = {"0": "a|b|c=>", **actions}
    model = ScriptedModel(lambda request: "print('done')" if request.y else script[request.thread])
    played = await play(model, protocol=ForkThatActs(), environment=Shelf())

    assert {event.observation for event in played.of("observed")} == {"You take the atlas.", "You take the novel."}
    (conflict,) = played.of("conflicted")
    assert (conflict.child, conflict.action) == ("0.2", "atlas")
    assert conflict.now == "There is no atlas on the shelf."
    assert "=>done & done & error: conflict: the action 'atlas' got 'There is no atlas" in played.y("0")
    assert played.episode.reward == approx(1 / 3)


# shown: a tree for training


class Certain(ScriptedModel):
    """A model that gives each character that it writes the probability 1/2."""

    async def complete(self, request: Request) -> Completion:
        written = await super().complete(request)
        return replace(written, pieces=[*written.text], logprobs=[log(0.5)] * len(written.text))


async def test_events_alone_give_the_tree_that_training_needs(play) -> None:
    roles = [
        Role(path="0", text="First, look around =>\nprint('done')"),
        Role(path="0.0", text="> go 3 =>\nprint('a door')"),
    ]
    played = await play(Certain(roles), environment=Walls(), logprobs=True, policy="step-1200")
    tree = tree_of(parse_event(event.model_dump_json()) for event in played.events)

    main, child = tree.threads.values()
    assert (tree.policy, tree.reward) == ("step-1200", 1)
    assert (main.parent, main.children, child.parent, child.inherits) == (None, [child], main, None)
    assert [(part.writer, part.stop) for part in child.segments] == [("0.0", "listen"), ("", None)]
    assert sum(number for _, number in child.segments[0].tokens) == approx(log(0.5) * len("> go 3 "))
    assert [main.y, child.y] == [played.y("0"), played.y("0.0")]
