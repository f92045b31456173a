"""Texts in fork-join formats are checked by the released rules; wrong ones crash nothing, right ones stay as they are."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from damage import damaged, whole
from forking import NPR, WEAVER, npr_block, paper_block, recited, weaver_block
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thread_cli.assembly.checking import FormatCheck
from thread_cli.contracts.environment import Task
from thread_cli.contracts.limits import Limits
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.checking import npr_problems, weaver_problems
from thread_cli.protocols.prompt import Prompt, Rules

TWO, STEPS = weaver_block(" a", " b"), npr_block(" a", " b")
PAPER = paper_block(" a", " b")
CONCLUDED = TWO.replace("\n</Parallel>", "\n<Conclusion>\nboth</Conclusion>\n</Parallel>")
WIDE = weaver_block(*[" x"] * 51)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nothing is forked", ()),
        (f"So:\n{TWO}\nand {TWO}\n</think>\n5", ()),
        (CONCLUDED, ()),
        (weaver_block(*[" x"] * 50), ()),
        (WIDE, ("too many threads",)),
        (TWO.replace("</Thread><", "</Thread>\n<"), ("blanks between threads",)),
        (TWO.replace("2: b", "3: b"), ("numbers are not 1 to n",)),
        (TWO.replace("2: part", "3: part").replace("2: b", "3: b"), ("numbers are not 1 to n",)),
        (TWO.replace("1: a", "a"), ("no number",)),
        (TWO.replace("1: a", "1: "), ("an empty body",)),
        (TWO.replace("<Thread>\n2: b</Thread>", ""), ("as many threads as items are wanted",)),
        (TWO.replace("1: a", "1: <Outline>"), ("a tag in a body",)),
        (weaver_block(f" {TWO}", " b"), ("nested blocks",)),
        (TWO.replace("</Outlines>\n", "</Outlines>\nso "), ("text between threads",)),
        (TWO.replace("</Parallel>", ""), ("an open tag",)),
        (TWO.replace("<Parallel>", ""), ("a closing tag alone", "a tag outside a block")),
        (f"{TWO}<Thread>3: c</Thread>", ("a tag outside a block",)),
        ("<Parallel>\n<Thread>1: a</Thread></Parallel>", ("no list of outlines",)),
        ("<Parallel><Outlines></Outlines></Parallel>", ("an empty list",)),
        (CONCLUDED.replace("both", " "), ("an empty body",)),
        (CONCLUDED.replace("</Conclusion>", "</Conclusion><Conclusion>x</Conclusion>"), ("several conclusions",)),
    ],
)
def test_a_text_is_right_by_the_released_checkers_rules_or_says_what_is_wrong(
    text: str, wrong: tuple[str, ...]
) -> None:
    found = weaver_problems(text)
    assert set(wrong) <= set(found)
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"{STEPS}\nand\n{STEPS}\n5", ()),
        (STEPS.replace("<takeaway>\nall of it</takeaway>", ""), ("no conclusion",)),
        (npr_block(*[" x"] * 6), ("too many threads",)),
        (STEPS.replace("\n<step>\n2: b</step>", ""), ("as many threads as items are wanted",)),
        (STEPS.replace("2: b", "1: b"), ("numbers are not 1 to n",)),
        ("<step>1: a</step>", ("a tag outside a block",)),
        (STEPS.replace("all of it", STEPS), ("a tag in a body",)),
        (STEPS[:-30], ("no conclusion",)),
    ],
)
def test_nprs_rules_are_the_same_in_its_own_tags(text: str, wrong: tuple[str, ...]) -> None:
    found = npr_problems(text)
    assert set(wrong) <= set(found)
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (PAPER, ()),
        (TWO, ()),
        (f"So:\n{PAPER}and {PAPER}\n</think>\n5", ()),
        (PAPER.replace("</Thread>\n<", "</Thread>\n \n<"), ()),
        (PAPER.replace("</Thread>\n<", "</Thread>\nso\n<"), ("text between threads",)),
        (paper_block(f" {PAPER}", " b"), ("nested blocks",)),
        (PAPER + "</Parallel>", ("a closing tag alone",)),
        (PAPER.replace("2: b", "3: b"), ("numbers are not 1 to n",)),
        (paper_block(*[" x"] * 51), ("too many threads",)),
    ],
)
def test_by_the_paper_there_may_be_blanks_between_threads_and_all_else_is_as_released(
    text: str, wrong: tuple[str, ...]
) -> None:
    found = weaver_problems(text, {"paper"})
    assert set(wrong) <= set(found)
    assert bool(found) == bool(wrong)
    released = set(weaver_problems(text))
    assert released - {"blanks between threads"} == set(found)
    assert weaver_problems(text, {"conclusions", "evaluation"}) == weaver_problems(text)


@pytest.mark.parametrize(("plans", "wrong"), [(1, ()), (5, ()), (6, ()), (60, ()), (0, ("an empty list",))])
def test_by_the_paper_a_guideline_has_any_number_of_plans_but_none(plans: int, wrong: tuple[str, ...]) -> None:
    text = npr_block(*[" x"] * plans)
    assert npr_problems(text, {"paper"}) == wrong
    assert npr_problems(text) == (wrong or (("too many threads",) if plans > 5 else ()))
    assert npr_problems(text.replace("1: x", "1: <plan>"), {"paper"}) == (wrong or ("a tag in a body",))


WORDS = st.text(st.sampled_from("ab 1:.\n"), min_size=1, max_size=12).map(lambda text: f" x{text}")
BODIES = st.lists(WORDS, min_size=1, max_size=5)


def broken(name: str) -> st.SearchStrategy[str]:
    """Texts in which something was cut off, swapped, renumbered, nested, repeated or put in."""
    seeds = st.integers(0, 2**32).map(Random)
    return seeds.map(lambda chance: damaged(name, whole(name, chance), chance))


def played_by(rules: dict[str, Any], script: Any, into: list[Any] | None = None) -> tuple[Any, str]:
    """An episode, in a loop of its own as hypothesis is not asynchronous, and the main thread's Y; events go `into`."""
    events: list[Any] = [] if into is None else into

    async def run() -> Any:
        variables = VariableInterpreter()
        prompt = Prompt("test", "Q", Rules(**rules))
        limits = Limits(depth=3, threads=100, calls=60)
        executor = Executor(
            model=ScriptedModel(script), prompt=prompt, interpreter=variables, sinks=[events.append], limits=limits
        )
        episode = await executor.run(Task("t", "Do it."))
        await variables.close()
        return episode

    episode = asyncio.run(run())
    kinds = {"generated", "joined", "corrected"}
    return episode, "".join(event.text for event in events if event.thread == "0" and event.kind in kinds)


