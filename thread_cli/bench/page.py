"""One page with everything: the tables, a list of all episodes, and the tree of threads of each, to look into.

The page loads nothing, and a policy within it forbids the browser to do so. Trees are embedded compressed, a few dozen
episodes to a block, and unpacked when one is opened. Text of models and environments is cleaned as for a terminal,
embedded as base64, and becomes text nodes only.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import jinja2

from thread_cli.bench.arms import title_of
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Failed, Generated, ThreadEnded, ThreadStarted
from thread_cli.display.state import Phase, ended_as
from thread_cli.display.text import clean, clean_lines, cut, headline
from thread_cli.display.transcript import part_of
from thread_cli.files import written_whole
from thread_cli.record import read_events
from thread_cli.record.measures import acceleration, activated
from thread_cli.record.timeline import Doing, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import IO

    from thread_cli.bench import Result
    from thread_cli.bench.arms import Arm
    from thread_cli.bench.formats import Table
    from thread_cli.contracts.events import Event
    from thread_cli.record.timeline import Line

__all__ = ["threads_of", "write_page"]

_CHUNK: Final = 32  # episodes; they share their words, and one opens in a few milliseconds
_PARTS: Final = 2_000  # of an episode's time, the finest that its timeline tells
_DOINGS: Final = tuple(Doing)
_TEXT: Final = 160  # terminal cells of a task's text in the list


def write_page(path: Path, arms: Sequence[Arm], tables: Sequence[Table], *, times: bool = True) -> int:
    """Write the page with the tables of its arms; returns its size in bytes.

    Raises:
        UserError: it cannot be written, or a log is not one.
    """
    if not path.name or path.is_dir():
        raise UserError(f"the page cannot be written: {path} is a folder: choose the name of a file")
    try:
        with written_whole(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            _write(file, arms, tables, times)
    except OSError as error:
        raise UserError(f"the page cannot be written: {error.filename or path}: {error.strerror}") from None
    return path.stat().st_size


def threads_of(events: Iterable[Event], *, times: bool = True) -> list[dict[str, Any]]:
    """The threads of an episode in the order of the tree, each with its texts as the page shows them.

    `parts` are the pieces of the thread's text in order, as pairs of `Hand` (the source) and text. `spans` tell what it
    did when: the time at which it began, then pairs of `Doing`'s place and a length of time, all in 2,000ths of the
    episode. Shorter spans are left out, since no screen shows them. Without times there are no spans.
    """
    threads: dict[str, dict[str, Any]] = {}
    timeline = Timeline()
    for event in events:
        timeline.add(event)
        if isinstance(event, ThreadStarted):
            threads[event.thread] = _started(event, threads.get(event.thread))
        elif event.thread in threads:
            _tell(threads[event.thread], event, times)
    timeline.settle()
    for path, thread in threads.items():
        thread.pop("began", None)
        thread["spans"] = _spans(timeline.lines[path], timeline.seconds) if times else []
    return [threads[path] for path in sorted(threads, key=lambda path: [int(place) for place in path.split(".")])]


def _write(file: IO[str], arms: Sequence[Arm], tables: Sequence[Table], times: bool) -> None:
    script, style = _resource("page.js"), _resource("page.css")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    played = [(arm, result) for arm in arms for result in arm.run.results]
    page = environment.from_string(_resource("page.html")).render(
        title=title_of(arms),
        about=f"{len(played):,} episodes played by thread bench",
        tables=tables,
        style=style,
        style_hash=_hash(style),
        script_hash=_hash(script),
        index=_packed([_row(arm, result, number) for number, (arm, result) in enumerate(played)]),
    )
    file.write(page)
    for number, block in enumerate(_blocks(played, times)):
        file.write(f'\n<script type="application/octet-stream" id="chunk-{number}">{block}</script>')
    file.write(f"\n<script>{script}</script>\n</body>\n</html>\n")


def _blocks(played: Sequence[tuple[Arm, Result]], times: bool) -> Iterator[str]:
    for start in range(0, len(played), _CHUNK):
        yield _packed([_episode(arm, result, times) for arm, result in played[start : start + _CHUNK]])


def _row(arm: Arm, result: Result, number: int) -> dict[str, Any]:
    """An episode's line in the list."""
    outcome = result.failure.value if result.failure else result.status.value
    totals = result.totals
    epoch = f", epoch {result.epoch}" if arm.summary.epochs > 1 else ""
    return {
        "key": f"{number}-{result.key}",
        "run": arm.label,
        "environment": clean(result.environment),
        "task": clean(result.task) + epoch,
        "text": cut(clean(headline(result.text[: 64 * _TEXT])), _TEXT),
        "category": clean(result.category),
        "outcome": outcome.replace("_", " "),
        "message": cut(clean(result.message[: 64 * _TEXT]), _TEXT),
        "reward": result.reward,
        "threads": totals.threads,
        "calls": totals.calls,
        "depth": totals.depth,
        "tokens": totals.prompt_tokens + totals.generated_tokens,
        "estimated": totals.estimated,
        "parallel": f"{acceleration(totals) or 0:.1%} acceleration" if activated(totals) else "",
        "chunk": number // _CHUNK,
        "place": number % _CHUNK,
    }


