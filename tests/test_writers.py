"""Writers: threads whose course Python decides, beside a model or in place of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from courses import heard, request
from rooms import Fork, Walls

from thread_cli.contracts.errors import MalformedOutput, ModelError
from thread_cli.contracts.model import Completion, Piece, Request
from thread_cli.contracts.protocol import Act, Await, Child, End, Spawn
from thread_cli.contracts.writer import Course, Decided, Exchange, Feedback, Turn
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import ScriptedModel
from thread_cli.models.teacher import Teacher
from thread_cli.models.written import Written


class Counts:
    """Counts what it hears, and how often a course was begun and told something; children are the model's."""

    def __init__(self) -> None:
        self.begun = self.told = 0

    def course(self, turn: Turn) -> Course | None:
        return self._count() if turn.depth == 0 else None

    def _count(self) -> Course:
        self.begun += 1
        number = 0
        while (yield f"> say {number} ").text != "enough":
            self.told += 1
            number += 1
        return f"print({number})\n"


class Follows:
    """Follows one course in the main thread, and keeps what it was told."""

    def __init__(self, *turns: str | Decided, last: str = "print('end')\n") -> None:
        self.turns, self.last = turns, last
        self.told: list[Feedback] = []
        self.began: list[Turn] = []

    def course(self, turn: Turn) -> Course | None:
        self.began.append(turn)
        return self._main() if turn.depth == 0 else None

    def _main(self) -> Course:
        for turn in self.turns:
            self.told.append((yield turn))
        return self.last


async def test_a_writer_spawns_in_the_background_and_awaits_what_it_has_spawned(play) -> None:
    class Later(Fork):
        def spawned(self, handles: Sequence[str]) -> str:
            return f"=>{len(handles)} begun<=\n"

    writer = Follows(
        Decided("start", Spawn((Child(context="a"), Child(context="b")), waits=False)),
        Decided("the second", Await(("1",))),
        Decided("the rest", Await()),
    )
    played = await play(Written(writer, ScriptedModel(lambda request: f"print({request.thread!r})")), protocol=Later())
    assert [(feedback.kind, feedback.text) for feedback in writer.told] == [
        ("spawned", "0 1"),
        ("joined", "0.1"),
        ("joined", "0.0"),
    ]
    assert [result.handle for feedback in writer.told for result in feedback.results] == ["1", "0"]
    assert played.y("0").startswith("start=>2 begun<=\nthe second=>")


def no_model() -> ScriptedModel:
    return ScriptedModel([])


def counted(number: int) -> list[Exchange]:
    return [Exchange(f"> say {place} ", heard(str(place))) for place in range(number)]


# --- what a course is told


async def test_a_course_is_told_what_its_thread_reads_and_how_children_ended(play: Callable[..., Any]) -> None:
    writer = Follows(
        "> go 2 ", "First, {nothing} ", "Next, fail and say =>...\n  Fail ", Decided("Now ", Spawn(("a", "b")))
    )
    script = {"0.0": "x = 1", "0.1": "print('one')\n", "0.2": "print('two\\nlines')\n"}
    model = Written(writer, ScriptedModel(lambda request: script[request.thread]))
    played = await play(model, environment=Walls())
    observed, corrected, failed, joined = writer.told
    assert observed == Feedback("observed", "You are in room 2")
    assert corrected == Feedback("corrected", "error: NameError: name 'nothing' is not defined")
    assert (failed.kind, failed.failed, [(r.failed, r.how) for r in failed.results]) == (
        "joined",
        True,
        [(True, "failed")],
    )
    assert failed.text == failed.results[0].text == played.of("thread_ended", "0.0")[0].result
    assert (joined.text, joined.failed) == ("one\ntwo\nlines", False)
    assert [result.y for result in joined.results] == ["print('one')\n", "print('two\\nlines')\n"]
    assert (observed.failed, corrected.failed) == (False, True)


async def test_a_writer_is_given_the_thread_as_it_stands(play: Callable[..., Any]) -> None:
    brief = object()
    writer = Follows(Decided("Ask ", Spawn((Child("First, a line ", brief=brief), Child(context="a context")))))
    await play(Written(writer, ScriptedModel(lambda _: "print(1)")), "The task.", rules={"phi": "line_and_task"})
    main, first, second = writer.began
    assert main == Turn("0", 0, "The task.", "The task.")
    assert first == Turn("0.0", 1, "The task.", "The task.\nFirst, a line =>", brief)
    assert (second.context, second.brief) == ("a context", None)


