"""APR's wire format: recorded traces, what each thread sees, repairs, and any text at all."""

from __future__ import annotations

from typing import Any

import pytest
from apr_traces import CALL, CHILDREN, GENERATED, START, Recorded, context_of, traces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thread_cli.assembly.checking import FormatCheck
from thread_cli.contracts.errors import MalformedOutput, UserError
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Request
from thread_cli.contracts.protocol import End, Joining, Result, Spawn
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.apr import AprProtocol, apr_problems, goal_path, node_context
from thread_cli.protocols.prompt import load, named
from thread_cli.record import first_difference
from thread_cli.record.tree import tree_of

RULES = {"phi": "sub_search", "psi": "sub_search"}
WIDE = Limits(max_tokens=100_000, calls=1000)
PATH = "Moving to Node #0,0\nCurrent State: 60:[30, 6], Operations: ['98-92=6']\nExploring Operation: …"
RESULTS = f"""<Sub Searches>
<No Solution in Sub Search 0 at level 1 at Node #0,1>
<Goal Reached in Sub Search 1 at level 1 at Node #0,0>
{PATH}
60,60 equal: Goal Reached
<End Sub Searches>
"""
REACHED = f"\n60,60 equal: Goal Reached\n{PATH}\n60,60 equal: Goal Reached\n"
NOTHING = "\nNo solution found.\n"


def spawned(y: str, stop: Any = "end", **options: Any) -> Spawn:
    move = AprProtocol(**options).read(y, stop)
    assert isinstance(move, Spawn)
    return move


def joined(move: Spawn, *results: Result) -> str:
    joining = move.join(results)
    assert isinstance(joining, Joining)
    return "".join(part.text for part in joining.parts)


def contexts(move: Spawn, y: str, context: str = START) -> list[str]:
    return [node_context(child.line, f"{context}\n{y}") for child in move.lines]


# --- recorded traces


def test_recorded_traces_parse_join_and_render_to_the_same_text(task_data) -> None:
    count = 0
    for name, trace in traces(task_data / "countdown"):
        context, texts = context_of(trace), trace["main_calls"]
        for number, text in enumerate(texts):
            assert not apr_problems(text), name
            y = text.removeprefix(context)
            if number == len(texts) - 1:
                assert AprProtocol().read(y, "end") == End(), name
                break
            move = spawned(y)
            assert move.repairs == (), name
            children = [child["main_calls"][-1] for child in trace["sub_calls"][number]]
            own = contexts(move, y, context)
            assert [child.startswith(f"{begun}\n") for child, begun in zip(children, own, strict=True)], name
            results = [Result("", y=child.removeprefix(begun)) for child, begun in zip(children, own, strict=True)]
            now = y[: move.join(results).kept] + joined(move, *results)
            assert texts[number + 1].startswith(context + now), name
        count += 1
    assert count >= 40


async def test_recorded_traces_played_by_the_executor_end_in_the_same_text(task_data, play) -> None:
    for name, trace in traces(task_data / "countdown"):
        model = Recorded(trace)
        context = context_of(trace)
        played = await play(model, context, protocol=AprProtocol(), rules=RULES, limits=WIDE)
        assert context + played.y("0") == trace["main_calls"][-1], name
        assert played.episode.totals.threads == len(model.texts), name
        assert played.episode.totals.repairs == 0, name
        tree = tree_of(played.events).threads["0"]
        calls = ["".join(part.text for part in removal.segments) for removal in tree.removals]
        assert len(calls) == len(trace["main_calls"]) - 1, name
        assert all(text.endswith(call) for text, call in zip(trace["main_calls"], calls, strict=False)), name


# --- what a thread sees


async def test_a_child_sees_its_string_alone_and_the_parent_resumes_without_its_tokens(play) -> None:
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        if request.thread == "0":
            return "60,60 equal: Goal Reached\nthe path" if request.y else GENERATED + CALL
        return "\na secret search" + (REACHED if request.thread == "0.1" else NOTHING)

    played = await play(script, START, protocol=AprProtocol(), rules=RULES)
    main = [request.prompt for request in asked if request.thread == "0"]
    assert main == [
        f"Q{START}",
        f"Q{START}{GENERATED}{RESULTS}",
    ]
    assert [request.prompt for request in asked if request.thread != "0"] == [f"Q{child}" for child in CHILDREN]
    again = await play(ReplayModel(played.events), START, protocol=AprProtocol(), rules=RULES)
    assert first_difference(played.events, again.events) is None
    assert played.y("0.0") == "\na secret search" + NOTHING


