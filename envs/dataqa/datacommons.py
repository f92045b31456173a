"""Data Commons question answering: questions about places and years, answered with code over public statistics.

This module decides where the data come from, and which functions threads can call. The questions are in
`datacommons_questions`.
"""

from __future__ import annotations

import asyncio
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.interpreter import Workspace
from thread_cli.distribution import at_home, cache_folder
from thread_envs.dataqa.adapter import DataQA, helpers
from thread_envs.dataqa.datacommons_questions import questions
from thread_envs.dataqa.datacommons_teacher import DataCommonsTeacher
from thread_envs.dataqa.generated import VARIABLES, generated_instance
from thread_envs.dataqa.instance import Place, read_instance, read_places
from thread_envs.dataqa.remote import PUBLIC, Connection, RemoteInstance
from thread_envs.dataqa.vocabulary import STATES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from thread_cli.contracts.environment import Task
    from thread_envs.dataqa.instance import Instance
    from thread_envs.dataqa.questions import Question

__all__ = ["DataCommons"]

_LONGEST: Final = 86_400
"""Seconds for which an instance may be allowed to be silent."""


class DataCommons(DataQA):
    """Questions over series of Data Commons, or over a made-up country where no data are named.

    Args:
        observations: a JSON file with a REST v2 observation response; needs no network.
        places: a JSON list of places with `dcid`, `name`, `type`. With `observations`, `places.json` beside that file
            unless given; with `url`, the United States and their states unless given.
        url: where an instance serves REST v2, or `datacommons.org`.
        key_variable: the environment variable that holds the key for it; keys are never options, which are logged.
        timeout: seconds for which the instance may be silent.
        cache: the folder for its answers; in the user's cache folder unless given.
        seed: changes nothing. The questions of given data are always the same.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "test": "140 questions, the number of the published set; the paper's kinds in turn",
        "dev": "60 other questions, for demonstrations and training",
    }
    requires: ClassVar[Sequence[str]] = ("cloudpickle", "datacommons_client", "numpy", "pandas", "scipy")
    paths: ClassVar[Sequence[str]] = ("observations", "places", "cache")
    _name = "dataqa/datacommons"
    _sizes: ClassVar[Mapping[str, int]] = {"test": 140, "dev": 60}
    _opening = "Question"

    def __init__(
        self,
        *,
        observations: str | None = None,
        places: str | None = None,
        url: str | None = None,
        key_variable: str = "DC_API_KEY",
        timeout: float = 30.0,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        if observations is not None and url is not None:
            raise UserError("dataqa/datacommons takes its data from `observations` or from `url`, not from both")
        if places is not None and observations is None and url is None:
            raise UserError("dataqa/datacommons: `places` goes with `observations` or with `url`")
        if not 0 < timeout <= _LONGEST:
            raise UserError(
                f"dataqa/datacommons: timeout is to be a number of seconds above 0, and at most {_LONGEST:,}"
            )
        super().__init__(seed)
        self._observations = observations
        self._places = places
        self._url = url
        self._key_variable = key_variable
        self._timeout = timeout
        self._cache = cache

    def workspace(self, task: Task) -> Workspace:  # noqa: ARG002
        """Sessions that can look up places, variables and observations."""
        instance = self._instance
        return Workspace(
            helpers("datacommons_session"),
            {
                "datacommons_place": _call(instance.find_place),
                "datacommons_variable": _call(instance.find_variable),
                "datacommons_detect": _call(instance.detect),
                "datacommons_observe": _call(instance.observe),
            },
        )

    def teacher(self, task: Task) -> DataCommonsTeacher:  # noqa: ARG002
        return DataCommonsTeacher()

    @functools.cached_property
    def _instance(self) -> Instance:
        if self._url is not None:
            return self._remote(self._url)
        if self._observations is not None:
            file = at_home(Path(self._observations))
            places = at_home(Path(self._places)) if self._places else file.parent / "places.json"
            return read_instance(file, places)
        return generated_instance()

    def _questions(self, count: int) -> Sequence[Question]:
        return questions(self._instance, count)

    def _remote(self, url: str) -> Instance:
        key = os.environ.get(self._key_variable)
        if PUBLIC in url and not key:
            raise UserError(f"{url} needs a key (https://apikeys.datacommons.org): set {self._key_variable}")
        cache = at_home(Path(self._cache)) if self._cache else cache_folder() / "datacommons"
        connection = Connection(url, key=key, timeout=self._timeout, cache=cache)
        places = read_places(at_home(Path(self._places))) if self._places else _united_states()
        return RemoteInstance(connection, places, tuple(VARIABLES))


def _united_states() -> list[Place]:
    states = [Place(f"geoId/{code}", name, "State") for code, name in STATES.items()]
    return [Place("country/USA", "United States", "Country"), *states]


def _call(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A function of the host for sessions: requests may wait for an instance, so it runs beside the event loop."""

    async def call(*arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    return call
