"""Faults of the infrastructure change nothing but the count of retries."""

from __future__ import annotations

from typing import Any

from thread_cli.contracts.errors import Status
from thread_cli.engine.executor import Executor
from thread_cli.models.faulty import FaultyModel
from thread_cli.models.retry import Retrying
from thread_cli.protocols.prompt import load
from thread_envs.textcraft import TextCraft

TIMES_AND_RETRIES = {"time", "at", "seconds", "waited", "retries"}


def essence(event: Any) -> dict[str, Any]:
    told = event.model_dump(exclude=TIMES_AND_RETRIES)
    if event.kind == "episode_ended":
        del told["totals"]["retries"]
    return told


async def test_faulty_models_lead_to_the_same_episodes(interpreter) -> None:
    retries = 0
    for task in TextCraft().tasks("test")[::10]:
        told: list[list[Any]] = []
        for faulty in (False, True):
            environment = TextCraft()
            model: Any = environment.teacher(task)
            if faulty:
                model = Retrying(
                    FaultyModel(model, "429=0.1,500=0.05,cut=0.05,timeout=0.02"), attempts=10, wait_initial=0.001
                )
            events: list[Any] = []
            executor = Executor(
                model=model,
                prompt=load(None, "textcraft"),
                interpreter=interpreter,
                environment=environment,
                sinks=[events.append],
            )
            episode = await executor.run(task, "textcraft")
            assert episode.status is Status.solved
            told.append([essence(event) for event in events])
            retries += episode.totals.retries
        assert told[0] == told[1]
    assert retries > 20


async def test_a_model_that_never_answers_is_no_failure_of_the_model(interpreter) -> None:
    environment = TextCraft()
    task = environment.tasks("test")[0]
    model = Retrying(FaultyModel(environment.teacher(task), "500=1"), attempts=3, wait_initial=0.001)
    executor = Executor(model=model, prompt=load(None, "textcraft"), interpreter=interpreter, environment=environment)
    episode = await executor.run(task, "textcraft")
    assert episode.status is Status.model_error
    assert episode.status.infrastructure


async def test_garbage_is_what_the_model_wrote(interpreter) -> None:
    environment = TextCraft()
    task = environment.tasks("test")[0]
    model = Retrying(FaultyModel(environment.teacher(task), "garbage=1"), attempts=3, wait_initial=0.001)
    executor = Executor(model=model, prompt=load(None, "textcraft"), interpreter=interpreter, environment=environment)
    episode = await executor.run(task, "textcraft")
    assert episode.status in {Status.failed, Status.limited}
    assert not episode.status.infrastructure