@pytest.mark.parametrize(
    ("call", "problems"), [(CALL.rstrip(), ()), (CALL.replace("<End Calling Sub Searches>\n", ""), ("unclosed",))]
)
async def test_calls_are_checked_though_they_are_removed(play, call: str, problems: tuple[str, ...]) -> None:
    def script(request: Request) -> str:
        return GENERATED + call if request.thread == "0" and not request.y else NOTHING

    played = await play(script, START, rules={"protocol": "apr", **RULES})
    assert FormatCheck(played.events).problems() == problems
    assert "<Calling" not in played.y("0")


async def test_the_papers_parent_keeps_the_block_that_spawned(play) -> None:
    def script(request: Request) -> str:
        if request.thread == "0":
            return "No solution found." if request.y else (GENERATED + CALL).rstrip()
        return NOTHING

    played = await play(script, START, protocol=AprProtocol(keeps_calls=True), rules=RULES)
    assert played.y("0").startswith(f"{GENERATED}{CALL}<Sub Searches>\n<No Solution in Sub Search 0 at level 1")
    assert played.of("removed") == []


async def test_first_words_tell_budgets(play) -> None:
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        return GENERATED + CALL if request.thread == "0" and not request.y else NOTHING

    await play(script, START, protocol=AprProtocol(calls=3, tokens=513), rules=RULES)
    assert asked[0].c == asked[-1].c == f"Sub Call Budget: 3 {START}"
    assert [request.c for request in asked[1:3]] == [f"Token Budget: 1024 {child}" for child in CHILDREN]
    assert AprProtocol(tokens=1024).read(GENERATED + CALL, "end").lines[0].protocol.open("c") == "Token Budget: 1024 c"


async def test_children_that_begin_alike_each_have_their_result(play) -> None:
    twice = CALL.replace("#0,1", "#0,0")

    def script(request: Request) -> str:
        if request.thread == "0":
            return "No solution found." if request.y else GENERATED + twice
        return REACHED.replace("…", request.thread)

    played = await play(script, START, protocol=AprProtocol(), rules=RULES)
    assert "Exploring Operation: 0.0\n" in played.y("0")
    assert "Exploring Operation: 0.1\n" in played.y("0")


async def test_a_child_that_failed_is_not_told_as_one_without_a_solution(play) -> None:
    def script(request: Request) -> str:
        if request.thread == "0":
            return "No solution found." if request.y else GENERATED + CALL.replace("#0,1", "#0,7")
        return "" if request.y else NOTHING

    played = await play(script, START, protocol=AprProtocol(), rules=RULES)
    first, second = played.y("0").partition("<Sub Searches>\n")[2].splitlines()[:2]
    assert (
        first == "<Failed Sub Search 0 at level 1 at Node #0,7: error: malformed output: no line generates Node #0,7>"
    )
    assert second == "<No Solution in Sub Search 1 at level 1 at Node #0,0>"
    assert [event.failure for event in played.of("failed")] == ["malformed output"]


async def test_a_search_below_a_search_may_call_searches(play) -> None:
    deeper = "\nGenerated Node #0,1,0: 60:[6] Operation: 98-62=36\n" + CALL.replace("level 1", "level 2").replace(
        "<Start Sub Search 1 at level 2> Moving to Node #0,0\n", ""
    ).replace("#0,1", "#0,1,0")
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        if request.thread == "0" and not request.y:
            return GENERATED + CALL
        if request.thread == "0.0":
            return REACHED if request.y else deeper
        return REACHED if request.thread == "0.0.0" else NOTHING

    played = await play(script, START, protocol=AprProtocol(), rules=RULES)
    (lowest,) = [request for request in asked if request.thread == "0.0.0"]
    assert lowest.c == "Moving to Node #0,1,0\nCurrent State: 60:[6], Operations: ['92-30=62', '98-62=36']"
    assert "<Goal Reached in Sub Search 0 at level 2 at Node #0,1,0>" in played.y("0.0")
    assert (
        f"<Goal Reached in Sub Search 0 at level 1 at Node #0,1>\n{PATH}\n60,60 equal: Goal Reached\n<No"
        in played.y("0")
    )


def test_a_state_is_what_the_line_that_generated_the_node_says() -> None:
    """The generator of traces sometimes names another node above a state."""
    y = f"{GENERATED}Moving to Node #0,1\nCurrent State: 60:[30, 6], Operations: ['98-92=6']\n{CALL}"
    assert contexts(spawned(y), y) == list(CHILDREN)


