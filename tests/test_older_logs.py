"""Logs that an earlier version recorded (commit a37971d, `tests/logs/`): they are shown, reported and replayed as then.

Beside each log stands a transcript: commands over it, and what that version printed.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import in_this_process
from typer.testing import CliRunner

from thread_cli.assembly.config import Config
from thread_cli.bench.plan import Plan
from thread_cli.bench.playing import join, run
from thread_cli.bench.runner import Ending
from thread_cli.bench.suite import load
from thread_cli.cli.app import app
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Totals
from thread_cli.record import RunFolder
from thread_cli.record.lines import parse_event

LOGS = Path(__file__).parent / "logs"
ADDED = {
    "reasoning_tokens": "what a model thinks before it writes is counted apart",
    "estimated": "tokens that are estimates are shown as such",
    "cached_known": "what servers do not tell of their cache is shown as unknown",
    **dict.fromkeys(("pruned_threads", "stopped_episodes", "pruned", "stopped"), "what watchers end is counted"),
    **dict.fromkeys(("format", "format_correct"), "how well models keep to a wire format is told"),
    **dict.fromkeys(("branches", "watch"), "what a run has besides its method is told"),
}
"""Fields that reports for programs have besides those of then, and why."""

RENAMED = {
    r"reading ([\d,]+ of [\d,]+/s) · writing ": r"prefill \1 · decode ",
    r"drafts (\d+%) of ([\d,]+) right · batch ": r"acceptance rate \1 of \2 drafts · batch size ",
}
"""What is shown by the field's words now: patterns of what was shown then, and what has become of it."""

RENAMED_FIELDS = {
    "company": "batch_sizes",
    "reading": "prefill_seconds",
    "writing": "decode_seconds",
    "least_reading": "prefill_floor",
    "least_writing": "decode_floor",
}
"""Fields of events that have other names now."""

PLAYED = {
    "teacher-textcraft": ("textcraft", "--task", "131"),
    "teacher-alfworld": ("alfworld", "--task", "3"),
    "scripted": ("textcraft", "--task", "128"),
    "plain-script": ("textcraft", "--task", "128"),
    "free-text": ("none", "Which capitals?"),
    "faulty": ("textcraft", "--task", "133"),
    "limited": ("textcraft", "--task", "9", "--calls", "6"),
    "embedded": ("textcraft", "--task", "131", "--prompt", "specialist"),
    "data-datacommons": ("dataqa/datacommons", "--task", "test-0"),
    "data-icu": ("dataqa/icu", "--task", "test-0"),
    "bench-faulty": ("textcraft", "--task", "1"),
}
"""How each run was started, or an episode of it, without its model."""

DIFFERENT = {
    "data-datacommons": "Name: generated/Corvanna (Percent)",  # series are named with their units
    "bench-faulty": "recorded code_ran error 'MemoryError: memory limit exceeded', now 'MemoryError'",  # CPython's words
}
"""Runs that go on otherwise now, each for a reason: what is told of the first difference."""


def _commands() -> list[Any]:
    found = []
    for file in sorted(LOGS.glob("*.txt")):
        for part in re.split(r"^\$ thread ", file.read_text(), flags=re.MULTILINE)[1:]:
            line, _, told = part.partition("\n")
            found.append(pytest.param(line.split(), told, id=line))
    return found