def _episode(arm: Arm, result: Result, times: bool) -> dict[str, Any]:
    log = arm.run.log(result)
    events = read_events(log) if log.is_file() else []
    seconds = max((event.time for event in events), default=0.0) if times else 0.0
    return {"message": _safe(result.message), "seconds": seconds, "threads": threads_of(events, times=times)}


def _started(event: ThreadStarted, before: dict[str, Any] | None) -> dict[str, Any]:
    """A thread that begins; one that begins again keeps its earlier text (`before`) to be read."""
    return {
        "path": event.thread,
        "depth": event.depth,
        "context": _safe(event.context),
        "result": None,
        "failed": False,
        "ended": False,
        "failure": None,
        "tokens": 0,
        "estimated": False,
        "calls": 0,
        "seconds": None,
        "began": event.time,
        "parts": [*before["parts"], ("aside", "\n» begun again\n")] if before else [],
    }


def _tell(thread: dict[str, Any], event: Event, times: bool) -> None:
    """Add an event to its thread."""
    if (part := part_of(event)) is not None:
        hand, text = part
        marked = {"wrong": f"\n⚠ {_safe(text)}\n", "aside": f"\n» {_safe(text.rstrip())}\n"}
        thread["parts"].append((hand, marked.get(hand) or _safe(text)))
    match event:
        case Generated():
            thread["tokens"] += event.generated_tokens
            thread["estimated"] = thread["estimated"] or event.estimated
            thread["calls"] += 1
        case Failed():
            thread["failure"] = _safe(f"{event.failure}: {event.message}")
        case ThreadEnded():
            thread["result"] = None if event.result is None else _safe(event.result)
            phase = ended_as(event)
            thread["failed"], thread["ended"] = phase is Phase.failed, phase is not Phase.stopped
            thread["seconds"] = round(event.time - thread.pop("began", event.time), 3) if times else None
        case _:
            pass


def _spans(line: Line, seconds: float) -> list[int]:
    scale = _PARTS / seconds if seconds else 0.0
    at = round(line.start * scale)
    spans = [at]
    for span in line.spans:
        end = round(span.end * scale)
        if end > at:
            spans += (_DOINGS.index(span.doing), end - at)
        at = end
    return spans


def _safe(text: str) -> str:
    """Text of any number of lines, without characters that would reorder, hide or recolour the text around it."""
    return "\n".join(clean_lines(text))


def _packed(value: Any) -> str:
    """Compact JSON, compressed, as base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _resource(name: str) -> str:
    return importlib.resources.files("thread_cli.bench").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
