"""Parallel-Probe's decisions: on invented branches, and on the recorded ones of its authors."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thread_benchmarks.parallel_probe import Branch, Question, evaluated, figures, probed, read, voted

from thread_cli.watchers.decisions import Decisions, majority

SCRIPT = Path(__file__).parents[1] / "benchmarks/parallel_probe.py"


@pytest.mark.parametrize(
    ("name", "by_probes", "by_vote"),
    [
        ("aime24", (81.47, 730_781, 20_324), (80.37, 910_813, 30_091)),
        ("aime25", (76.87, 846_739, 21_943), (76.67, 1_124_432, 30_657)),
    ],
)
def test_the_recorded_branches_give_the_figures_of_the_released_evaluation(task_data, name, by_probes, by_vote) -> None:
    probe, vote = evaluated(read(task_data / f"parallel-probe/{name}.json.xz"))
    for found, expected in ((probe, by_probes), (vote, by_vote)):
        assert (round(found.accuracy, 2), int(found.total), int(found.sequential)) == expected


def test_of_answers_that_are_equally_frequent_the_first_one_wins() -> None:
    assert majority(["b", "a", "a", "b"]) == "b"
    assert majority([None, "a"]) is None
    assert majority([]) is None


def test_a_branch_is_pruned_after_its_disagreements_in_a_row_counted_from_the_warm_up_on() -> None:
    decisions = Decisions(3, warm_up=2, patience=100, disagreements=2)
    wrong, right, live = ["a", "a", "b"], ["a", "a", "a"], [False] * 3
    pruned = [decisions.step(answers, live) for answers in (wrong, wrong, wrong, right, wrong, wrong)]
    assert pruned == [[], [], [], [], [], [2]]
    assert decisions.standing == [0, 1]


def test_a_branch_that_is_done_votes_and_is_not_pruned_and_the_last_one_standing_is_never_pruned() -> None:
    decisions = Decisions(3, warm_up=0, disagreements=1)
    assert decisions.step(["a", "a", "b"], [False, False, True]) == []
    assert decisions.step(["a", "b", "b"], [False, False, True]) == [0]
    assert decisions.winner == "b"
    assert not decisions.over
    decisions.drop([1])
    assert decisions.step(["x", "x", "b"], [False, False, True]) == []
    assert decisions.over


def test_the_winner_is_final_once_it_was_the_same_for_as_many_steps_as_patience_says() -> None:
    decisions = Decisions(2, patience=2)
    over = []
    for answers in (["a", "b"], ["a", "a"], ["b", "b"], ["b", "b"], ["b", "a"]):
        decisions.step(answers, [False, False])
        over.append((decisions.winner, decisions.steady, decisions.over))
    assert over == [("a", 0, False), ("a", 1, False), ("b", 0, False), ("b", 1, False), ("b", 2, True)]


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abc"), max_size=6), st.sampled_from("abc")), min_size=1, max_size=5)
)
def test_without_pruning_and_stopping_the_answer_and_the_cost_are_those_of_the_majority(drawn) -> None:
    branches = [Branch(answers, 10 * len(answers) + 3, final) for answers, final in drawn]
    question = Question(branches, "a", 10)
    assert probed(branches, question, warm_up=10**6, patience=10**6) == voted(branches, question)


def test_what_a_pruned_branch_cost_until_then_is_counted() -> None:
    branches = [Branch(["a"] * 9, 95, "a"), Branch(["a"] * 9, 95, "a"), Branch(["b"] * 9, 99, "b")]
    outcome = probed(branches, Question(branches, "a", 10), warm_up=1, disagreements=2, patience=3)
    assert outcome == (True, 4 * 10 + 50 + 50, 50)  # pruned at its fourth probe; the winner is steady at the fifth
    assert figures([outcome, outcome]).accuracy == 100


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[Any, str], Path]:
    def write(questions: Any, name: str = "set.json") -> Path:
        opener = lzma.open if name.endswith(".xz") else open
        with opener(tmp_path / name, "wt") as file:
            json.dump(questions, file)
        return tmp_path / name

    return write


def test_the_command_prints_the_figures_of_any_file_of_the_format(recorded) -> None:
    branches = [[["7", None], 1200, "7"], [[], 100, None], [["8"], 700, "7"]]
    question = {"each_branch": branches, "gold_answer": 7, "probe_freq": 500}
    path = recorded([question], "set.json.xz")
    ran = command(path, "--seeds", "3")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[1] == (
        "set.json.xz: parallel-probe 100.00 / 2,000 / 1,200; majority 100.00 / 2,000 / 1,200"
    )


@pytest.mark.parametrize("content", [{}, [{"each_branch": []}], [], [{"each_branch": [[1]], "gold_answer": 1}]])
def test_a_file_of_another_form_is_refused_in_one_line(recorded, content) -> None:
    ran = command(recorded(content))
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "set.json" in ran.stderr