@pytest.mark.parametrize(("command", "told"), _commands())
def test_a_command_prints_of_an_older_log_what_it_printed_then(
    command: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pattern, now in RENAMED.items():
        told = re.sub(pattern, now, told)
    monkeypatch.chdir(LOGS)
    ran = CliRunner().invoke(app, command, env={"COLUMNS": "120"})
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert _without_added(command, ran.stdout) == told


@pytest.mark.parametrize("file", sorted(LOGS.rglob("*.jsonl")), ids=lambda file: f"{file.parts[-2]}/{file.stem}")
def test_an_event_of_an_older_log_is_read_with_all_its_fields(file: Path) -> None:
    for line in file.read_bytes().splitlines():
        recorded, read = json.loads(line), json.loads(parse_event(line).model_dump_json())
        _within(recorded, read)


@pytest.mark.parametrize("name", PLAYED)
def test_the_recording_of_an_older_run_plays_to_the_same_events(name: str, tmp_path: Path) -> None:
    log = tmp_path / "again"
    replayed = in_this_process(
        "run", *PLAYED[name], "--model", f"replay:{LOGS / name}", "--display", "none", "--log", str(log), cwd=tmp_path
    )
    if name in DIFFERENT:
        assert "thread: the replay diverges in thread 0" in replayed.stderr
        assert DIFFERENT[name] in replayed.stderr
    else:
        assert replayed.stderr.splitlines()[-1:] == ["replay: the same events as recorded"]
    assert RunFolder.open(log).episodes()


def _without_added(command: list[str], printed: str) -> str:
    if "--json" in command:
        return re.sub(rf',\n *"(?:{"|".join(ADDED)})": [^,\n]+', "", printed)
    if "--csv" not in command:
        return printed
    rows = list(csv.reader(io.StringIO(printed)))
    kept = [place for place, name in enumerate(rows[0]) if name.rpartition(".")[2] not in ADDED]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([row[place] for place in kept] for row in rows)
    return written.getvalue()


def _within(recorded: Any, read: Any) -> None:
    """Whatever was recorded is read; what is new may stand beside it."""
    if isinstance(recorded, dict):
        for name, value in recorded.items():
            _within(value, read[RENAMED_FIELDS.get(name, name)])
    else:
        assert recorded == read


def test_older_results_of_a_local_model_are_reported_by_the_words_of_the_field(tmp_path: Path) -> None:
    run = shutil.copytree(LOGS / "bench-variants", tmp_path / "run")
    recorded = {"drafted": 10, "accepted": 8, "steps": 5, "company": 8, "reading": 2.0, "writing": 4.0}
    recorded |= {"least_reading": 1.0, "least_writing": 3.0}
    for file in run.glob("results/*.json"):
        result = json.loads(file.read_bytes())
        result["totals"]["local"] = recorded
        file.write_text(json.dumps(result))
    (told,) = json.loads(CliRunner().invoke(app, ["report", str(run), "--json"]).stdout)
    assert (told["local"]["batch_size"], told["local"]["accepted"]) == (1.6, 32)
    assert told["local"]["prefill_speed"] == told["tokens"]["prompt"] / 8
    assert told["local"]["decode_speed"] == told["tokens"]["generated"] / 16
    assert (told["local"]["prefill_share"], told["local"]["decode_share"]) == (0.5, 0.75)


def test_a_local_models_figures_are_written_by_their_names_of_now_whatever_names_they_were_read_by() -> None:
    older = {"steps": 5, "company": 8, "reading": 2.0, "writing": 4.0, "least_reading": 1.0, "least_writing": 3.0}
    written = json.loads(Totals.model_validate({"local": older}).model_dump_json())["local"]
    assert written == {"drafted": 0, "accepted": 0} | {RENAMED_FIELDS.get(name, name): older[name] for name in older}


# --- bench runs are taken up again


def _older(folder: Path, **edits: str) -> tuple[Path, dict[Path, bytes]]:
    """A copy of an older bench run, its plan edited, and its results."""
    run = shutil.copytree(LOGS / "bench-faulty", folder)
    plan = run / "bench.toml"
    for old, new in edits.items():
        plan.write_text(plan.read_text().replace(f"{old} = ", f"{old} = {new} # "))
    return run, {file: file.read_bytes() for file in run.glob("results/*.json")}


def _plan(*, kernels: bool = True) -> Plan:
    config = Config.of(
        model={"spec": "faulty:garbage=0.3,seed=1+teacher", "kernels": kernels},
        limits={"max_tokens": 500},  # which was the default
    )
    return Plan.of(load("textcraft-200"), config, limit=3)


async def test_an_older_bench_run_is_complete_and_stays_as_it_is(tmp_path: Path) -> None:
    folder, results = _older(tmp_path / "run")
    assert (await run(_plan(), folder)).ending is Ending.complete
    assert {file: file.read_bytes() for file in folder.glob("results/*.json")} == results


async def test_an_older_bench_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    folder, results = _older(tmp_path / "run")
    gone = min(results)
    gone.unlink()
    (folder / f"episodes/{gone.stem}.jsonl").unlink()
    assert (await run(_plan(), folder)).ending is Ending.complete
    again, before = json.loads(gone.read_bytes()), json.loads(results[gone])
    assert [again[name] for name in ("key", "task", "failure")] == [before[name] for name in ("key", "task", "failure")]


async def test_an_older_bench_run_without_kernels_goes_on_without_them_and_not_with_them(tmp_path: Path) -> None:
    folder, results = _older(tmp_path / "run", kernels="false")
    assert (await run(_plan(kernels=False), folder)).ending is Ending.complete
    assert (await join(folder)).ending is Ending.complete
    assert set(folder.glob("results/*.json")) == set(results)
    with pytest.raises(UserError, match=r"model\.kernels was False, is now True"):
        await run(_plan(), folder)
