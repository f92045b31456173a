"""Branches of one question: their majority, and Parallel-Probe, which asks them while they write."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from pruning import ends
from speaking import Halves, Speaks

from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion, Usage
from thread_cli.contracts.watcher import Probes
from thread_cli.models.branches import NO_ANSWER, branched
from thread_cli.models.probed import Probed
from thread_cli.models.replay import ReplayModel
from thread_cli.protocols.answers import answer_in, likeness, most_frequent
from thread_cli.protocols.thread import ThreadProtocol
from thread_cli.record import first_difference
from thread_cli.record.tree import tree_of
from thread_cli.watchers.parallel_probe import ParallelProbe

FORMAT = ThreadProtocol(start="#START#", end="#END#")
LONG = " ".join(f"word{n}" for n in range(100))
SOON: dict[str, Any] = {"distance": 8, "warm_up": 0, "patience": 2, "disagreements": 2, "opening": "\nSo {"}


@pytest.fixture
def vote(play):
    """Play branches with a model; with settings, under Parallel-Probe."""

    async def run(model: Any, count: int, *, settings: dict[str, Any] | None = None, **options: Any) -> Any:
        watchers, inside = [], model
        if settings is not None:
            watchers = [ParallelProbe(**settings)]
            inside = Probed(model, watchers[0])
        if isinstance(model, ReplayModel):
            watchers = []  # what they ended is in the recording
        outside, ballot = branched(inside, count, FORMAT)
        options.setdefault("limits", Limits(calls=1000))
        return await play(outside, "How many?", protocol=ballot, watchers=watchers, **options)

    return run


# --- self-consistency


async def test_the_answer_of_most_branches_is_the_episodes_and_the_vote_costs_nothing(vote) -> None:
    played = await vote(Speaks(["print(7)", "x = 2\nprint(x * 4)", "print('8.')"]), 3)
    assert (played.episode.status, played.episode.answer) == (Status.answered, "8")
    assert played.y("0") == "3 branches\n0: 7\n1: 8\n2: 8.\n8"
    totals = played.episode.totals
    assert (totals.threads, totals.generated_tokens) == (4, 1 + 6 + 1)
    assert {event.writer for event in played.of("generated", "0")} == {"self-consistency"}


async def test_a_branch_that_failed_has_no_vote(vote) -> None:
    played = await vote(Speaks(["", "", "print(3)"]), 3)
    assert played.episode.answer == "3"
    assert (await vote(Speaks(["", " "]), 2)).episode.answer == NO_ANSWER


async def test_a_branch_may_end_in_prose_as_a_main_thread_may(vote) -> None:
    played = await vote(Speaks(["Three and one.\nThe answer is 4", "print(4)", "print(5)"]), 3)
    assert (played.episode.answer, [event.failed for event in played.of("thread_ended")]) == ("4", [False] * 4)


class Spends:
    """Answers each branch with its text, in one piece, and with a usage of which each part overruns a small limit."""

    def __init__(self, texts: list[str], late: float = 0.0) -> None:
        self.texts, self.late = texts, late

    async def complete(self, request: Any) -> Any:
        branch = int(request.thread.split(".")[1])
        if self.late and branch == 1:
            await asyncio.sleep(0.05)
            time.sleep(self.late)  # noqa: ASYNC251 - as a backend does that cannot be cancelled
        return Completion(self.texts[branch], "end", Usage(40, generated=9, cost=0.002))

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("kind", "cap", "says"),
    [
        ("total_tokens", 20, "the limit of 20 tokens is reached"),
        ("generated_tokens", 8, "the limit of 8 generated tokens is reached"),
        ("cost", 0.004, "the limit of 0.004 US dollars is reached"),
    ],
)
async def test_a_limit_that_branches_overran_is_told_and_their_vote_is_counted(vote, kind, cap, says) -> None:
    """What a call costs is known when it has been made: so branches may spend more than there is."""
    limits = Limits(calls=1000, **{kind: cap})
    first = await vote(Spends(["print(7)", "x = 2\nprint(x * 4)", "print('8.')"]), 3, limits=limits)
    assert (first.episode.status, first.episode.answer) == (Status.answered, "8")
    assert first.episode.message == f"the main thread ended; nothing here judges its answer; {says}"
    assert (first.events[-1].message, first.of("thread_ended", "0")[0].result) == (first.episode.message, "8")
    again = await vote(ReplayModel(first.events), 3, limits=limits)
    assert first_difference(first.events, again.events) is None


async def test_a_vote_is_counted_after_the_episodes_time(vote) -> None:
    for limits, says in (
        (Limits(working_time=0.1), "; the limit of 0.1 seconds of work is reached"),
        (Limits(wall_time=0.2), "nothing here judges its answer"),
    ):
        played = await vote(Spends(["print(6)", "print(5)", "print(6)"], late=0.3), 3, limits=limits)
        assert (played.episode.status, played.episode.answer) == (Status.answered, "6")
        assert played.episode.message.endswith(says)


async def test_where_no_branch_returned_a_limit_that_they_overran_ends_the_episode(vote) -> None:
    played = await vote(Spends(["", " "]), 2, limits=Limits(total_tokens=60))
    assert (played.episode.status, played.episode.message) == (Status.limited, "the limit of 60 tokens is reached")
    assert [event.failed for event in played.of("thread_ended")] == [True] * 3


async def test_a_branch_that_a_limit_ended_has_no_vote_and_its_failure_says_which(vote) -> None:
    played = await vote(Speaks([LONG, "print(3)", "print(3)"]), 3, limits=Limits(generated_tokens=80))
    assert (played.episode.status, played.episode.answer) == (Status.answered, "3")
    (failed,) = played.of("failed")
    assert (failed.thread, failed.limit, failed.cap) == ("0.0", "max_tokens", 20)
    assert "0: error: limit reached: 20 tokens were generated without a line" in played.y("0")


async def test_each_branch_draws_from_a_seed_of_its_own_and_not_greedily(vote) -> None:
    model = Speaks(["print(1)"] * 3)
    await vote(model, 3, seed=5)
    assert [(request.seed, request.temperature) for request in model.requests] == [
        (5045, 0.7),
        (5046, 0.7),
        (5047, 0.7),
    ]
    model = Speaks(["print(1)"] * 2)
    await vote(model, 2, temperature=1.2)
    assert [(request.seed, request.temperature) for request in model.requests] == [(None, 1.2)] * 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{1} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("thus\nThe answer is 42.", "42."),
        ("**Answer:** 7", "** 7"),
        ("the answer is clear\nA: 5", "A: 5"),
        (r"cut off \boxed{4", r"cut off \boxed{4"),
        ("", ""),
    ],
)
def test_the_answer_in_a_text(text, answer) -> None:
    assert answer_in(text) == answer


def test_answers_that_differ_only_in_how_they_are_written_are_alike() -> None:
    alike = ["1,234.50", " $1234.5$ ", r"\$1234.5", "**1234.500**.", "+01234.5"]
    assert {likeness(answer) for answer in alike} == {"1234.5"}
    assert likeness("1,2") == "1,2"
    assert likeness("12, 15") == "12, 15"
    assert likeness("No") == "no"
    assert likeness("none of them") == "none of them"
    assert likeness("-0.0") == "0"
    assert most_frequent(["b", "A", "a", "B", ""]) == "b"
    assert most_frequent(["", " "]) is None


# --- Parallel-Probe


async def test_branches_are_stopped_once_the_answer_of_most_was_the_same_for_long_enough(vote) -> None:
    model = Speaks([LONG] * 3, {0: ["7}"], 1: ["7}"], 2: ["8}"]}, pace=0.001)
    played = await vote(model, 3, settings=SOON | {"disagreements": 99})
    assert played.episode.answer == "7"
    assert played.episode.message == "a watcher ended the episode: 2 of 3 branches agree at probe 4"
    assert ends(played)["0.0"] == "stopped"
    probes = [event for event in played.of("thread_started") if event.depth == 2]
    assert 12 <= len(probes) <= 14
    written = sum(event.generated_tokens for event in played.of("generated"))
    assert played.episode.totals.generated_tokens == written
    assert sum(e.generated_tokens for e in played.of("generated") if e.thread.count(".") == 2) >= 12


async def test_a_branch_that_disagrees_too_often_is_pruned_and_has_no_vote(vote) -> None:
    model = Speaks([LONG] * 3, {0: ["7}"], 1: ["7}"], 2: ["8}"]}, pace=0.001)
    played = await vote(model, 3, settings=SOON | {"patience": 6})
    assert ends(played)["0.2"] == "pruned"
    (end,) = played.of("thread_ended", "0.2")
    assert end.reason == "its answer was not that of most in 2 steps in a row"
    assert played.episode.message.endswith("2 of 2 branches agree at probe 8")
    assert len([e for e in played.of("thread_started") if e.parent == "0.2"]) in {3, 4}


async def test_a_probed_branch_writes_what_it_would_have_written_and_its_code_is_run_as_a_whole(vote) -> None:
    text = "\n".join([f"n{n} = {n} * 2" for n in range(12)]) + "\nx = 'so much" + " more" * 12 + "'\nprint(n11)\n#END#"
    played = await vote(Speaks([text] * 2, {0: ["1}"], 1: ["2}"]}), 2, settings=SOON | {"patience": 99})
    tree = tree_of(played.events)
    assert played.y("0.0") == tree.threads["0.0"].y == text.removesuffix("#END#")
    assert len(played.of("generated", "0.0")) > 3
    (ran,) = [event for event in played.of("code_ran", "0.0") if event.printed]
    assert ran.printed.strip() == "22"
    assert [event.error for event in played.of("code_ran")] == [None] * len(played.of("code_ran"))
    assert played.episode.answer == "22"


async def test_a_probe_goes_on_from_the_text_so_far_greedily_and_within_its_tokens(vote) -> None:
    model = Speaks([LONG] * 2, {0: ["7}"], 1: ["7}"]})
    await vote(model, 2, settings=SOON | {"longest": 5}, rules={}, temperature=0.9)
    probe = next(request for request in model.requests if request.thread == "0.1.0")
    assert probe.prompt.endswith("How many?\n\n\nResponse:\n#START#\n" + " ".join(LONG.split()[:8]) + "\nSo {")
    assert probe.turn is not None
    assert probe.turn.context == "probe after 8 tokens"
    assert (probe.temperature, probe.max_tokens, probe.stop) == (0, 5, ("}", "\n"))
    parts = [request for request in model.requests if request.thread == "0.1"]
    assert [request.resumes for request in parts[:3]] == [(0, 0), (len(parts[1].y), 8), (len(parts[2].y), 16)]


async def test_an_answer_ends_with_the_bracket_that_closes_the_probes_own(vote) -> None:
    model = Speaks([LONG] * 2, {0: [r"\frac{1}{2}} and"], 1: [r"\frac{1}{2}}"]})
    played = await vote(model, 2, settings=SOON)
    assert played.episode.answer == r"\frac{1}{2}"
    assert {event.result for event in played.of("thread_ended") if event.thread.count(".") == 2} == {r"\frac{1}{2}"}


async def test_a_stop_string_that_two_parts_have_written_ends_the_thread(vote) -> None:
    text = "x = 5     # as it is.\nprint(x)\n#END#"
    for pad in range(6):
        padded = " " * pad + text
        model = Halves([f"y = 1 #{padded}".replace("x = 5", "\nx = 5")] * 2, {0: ["5}"], 1: ["5}"]})
        played = await vote(model, 2, settings=SOON | {"patience": 99})
        assert played.y("0.0").endswith("print(x)\n")
        assert ends(played)["0.0"] == "returned"


async def test_a_branch_that_ended_keeps_its_vote_and_one_that_failed_loses_it(vote) -> None:
    model = Speaks(["print(8)", " ", LONG, LONG], {2: ["9}"], 3: ["8}"]}, pace=0.001)
    played = await vote(model, 4, settings=SOON | {"disagreements": 99})
    assert played.episode.answer == "8"
    assert "2 of 3 branches agree" in played.episode.message


async def test_probes_without_an_answer_agree_with_nobody_and_stop_nothing(vote) -> None:
    model = Speaks([LONG + "\nprint(4)"] * 2, {0: ["\n"], 1: ["\n"]})
    played = await vote(model, 2, settings=SOON | {"disagreements": 99})
    assert played.episode.answer == "4"
    assert not played.events[-1].reason


async def test_a_branch_that_writes_too_much_fails_as_it_would_without_probes(vote) -> None:
    model = Speaks([LONG] * 2, {0: ["1}"], 1: ["2}"]})
    played = await vote(model, 2, settings=SOON | {"patience": 99, "disagreements": 99}, limits=Limits(max_tokens=20))
    assert [event.limit for event in played.of("failed")] == ["max_tokens"] * 2
    written = [sum(e.generated_tokens for e in played.of("generated", f"0.{n}")) for n in (0, 1)]
    assert written == [20, 20]


@pytest.mark.parametrize("pace", [0, 0.001])
async def test_a_replay_follows_what_was_pruned_and_stopped(vote, pace) -> None:
    answers = {0: ["7}"], 1: ["7}"], 2: ["8}"], 3: ["8}", "7}"]}
    first = await vote(Speaks([LONG] * 4, answers, pace=pace), 4, settings=SOON | {"patience": 4})
    assert "pruned" in ends(first).values()
    again = await vote(ReplayModel(first.events), 4, settings=SOON | {"patience": 4})
    assert first_difference(first.events, again.events) is None
    assert again.episode.answer == first.episode.answer == "7"


async def test_children_whose_results_are_variables_are_no_probes(play) -> None:
    watcher = ParallelProbe(**SOON)
    text = f"a = first, x =>{{a}}<=\n\n\nb = of {{a}} =>{{b}}<=\n\n\n{LONG}"
    answers = ["print(5)", "print(6)", *["7}"] * 9]
    model = Probed(Speaks([text] * 2, {0: answers, 1: answers}, pace=0.001), watcher)
    outside, ballot = branched(model, 2, ThreadProtocol(start="#START#", end="#END#", independent=True))
    played = await play(outside, "How many?", protocol=ballot, watchers=[watcher], limits=Limits(calls=1000))
    assert len(played.of("joined", "0.0")) > len(played.of("generated", "0.0.2"))
    assert (played.episode.answer, played.episode.message[-27:]) == ("7", "2 branches agree at probe 4")
    probes = [event for event in played.of("thread_started") if event.parent == "0.0" and event.opening]
    assert len(probes) >= 4


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings in ({"distance": 7}, {"patience": 0}, {"warm_up": -1}, {"opening": ""}, {"stop": 3}, {"longest": "x"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            ParallelProbe(**settings)
    assert isinstance(ParallelProbe(), Probes)


async def test_the_watcher_of_the_documents_stops_at_the_first_two_branches_that_agree(play) -> None:
    page = (Path(__file__).parents[1] / "docs/watchers.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    watcher = names["FirstPair"](distance=8)
    assert isinstance(watcher, Probes)
    model = Speaks([LONG] * 3, {0: ["1", "2"], 1: ["3"], 2: ["4", "5", "3"]}, pace=0.001)
    outside, ballot = branched(Probed(model, watcher), 3, FORMAT)
    played = await play(outside, "How many?", protocol=ballot, watchers=[watcher])
    assert (played.episode.answer, played.episode.message[-18:]) == ("3", "two branches agree")
