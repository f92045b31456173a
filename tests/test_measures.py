"""What parallel threads gained: the papers' definitions over events made by hand, and where the figures are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest import approx
from steps import fork, made

from thread_cli.contracts.errors import Status
from thread_cli.contracts.events import EpisodeEnded, Totals
from thread_cli.display import TreeState, render_footer
from thread_cli.record import first_difference, read_events
from thread_cli.record.measures import acceleration, activated, self_parallelism, wall_speedup
from thread_cli.record.sums import Sums

LOGS = Path(__file__).parent / "logs"


def totals(events: list[Any]) -> Totals:
    sums = Sums()
    for event in events:
        sums.add(event)
    return sums.totals()


def ended(totals: Totals) -> EpisodeEnded:
    common: dict[str, Any] = {"episode": "e", "n": 99, "thread": "0", "parent": None, "cause": None, "time": 9.0}
    return EpisodeEnded(**common, status=Status.answered, reward=None, message="", totals=totals)


def footer(state: TreeState, **options: Any) -> str:
    return " · ".join(line.plain for line in render_footer(state, 120, **options))


def test_acceleration_is_the_share_of_tokens_off_the_longest_path() -> None:
    found = totals(made("0 (", *fork("0", 100, 200, 150), "0 )"))
    assert (found.generated_tokens, found.token_latency) == (450, 200)
    assert acceleration(found) == approx(1 - 200 / 450)
    assert self_parallelism(found) == approx(450 / 200)
    found = totals(made("0 (", "0 + 50", *fork("0", 100, 200, 150), "0 + 50", *fork("0", 80, 20), "0 )"))
    assert (found.generated_tokens, found.token_latency) == (650, 50 + 200 + 50 + 80)
    assert acceleration(found) == approx(1 - 380 / 650)


def test_tokens_that_follow_one_another_accelerate_nothing() -> None:
    found = totals(made("0 (", "0 + 10", *fork("0", 100), "0 + 10", *fork("0", 30), "0 x 5", "0 )"))
    assert (acceleration(found), self_parallelism(found), activated(found)) == (0, 1, False)


def test_without_tokens_there_is_no_ratio() -> None:
    found = totals(made("0 (", "0 )"))
    assert (acceleration(found), self_parallelism(found), wall_speedup(found)) == (None, None, None)


@pytest.mark.parametrize(
    ("steps", "counts"),
    [
        (("0 (", *fork("0", 1), *fork("0", 1), "0 )"), (2, 0)),
        (("0 (", *fork("0", 1), *fork("0", 1, 1), "0 )"), (2, 1)),
        (("0 (", "0 << 0.0", "0.0 (", "0.0 + 1", "0 )"), (1, 1)),  # one child, in the background
        (("0 (", "0 <", "0 & ", "0 )"), (0, 0)),  # no child could be born
        (("0 (", "0 <<", "0 )"), (0, 0)),
    ],
)
def test_a_fork_is_parallel_with_several_children_or_one_in_the_background(
    steps: tuple[str, ...], counts: tuple[int, int]
) -> None:
    found = totals(made(*steps))
    assert (found.forks, found.parallel_forks) == counts
    assert activated(found) is (counts[1] > 0)


def test_wall_speedup_is_the_mean_number_of_calls_under_way() -> None:
    events = made("0 (", *fork("0", 10, 10, 10), "0 )", spacing=0.5, seconds=4.0, waited=1.0)
    found = totals(events)
    assert found.model_seconds == 3 * (4.0 - 1.0)  # without the seconds in which a call waited for its turn
    assert found.seconds == events[-1].time
    assert wall_speedup(found) == approx(9 / events[-1].time)


# --- where they are shown


def test_the_footer_shows_the_measures_of_an_episode_that_forked_in_parallel() -> None:
    events = made("0 (", "0 + 50", *fork("0", 100, 200, 150), *fork("0", 10), "0 )", seconds=2.0)
    shown = footer(TreeState.of(events), elapsed=10.0)
    assert "generated 510 · critical path 260" in shown
    assert "parallel forks 1 of 2 · self-parallelism 1.96x · acceleration 49.0% · wall speed-up 0.45x" in shown
    assert "wall" not in footer(TreeState.of(events))  # without times, as `thread show` prints it


def test_the_footer_is_as_before_where_nothing_forked_in_parallel() -> None:
    shown = footer(TreeState.of(made("0 (", *fork("0", 100), "0 )", seconds=2.0)), elapsed=10.0)
    assert all(word not in shown for word in ("parallel", "acceleration", "speed-up", "forks"))


def test_measures_of_a_log_that_did_not_record_them_come_from_its_events() -> None:
    events = made("0 (", "0 + 50", *fork("0", 100, 200, 150), "0 )", seconds=2.0)
    recorded = Totals.model_validate({"calls": 4, "generated_tokens": 500, "token_latency": 250})
    state = TreeState.of([*events, ended(recorded)])
    assert "parallel forks 1 of 1 · self-parallelism 2.00x · acceleration 50.0%" in footer(state)
    assert wall_speedup(state.totals) is not None


@pytest.mark.parametrize("file", sorted(LOGS.rglob("*.jsonl")), ids=lambda file: f"{file.parts[-2]}/{file.stem}")
def test_logs_of_threads_one_after_the_other_have_no_acceleration(file: Path) -> None:
    events = read_events(file)
    found = TreeState.of(events).totals
    assert found.token_latency == found.generated_tokens
    assert not activated(found)
    assert acceleration(found) in {0, None}
    assert self_parallelism(found) in {1, None}
    assert (wall_speedup(found), found.seconds, found.model_seconds) == (None, 0, 0)


def test_a_replay_is_the_same_whatever_time_it_took() -> None:
    events = made("0 (", *fork("0", 1, 2), "0 )")
    sums = {"forks": 1, "parallel_forks": 1, "model_seconds": 1.5, "seconds": 3.5, "token_latency": 2}
    ends = [ended(Totals(generated_tokens=3)), ended(Totals(generated_tokens=3, **sums))]
    assert first_difference([*events, ends[0]], [*events, ends[1]]) is None
    assert first_difference([*events, ends[0]], [*events, ended(Totals(generated_tokens=4))]) is not None