FEW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=2_000)
PAPERS = [("weaver:paper", WEAVER, paper_block), ("npr:paper", NPR, npr_block)]
FORMATS = [("weaver", WEAVER, weaver_block, weaver_problems), ("npr", NPR, npr_block, npr_problems)]


@pytest.mark.parametrize(("name", "rules", "block", "problems"), FORMATS)
def test_two_thousand_broken_texts_are_each_classed(name: str, rules: Any, block: Any, problems: Any) -> None:
    classes: set[str] = set()

    @MANY
    @given(broken(name))
    def check(text: str) -> None:
        found = problems(text)
        assert len(set(found)) == len(found)
        assert all(0 < len(problem) < 60 for problem in found)
        classes.update(found)

    check()
    assert len(classes) >= 10


@pytest.mark.parametrize(("name", "rules", "block", "problems"), FORMATS)
def test_right_texts_are_right_and_come_out_of_an_episode_as_they_are(name, rules, block, problems) -> None:
    @FEW
    @given(st.lists(BODIES, min_size=1, max_size=3), st.booleans())
    def check(blocks: list[list[str]], two: bool) -> None:
        text = "".join(f"{n}.\n{block(*bodies)}\n" for n, bodies in enumerate(blocks)) + "</think>\n5" * two
        assert problems(text) == ()
        _, y = played_by(rules, recited(text, "Thread" if name == "weaver" else "step"))
        assert y == text

    check()


@pytest.mark.parametrize(("protocol", "rules", "block"), PAPERS)
def test_right_texts_of_the_papers_come_out_of_an_episode_as_they_are_and_are_right_in_its_report(
    protocol: str, rules: Any, block: Any
) -> None:
    @FEW
    @given(st.lists(st.lists(WORDS, min_size=1, max_size=9), min_size=1, max_size=3))
    def check(blocks: list[list[str]]) -> None:
        text = "".join(f"{n}.\n{block(*bodies)}\n" for n, bodies in enumerate(blocks)) + "5"
        script = recited(text, "step" if protocol == "npr:paper" else "Thread")
        events: list[Any] = []
        _, y = played_by({**rules, "protocol": protocol}, script, events)
        assert y == text
        assert FormatCheck(events).problems() == ()

    check()
