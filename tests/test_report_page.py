"""The page of a report, in a browser."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reported import HOSTILE
from steps import made

from thread_cli.bench import FailureClass
from thread_cli.bench.arms import arms_of
from thread_cli.bench.page import threads_of, write_page
from thread_cli.bench.report import read_run
from thread_cli.bench.tables import tables
from thread_cli.record import read_events


@pytest.fixture
def look(browser, tmp_path) -> Iterator[Callable[..., Any]]:
    """The page of some runs, opened; anything that the browser complains of, or asks for elsewhere, fails the test."""
    complaints: list[str] = []
    opened: list[Any] = []

    def show(*runs: Path) -> Any:
        arms = arms_of([read_run(run) for run in runs])
        write_page(tmp_path / "page.html", arms, tables(arms))
        page = browser.new_page()
        opened.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url)
        )
        page.goto(f"file://{tmp_path / 'page.html'}")
        page.wait_for_selector("#list tbody tr")
        return page

    yield show
    for page in opened:
        page.close()
    assert complaints == []


def test_the_page_opens_trees_and_threads(look, played) -> None:
    run = played("teacher")
    page = look(run)
    assert "100.0" in page.inner_text(".tables")
    page.click("#list tbody tr:nth-child(2) a")
    page.wait_for_selector("#tree .open")
    result = read_run(run).results[1]
    assert page.locator("#tree .open").count() == result.totals.threads
    page.click("#tree .open >> nth=1")
    shown = page.inner_text("#thread")
    events = read_events(read_run(run).log(result))
    child = next(event for event in events if event.kind == "thread_started" and event.thread == "0.0")
    assert child.context.strip() in shown
    page.go_back()
    page.wait_for_selector("#overview:not([hidden])")


def test_the_page_filters_and_sorts_the_list(look, played) -> None:
    solved, other = played("teacher"), played("faulty:garbage=0.4+teacher")
    page = look(solved, other)
    assert page.inner_text("#count") == "24 of 24 episodes"
    page.select_option("#run", label="thread · teacher")
    assert page.inner_text("#count") == "12 of 24 episodes"
    page.select_option("#run", "")
    failed = sum(result.failure is FailureClass.inadequate_plan for result in read_run(other).results)
    page.fill("#search", "inadequate plan")
    assert page.inner_text("#count") == f"{failed} of 24 episodes"
    page.fill("#search", "no such words")
    assert page.inner_text("#count") == "0 of 24 episodes"
    page.fill("#search", "")
    page.click("#list th:nth-child(10) button")
    tokens = [
        int(text.lstrip("~").replace(",", "")) for text in page.locator("#list td:nth-child(10)").all_inner_texts()
    ]
    assert tokens == sorted(tokens)


def test_hostile_text_of_a_model_is_text_on_the_page(look, played, rewritten) -> None:
    run = played(f"scripted:{played('teacher').parent / 'hostile.toml'}")
    run = rewritten(run, lambda _: {"task": HOSTILE, "category": HOSTILE, "message": HOSTILE, "text": HOSTILE})
    page = look(run)
    visible = HOSTILE.replace("\x1b[31m\u202e", "")
    assert visible in page.inner_text("#list tbody tr:nth-child(1)")
    page.click("#list tbody tr:nth-child(1) a")
    page.wait_for_selector("#tree .open")
    page.click("#tree .open >> nth=1")
    assert visible in page.inner_text("#tree")
    assert visible in page.inner_text("#thread")
    assert "\u202e" not in page.content()
    assert page.evaluate("window.stolen") is None
    assert page.locator("img").count() == 0


def test_an_episode_can_be_linked_to(look, played) -> None:
    page = look(played("teacher"))
    link = page.get_attribute("#list tbody tr:nth-child(5) a", "href")
    page.goto(f"{page.url}{link}")
    page.wait_for_selector("#tree .open")
    assert page.is_hidden("#overview")


def test_an_episode_without_its_log_is_shown_without_a_tree(look, rewritten, played) -> None:
    run = rewritten(played("teacher"), lambda _: {})
    shutil.rmtree(run / "episodes")
    page = look(run)
    page.click("#list tbody tr:nth-child(1) a")
    page.wait_for_selector("#tree p")
    assert "is not in the run's folder" in page.inner_text("#tree")


@pytest.mark.slow
def test_a_page_of_five_thousand_episodes_opens_at_once(look, played, tmp_path) -> None:
    source = read_run(played("faulty:garbage=0.4+teacher"))
    run = tmp_path / "many"
    (run / "results").mkdir(parents=True)
    (run / "episodes").mkdir()
    shutil.copy(source.path / "bench.toml", run)
    for number in range(5000):
        result = source.results[number % 12]
        key = hashlib.sha256(str(number).encode()).hexdigest()[:20]
        os.link(source.log(result), run / "episodes" / f"{key}.jsonl")
        copy = result.model_copy(update={"key": key, "task": str(number)})
        (run / "results" / f"{key}.json").write_text(copy.model_dump_json())
    page = look(run)
    assert page.inner_text("#count") == "5,000 of 5,000 episodes"
    page.click("#forward")
    page.click("#list tbody tr:nth-child(50) a")
    page.wait_for_selector("#tree .open")
    assert page.inner_text("#name").startswith("textcraft · 149")


def test_the_page_draws_when_each_thread_did_what(look, played) -> None:
    run = played("teacher")
    page = look(run)
    page.click("#list tbody tr:nth-child(2) a")
    page.wait_for_selector("#tree .open")
    assert page.locator("#timeline .line").count() == 0  # until it is looked at
    page.click("#timeline summary")
    page.wait_for_selector("#timeline .line rect")
    result = read_run(run).results[1]
    lines = page.locator("#timeline .line:not(.axis)")
    assert lines.count() == result.totals.threads
    assert 0 < lines.locator("rect.model").count() <= result.totals.calls
    assert 0 < lines.locator("rect.action").count() <= result.totals.actions
    tall, half = (lines.locator(f"rect.{kind}").first.bounding_box()["height"] for kind in ("model", "action"))
    assert tall > half
    page.click("#timeline .line button >> nth=1")
    assert page.inner_text("#thread h2").startswith("0.0 ")
    page.go_back()
    page.click("#list tbody tr:nth-child(1) a")
    page.wait_for_selector("#tree .open")
    assert page.locator("#timeline .line").count() == 0


def test_a_page_without_times_has_no_timeline(played) -> None:
    run = read_run(played("teacher"))
    events = read_events(run.log(run.results[0]))
    assert all(thread["spans"] for thread in threads_of(events))
    assert not any(thread["spans"] for thread in threads_of(events, times=False))


def test_the_timeline_of_the_page_tells_stretches_of_time_in_parts_of_the_episode() -> None:
    (main, child) = threads_of(made("0 (", "0 .", "0 + 5", "0 < 0.0", "0.0 (", "0.0 .", "0.0 + 1", "0.0 )", "0 )"))
    assert main["spans"] == [0, 3, 250, 0, 250, 3, 250, 2, 1250]  # other, model, other, waiting
    assert child["spans"] == [1000, 3, 250, 0, 250, 3, 250]