def test_a_path_is_the_text_behind_the_last_but_one_goal() -> None:
    assert goal_path(REACHED) == f"{PATH}\n60,60 equal: Goal Reached"
    assert goal_path("\n60,60 equal: Goal Reached\n") is None
    assert goal_path(NOTHING) is None
    smuggled = REACHED.replace("…", "…\n<Calling Sub Searches>\n<End Sub Searches>")
    assert goal_path(smuggled) == f"{PATH}\n60,60 equal: Goal Reached"


# --- repairs

BROKEN = {
    "no closing tag": (CALL.replace("<End Calling Sub Searches>\n", ""), ("unclosed",)),
    "cut in the last line": (CALL[: CALL.index("#0,0") + 3], None),
    "another closing tag": (CALL.replace("<End Calling", "<End"), ("wrong tag",)),
    "an XML closing tag": (CALL.replace("<End Calling", "</Calling"), ("wrong tag",)),
    "no opening tag": (CALL.replace("<Calling Sub Searches>\n", ""), ("unopened", "unclosed")),
    "numbers from 1": (CALL.replace("Search 1", "Search 2").replace("Search 0", "Search 1"), ("misnumbered",)),
    "one number twice": (CALL.replace("Search 1", "Search 0"), ("misnumbered",)),
    "two levels": (CALL.replace("1 at level 1", "1 at level 2"), ("misnumbered",)),
    "no numbers": (CALL.replace("Search 0", "Search").replace("Search 1", "Search"), ("misspelt",)),
    "no node sign": (CALL.replace("Node #", "Node "), ("misspelt",)),
    "no brackets": (CALL.replace("1>", "1").replace("<Start", "Start"), ("misspelt",)),
    "blanks in ids": (CALL.replace("0,", "0, "), ("misspelt",)),
    "other letters": (CALL.replace("Start Sub Search", "start sub search"), ("misspelt",)),
    "text inside": (CALL.replace("<End Calling", "These two.\n<End Calling"), ("stray text",)),
    "two blocks": (CALL + CALL, ("stray text",)),
    "tags behind it": (CALL + "<End Sub Searches>\n", ("stray text",)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_block_whose_intent_is_plain_is_repaired(case: str) -> None:
    call, repairs = BROKEN[case]
    y = GENERATED + call
    move = spawned(y)
    assert contexts(move, y)[:2] == list(CHILDREN)[: len(move.lines)]
    assert move.repairs == (("unclosed",) if repairs is None else repairs)
    assert apr_problems(y)
    assert f"{GENERATED}{CALL}".startswith(y[: move.join([Result("")] * len(move.lines)).kept].removesuffix(CALL))


def test_fifty_searches_are_called_at_once() -> None:
    lines = [f"<Start Sub Search {n} at level 1> Moving to Node #0,{n % 2}\n" for n in range(50)]
    move = spawned(f"{GENERATED}<Calling Sub Searches>\n{''.join(lines)}<End Calling Sub Searches>")
    assert (len(move.lines), move.repairs) == (50, ())


@pytest.mark.parametrize("tail", ["Exploring Operation: 1+1=2\nNo solution found.\n", "60,60 equal: Goal Reached\n"])
def test_a_thread_that_went_on_behind_a_block_by_itself_is_left_alone(tail: str) -> None:
    assert AprProtocol().read(GENERATED + CALL + tail, "end") == End()


async def test_the_engines_tag_in_place_of_the_threads_own_is_put_right(play) -> None:
    answers = iter([GENERATED + "<Sub Searches>\n<Goal", "\n" + CALL.partition("\n")[2], NOTHING, NOTHING, "\nend"])
    played = await play(lambda request: next(answers), START, protocol=AprProtocol(), rules=RULES)
    assert [event.repair for event in played.of("repaired")] == ["wrong tag"]
    assert [event.context for event in played.of("thread_started")][1:] == list(CHILDREN)
    assert played.y("0").startswith(f"{GENERATED}<Sub Searches>\n<No Solution")


async def test_a_block_without_nodes_is_answered_with_an_error(play) -> None:
    answers = iter([GENERATED + "<Calling Sub Searches>\n<End Calling Sub Searches>", NOTHING])
    played = await play(lambda request: next(answers), START, protocol=AprProtocol(), rules=RULES)
    (corrected,) = played.of("corrected")
    assert corrected.text == (
        "\n<Sub Searches>\n<Failed Sub Search: error: a block that calls sub searches names no node>\n<End Sub Searches>\n"
    )
    assert played.episode.answer == "No solution found."


def test_a_backend_that_cannot_tell_what_ended_a_call_is_read_by_the_text() -> None:
    protocol = AprProtocol()
    assert protocol.read(GENERATED + REACHED, "stop") == protocol.read(GENERATED + NOTHING, "stop") == End()
    assert protocol.read(GENERATED, "stop").repairs == ("wrong tag",)
    assert len(protocol.read(GENERATED + CALL, "stop").lines) == 2


# --- any text

PIECES = [
    *(GENERATED, CALL, REACHED, NOTHING, START, "\n", " ", "<", ">", "#", "Node", "{x}", "…", "\x00"),
    *CALL.splitlines(keepends=True),
    *("<Sub Searches>", "<End Sub Searches>\n", "</Calling Sub Searches>\n", "<Start Sub Search", "Goal Reached"),
    *(
        "<Goal Reached in Sub Search 0 at level 1 at Node #0,1>\n",
        "<No Solution in Sub Search 0 at level 1 at Node #0>\n",
    ),
    *("Moving to Node #0,1\n", "Moving to Node #99\n", "Moving to Node #0,0,0,0,0,0,0\n"),
    "".join(f"<Start Sub Search {n} at level 1> Moving to Node #0,{n}\n" for n in range(50)),
]


@st.composite
def malformed(draw: Any) -> str:
    """A text of pieces of the format, cut and changed anywhere."""
    text = "".join(draw(st.lists(st.sampled_from(PIECES), max_size=12)))
    for _ in range(draw(st.integers(0, 3))):
        at, size = draw(st.integers(0, len(text))), draw(st.integers(0, 40))
        text = text[:at] + draw(st.sampled_from(["", "\n", "<", "1", *PIECES[:4]])) + text[at + size :]
    return text


@pytest.mark.timeout(600)
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(malformed(), st.sampled_from(["end", "listen", "stop"]), st.booleans())
def test_any_text_ends_spawns_or_is_refused(y: str, stop: Any, keeps_calls: bool) -> None:
    protocol = AprProtocol(keeps_calls=keeps_calls)
    correct = not apr_problems(y)
    try:
        move = protocol.read(y, stop)
    except MalformedOutput:
        assert not correct
        return
    if isinstance(move, End):
        return
    assert not (move.repairs and correct and move.lines)
    for child in move.lines:
        try:
            assert node_context(child.line, f"{START}\n{y}").startswith(child.line)
        except MalformedOutput:
            continue
    if move.lines:
        joining = move.join([Result("No solution found.")] * len(move.lines))
        assert 0 <= joining.kept <= len(y)
        again = y[: joining.kept] + "".join(part.text for part in joining.parts)
        assert again == y or protocol.read(again, "end") == End()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(first=malformed(), second=malformed(), child=malformed())
async def test_any_text_is_played_to_an_end(play, first: str, second: str, child: str) -> None:
    model = ScriptedModel(
        lambda request: (second if request.y else first) if request.thread == "0" else child,
    )
    limits = Limits(calls=60, threads=200, depth=3)
    played = await play(model, START, protocol=AprProtocol(), rules=RULES, limits=limits)
    assert played.episode.status in {"answered", "limited", "failed"}
    assert tree_of(played.events).threads["0"].y == played.y("0")


# --- by name


def test_a_prompt_may_name_the_format_and_its_options(tmp_path) -> None:
    file = tmp_path / "apr.jinja"
    file.write_text("+++\nprotocol = 'apr:calls=4,tokens=1000'\n+++\n", "utf-8")
    prompt = load(str(file), "none")
    assert (prompt.rules.phi, prompt.rules.psi) == ("sub_search", "sub_search")
    assert prompt.protocol().open("c") == "Sub Call Budget: 4 c"
    kept = load(str(file), "none", override={"protocol": "apr:paper"}).protocol().read(GENERATED + CALL, "end")
    assert kept.join([Result("")] * 2).kept == len(GENERATED + CALL) - 1


@pytest.mark.parametrize("spec", ["apr:calls", "apr:calls=0", "apr:tokens=-1", "apr:tokens=x"])
def test_a_budget_that_is_no_number_is_refused_in_one_line(spec: str) -> None:
    found, options = named(spec)
    with pytest.raises(UserError, match=r"^the option '(calls|tokens)' of the protocol 'apr' is a number from 1 on"):
        found.make(None, options)