async def test_a_request_tells_what_its_thread_has_written_and_read(play: Callable[..., Any]) -> None:
    asked: list[Any] = []

    def write(request: Any) -> str:
        asked.append(request.turn.exchanges)
        return ["> go 2 =>", "  =>", "print('x')"][len(asked) - 1]

    await play(write, environment=Walls())
    first, second = asked[-1]
    assert [len(exchanges) for exchanges in asked] == [0, 1, 2]
    assert first == Exchange("> go 2 ", Feedback("observed", "You are in room 2"), "=>You are in room 2<=\n\n")
    assert (second.text, second.feedback.kind) == ("  ", "corrected")


# --- moves


async def test_a_move_that_was_decided_is_made_whatever_the_wire_format_reads(play: Callable[..., Any]) -> None:
    writer = Follows(Decided("a | b", Act("go 2")), Decided("> no action ", Spawn(("c",))), Decided("> go 3 ", End()))
    played = await play(
        Written(writer, ScriptedModel(["print('c')"])), environment=Walls(), protocol=Fork(), rules={"psi": "last_line"}
    )
    assert [event.action for event in played.of("acted")] == ["go 2"]
    assert [event.context for event in played.of("thread_started", "0.0")] == ["c=>"]
    assert played.episode.answer == "> go 3"


async def test_a_text_alone_is_read_by_the_wire_format(play: Callable[..., Any]) -> None:
    played = await play(Written(Follows("a | b "), ScriptedModel(["print(1)", "print(2)"])), protocol=Fork())
    assert [event.thread for event in played.of("thread_started")] == ["0", "0.0", "0.1"]


# --- beside a model, and in place of one


async def test_beside_a_model_a_writer_costs_calls_but_no_tokens_and_is_named() -> None:
    written = await Written(Follows("> look "), no_model(), name="guide").complete(request("Do it."))
    usage = written.usage
    assert (written.writer, usage.prompt, usage.generated, usage.cost, usage.estimated) == ("guide", 0, 0, 0.0, False)


async def test_in_place_of_a_model_a_writer_is_counted_as_one() -> None:
    written = await Written(Follows("> look ")).complete(request("Do it."))
    assert (written.writer, written.usage.prompt, written.usage.generated) == ("", 2, 2)
    assert (written.usage.estimated, written.usage.cached_known, written.usage.cost) == (True, False, None)


async def test_a_thread_that_nobody_writes_is_an_error_of_the_model() -> None:
    alone = Written(Follows())
    with pytest.raises(ModelError, match=r"nobody writes thread 0\.1: Follows has no course for it"):
        await alone.complete(request("Do it.", thread="0.1"))
    with pytest.raises(ModelError, match="its structure is not told"):
        await alone.complete(Request("", "", "", ("=>",), 9))


async def test_what_has_no_course_or_no_structure_is_the_models() -> None:
    model = Written(Follows("> look "), ScriptedModel(lambda request: f"asked {request.thread}"))
    assert (await model.complete(request("Do it.", thread="0.1"))).text == "asked 0.1"
    bare = Request("", "", "", ("=>",), 9)
    assert (await model.complete(bare)).text == "asked 0"


async def test_pieces_are_those_of_the_model_or_the_whole_text_of_a_course() -> None:
    model = Written(Follows("> look "), ScriptedModel(["one two three"], pace=0.001))
    course = [part async for part in model.stream(request("Do it."))]
    asked = [part async for part in model.stream(request("Do it.", thread="0.1"))]
    assert course[0] == Piece("> look ", tokens=0)
    for parts in (course, asked):
        *pieces, completion = parts
        assert isinstance(completion, Completion)
        assert "".join(piece.text for piece in pieces) == completion.text
    assert len(asked) == 4


# --- courses are followed once, and may be asked again


async def test_a_course_of_a_thousand_steps_is_run_once() -> None:
    writer = Counts()
    model = Written(writer, no_model())
    exchanges = counted(1000)
    for number in range(1001):
        written = await model.complete(request("Count.", *exchanges[:number]))
    assert written.text == "> say 1000 "
    assert (writer.begun, writer.told) == (1, 1000)


async def test_the_same_request_gets_the_same_answer_however_often_and_late() -> None:
    writer = Counts()
    model = Written(writer, no_model())
    asked = [request("Count.", *counted(number)) for number in (0, 1, 2, 2, 0, 1)]
    ended = request("Count.", *counted(2), Exchange("> say 2 ", heard("enough")))
    texts = [(await model.complete(each)).text for each in [*asked, ended, ended, asked[0]]]
    assert texts == [f"> say {n} " for n in (0, 1, 2, 2, 0, 1)] + ["print(2)\n"] * 2 + ["> say 0 "]


