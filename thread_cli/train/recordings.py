"""Recordings: the episodes in the folders of runs, with all data needed to restore the model's prompts."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from thread_cli.assembly.environments import open_environment, task_of
from thread_cli.assembly.playing import environment_for
from thread_cli.bench.journal import Journal
from thread_cli.bench.methods import method, prompt_of
from thread_cli.bench.plan import Plan, prompt_hash
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.events import EpisodeEnded, EpisodeStarted
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.record import RunFolder, read_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from thread_cli.bench import Result
    from thread_cli.bench.suite import Part
    from thread_cli.contracts.environment import Environment
    from thread_cli.contracts.events import Event
    from thread_cli.contracts.protocol import Protocol

__all__ = ["Recording", "recordings"]


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded episode. `status` is None where it has not ended."""

    log: Path
    episode: str
    environment: str
    task: Task
    method: str
    prompt: Prompt
    protocol: Protocol
    status: Status | None

    def events(self) -> list[Event]:
        """The recorded events; raises UserError if they cannot be read."""
        return read_events(self.log)


def recordings(path: Path) -> Iterator[Recording]:
    """The episodes in the folder of a run or a bench run, by key.

    Raises:
        UserError: there is no run, it cannot be read, its tasks or prompts no longer exist, or its threads are in a
            format that nothing is learned from yet.
    """
    folder = RunFolder.open(path)
    for recording in _of_bench(folder) if folder.bench else _of_run(folder):
        protocol = recording.prompt.rules.protocol
        if protocol != "thread":
            raise UserError(f"{recording.episode} is in the protocol {protocol!r}: training knows 'thread' alone")
        yield recording


def _of_run(folder: RunFolder) -> Iterator[Recording]:
    prompt, options = _read_run(folder.path)
    for log in folder.episodes():
        events = read_events(log)
        started, ended = events[0], events[-1]
        if not isinstance(started, EpisodeStarted):
            raise UserError(f"{log} does not begin with the start of an episode")
        # Text and split of a task are not recorded.
        found = task_of(open_environment(started.environment, options), started.environment, started.task)
        yield Recording(
            log,
            f"{folder.path.absolute().name}/{log.stem}",
            started.environment,
            Task(started.task, found.text, found.split, started.category),
            "thread",
            prompt,
            prompt.protocol(),
            ended.status if isinstance(ended, EpisodeEnded) else None,
        )


def _read_run(path: Path) -> tuple[Prompt, dict[str, Any]]:
    """The few-shot prompt of a run, and the options of its environment."""
    file = path / "run.toml"
    try:
        about = tomllib.loads(file.read_text("utf-8"))
        rules = dict(about["prompt"])
        prompt = Prompt(rules.pop("name"), (path / "prompt.txt").read_text("utf-8"), Rules.model_validate(rules))
        return prompt, dict(about["config"]["options"])
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    except (ValidationError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} does not tell how the run was made") from None


def _of_bench(folder: RunFolder) -> Iterator[Recording]:
    journal, plan = Journal.opened(folder.path)
    prompts = _Prompts(folder.path, plan)
    for key in sorted(journal.keys()):
        result, log = journal.read(key), journal.episodes / f"{key}.jsonl"
        prompt = prompts.of(result)
        yield Recording(
            log,
            f"{folder.path.absolute().name}/{key}",
            result.environment,
            Task(result.task, result.text, result.split, result.category),
            result.method,
            prompt,
            method(result.method).protocol(prompt) or prompt.protocol(),
            result.status if log.exists() else None,
        )


class _Prompts:
    """The few-shot prompts of a bench run, which keeps their texts, but not their rules."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._plan = plan
        self._environments: dict[str, Environment] = {}
        self._prompts: dict[tuple[str, ...], Prompt] = {}

    def of(self, result: Result) -> Prompt:
        """The prompt that an episode was played with; raises UserError if it no longer exists."""
        place = (result.environment, result.split, result.variant, result.category)
        if place not in self._prompts:
            self._prompts[place] = self._recorded(self._loaded(result))
        return self._prompts[place]

    def _loaded(self, result: Result) -> Prompt:
        """The prompt as it would be loaded now."""
        where = next(part for part in self._plan.suite.parts if _fits(part, result))
        variant = next((variant for variant in self._plan.suite.variants if variant.name == result.variant), None)
        config = self._plan.config_of(where, variant)
        if where.name not in self._environments:
            self._environments[where.name] = environment_for(config)
        task = Task(result.task, result.text, result.split, result.category)
        return prompt_of(method(result.method), config, self._environments[where.name], task, variant)

    def _recorded(self, prompt: Prompt) -> Prompt:
        """The prompt with the text that it had when the run was recorded."""
        known, now = self._plan.prompts.get(prompt.name, ()), prompt_hash(prompt, self._plan.keys)
        if now in known:
            return prompt
        if len(known) != 1:
            raise UserError(f"{self._path}: the prompt {prompt.name} is not the one that the run was recorded with")
        file = self._path / "prompts" / f"{known[0]}.txt"
        try:
            q = file.read_text("utf-8")
        except OSError as error:
            raise UserError(f"{file}: {error.strerror}") from None
        if q and not (prompt.rules.start in q and prompt.rules.end in q):
            raise UserError(f"{self._path}: the prompt {prompt.name} had other tokens when the run was recorded")
        return Prompt(prompt.name, q, prompt.rules)


def _fits(part: Part, result: Result) -> bool:
    return (part.environment, part.split) == (result.environment, result.split)