async def test_episodes_that_share_a_writer_do_not_mix() -> None:
    model = Written(Counts(), no_model())
    ours, theirs = counted(3), counted(3)
    for number in range(4):
        for exchanges in (ours, theirs):
            assert (await model.complete(request("Count.", *exchanges[:number]))).text == f"> say {number} "


async def test_a_child_with_another_brief_has_another_course() -> None:
    class Briefed:
        def course(self, turn: Turn) -> Course:
            yield from ()
            return f"print({turn.brief!r})\n"

    model = Written(Briefed())
    texts = [(await model.complete(request("x", thread="0.0", brief=brief))).text for brief in (1, "two")]
    assert texts == ["print(1)\n", "print('two')\n"]


async def test_a_thread_that_goes_another_way_than_its_course_is_refused_beside_a_model() -> None:
    model = Written(Counts(), no_model())
    with pytest.raises(MalformedOutput, match="written something else than its course"):
        await model.complete(request("Count.", Exchange("> shout ", heard("?"))))
    over = [Exchange("> say 0 ", heard("enough")), Exchange("print(0)\n", heard("more"))]
    with pytest.raises(MalformedOutput):
        await model.complete(request("Count.", *over))
    alone = await Written(Counts()).complete(request("Count.", *over))
    assert (alone.text, alone.stop) == ("\nprint('the teacher did not write this thread')\n", "end")


async def test_an_error_of_a_writer_ends_the_episode_as_one_of_the_model(play: Callable[..., Any]) -> None:
    class Breaks:
        def course(self, turn: Turn) -> Course:
            yield "> look "
            raise ZeroDivisionError(turn.context)

    played = await play(Written(Breaks()))
    assert (played.episode.status, played.episode.message) == ("model_error", "model error: ZeroDivisionError: Do it.")


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        5,
        Decided(None, End()),
        Decided("x ", None),
        Decided("x ", "look"),
        Decided("x ", Act(5)),
        Decided("x ", Spawn("abc")),
        Decided("x ", Spawn((5,))),
        Decided("x ", Spawn((Child(context=5),))),
        Decided("x ", Spawn((Child("a", stop="=>"),))),
        Decided("x ", Await((0,))),
        Decided("x ", Await("01")),
        Decided("x ", Await(("0",), "one")),
    ],
)
@pytest.mark.parametrize("model", [None, ScriptedModel(["print('x')"])])
async def test_a_course_that_writes_no_text_or_move_ends_the_episode_and_says_what_it_wrote(play, wrong, model) -> None:
    played = await play(Written(Follows(wrong), model))
    assert (played.episode.status, played.events[-1].kind) == ("model_error", "episode_ended")
    told = f"a course of Follows has written neither text nor text with a move: {wrong!r:.120}"
    assert played.episode.message == f"model error: {told}"


async def test_a_course_that_returns_nothing_ends_the_episode_and_says_so(play) -> None:
    played = await play(Written(Follows("> look ", last=None)), environment=Walls())
    assert played.episode.message.endswith("neither text nor text with a move: Decided(text=None, move=End())")


async def test_threads_that_inherit_from_different_texts_have_different_courses() -> None:
    class Reads:
        def course(self, turn: Turn) -> Course:
            assert turn.inherits is not None
            yield f"> read {turn.inherits.written}"
            return "print('end')\n"

    model = Written(Reads())
    for text in ("one ", "two "):
        asked = request("", thread="0.0")
        assert asked.turn is not None
        asked.turn = asked.turn._replace(inherits=Turn("0", 0, "", "", written=text))
        assert (await model.complete(asked)).text == f"> read {text}"


# --- teachers, and replays


async def test_a_teacher_needs_no_constructor_of_ours(play: Callable[..., Any]) -> None:
    class Obliging(Teacher):
        def __init__(self, words: str) -> None:
            self.words = words

        def solve(self, context: str) -> Course:
            seen = yield f"{self.words}\n> look "
            return f"print({seen.text!r})\n"

    teacher = Obliging("First a look.")
    played = await play(teacher, environment=Walls())
    await teacher.close()
    assert played.episode.answer == "You are in room 1"
    assert [event.writer for event in played.of("generated")] == ["", ""]


async def test_a_replay_tells_who_wrote_what(play: Callable[..., Any]) -> None:
    model = Written(Follows("Ask, a ", "> look "), ScriptedModel(["print('x')"]))
    played = await play(model, environment=Walls())
    again = await play(ReplayModel(played.events), environment=Walls())
    assert [event.writer for event in played.of("generated")] == ["Follows", "", "Follows", "Follows"]
    assert [e.writer for e in again.of("generated")] == [e.writer for e in played.of("generated")]
